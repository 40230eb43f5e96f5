"""Artwork, LoRA, soft prompt, full fine-tuning and the best text prompt on one model, compared.

    python benchmarks/accuracy.py [--verbs sft grpo] [--only sums calls/artwork] [--again] [--table] [--quick]
    python benchmarks/accuracy.py --model smol --data FOLDER --verbs sft [--only seal_tools:single/artwork]

Writes benchmarks/results/accuracy_<verb>.json, for smol accuracy_smol_<verb>.json, after every cell: a killed
run goes on where it was, cells with other settings are made anew, and processes with different --only may
work on one file. Then prints the tables of docs/results/accuracy.md (`common/accuracy_table.py`).

Each method (LoRA's ranks are three) has three configurations: learning rates, or wordings of the text
prompt. One is chosen by its score on validation rows with a seed of its own, ties by the middle of the grid.
It is then trained with three other seeds and scored once on test rows. Every seed has training and test
rows of its own, the same for all methods and in the same order. Training, validation and test rows have no
prompt in common. For smol, rows are public benchmarks' (`common/accuracy_real.py`). On turns, grpo takes each
turn of the reference conversation as a question.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers

from benchmarks.common.accuracy_real import smol
from benchmarks.common.accuracy_table import tables
from benchmarks.common.accuracy_tasks import TINY, Suite
from benchmarks.common.baselines import RATES, Trained, train
from benchmarks.common.cells import once, read
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.scoring import score_rows
from pixeltune.model.loading import load_model, load_processor, weights_sha256

RESULTS = Path(__file__).parent / "results"
VERSION = 1  # of the procedure: a new number makes every cell be run anew
TUNE_SEED, VALIDATION_SEED = 41, 1000


@dataclass(frozen=True)
class Plan:
    """How much of everything. Only what changes a cell's numbers is part of its settings."""

    verb: str
    steps: int
    batch: int
    group: int  # completions of a question (grpo)
    curve: tuple[int, ...]
    rows: int = 1000
    validation: int = 200
    curve_rows: int = 100
    test: int = 200
    seeds: tuple[int, ...] = (42, 43, 44)
    size_seeds: tuple[int, ...] = (42, 43, 44)
    sizes: tuple[int, ...] = ()
    configurations: int = 3


PLANS = {
    "sft": Plan("sft", 40, 16, 0, (5, 10, 20, 40), sizes=(1, 3, 10, 30, 100, 300)),
    "grpo": Plan("grpo", 20, 64, 8, (5, 10, 20)),
}
SMOL = {"sft": Plan("sft", 120, 8, 0, (40, 80, 120), validation=50, curve_rows=50, test=300, seeds=(42, 43))}
SMOKE = {"steps": 2, "curve": (1, 2), "rows": 16, "validation": 4, "curve_rows": 2, "test": 4, "seeds": (42,)}
SMOKE |= {"sizes": (1, 4), "size_seeds": (42,), "configurations": 1, "batch": 8}
FEW = 3  # training rows: with so many or fewer the other tasks are scored, too


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=("tiny", "smol"), default="tiny")
    parser.add_argument("--data", type=Path, help="folder with the benchmarks' folders, for smol")
    parser.add_argument("--verbs", nargs="+", choices=PLANS, help="none: those there is a plan for")
    parser.add_argument("--only", nargs="+", default=[], metavar="TASK[/METHOD]", help="not everything")
    parser.add_argument("--again", action="store_true", help="also what the file has already")
    parser.add_argument("--table", action="store_true", help="only print the tables of what is there")
    parser.add_argument("--quick", action="store_true", help="a few steps and rows, to see that it works")
    parser.add_argument("--size-seeds", type=int, nargs="+", help="of the trainings on fewer rows")
    parser.add_argument("--folder", type=Path, help="of the results")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args(argv)
    if arguments.model == "smol" and not (arguments.data and arguments.data.is_dir()):
        parser.error("--model smol needs --data, a folder with seal_tools and gsm8k in it")
    suite, plans = (smol(arguments.data), SMOL) if arguments.model == "smol" else (TINY, PLANS)
    if unplanned := set(arguments.verbs or ()) - set(plans):
        parser.error(f"--verbs {unplanned.pop()}: there is no plan for it on {arguments.model}")
    methods = [f"{name}/{method}" for name in suite.tasks for method in ("off", "text", *RATES)]
    if unknown := [o for o in arguments.only if not any(within(path, o) for path in methods)]:
        parser.error(f"--only {unknown[0]}: there is no such task or method; they are {', '.join(methods)}")
    torch.set_num_threads(arguments.threads)
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    quick = Path(tempfile.gettempdir(), "pixeltune-accuracy") if arguments.quick else RESULTS
    for verb in arguments.verbs or plans:
        plan = replace(plans[verb], **SMOKE, group=4) if arguments.quick else plans[verb]
        plan = replace(plan, size_seeds=tuple(arguments.size_seeds or plan.size_seeds))
        name = f"accuracy_{verb}.json" if suite is TINY else f"accuracy_{suite.model}_{verb}.json"
        out = (arguments.folder or quick) / name
        for path in () if arguments.table else methods:
            if not arguments.only or any(within(path, only) for only in arguments.only):
                compare(suite, plan, *path.split("/"), partial(measure, suite, out, plan, arguments.again))
        print(tables(read(out)))


def within(path: str, only: str) -> bool:
    return path == only or path.startswith(f"{only}/")


def compare(suite: Suite, plan: Plan, name: str, method: str, do: Callable[..., dict]) -> None:
    """All cells of one method on one task."""
    if method == "off":
        for seed in plan.seeds:
            do(f"{name}/off/{seed}", partial(untrained, suite, name, plan.test, seed), seed=seed)
        return
    choices = (suite.prompts[name] if method == "text" else RATES[method])[: plan.configurations]
    tuned = []
    for i, choice in enumerate(choices):
        key = f"{name}/{method}/tune/{i if method == 'text' else choice}"
        tuned.append(do(key, partial(tune, suite, plan, name, method, choice), choice=choice, seed=TUNE_SEED))
        if tuned[-1].get("lessons") == 0:
            return  # the other rates would start, and end, with the same model
    best = choices[choose([cell["score"] for cell in tuned])]
    work = partial(final, suite, plan, name, method, best)
    for seed in plan.seeds:
        do(f"{name}/{method}/{seed}", partial(work, seed), choice=best, seed=seed)
    for n in plan.sizes if method in suite.scarce and name in suite.fewer else ():
        for seed in plan.size_seeds:
            key = f"{name}/{method}/rows/{n}/{seed}"
            do(key, partial(work, seed, n), choice=best, seed=seed, train_rows=n)


def choose(scores: list[float]) -> int:
    """The best one's place; of several, the one nearest to the middle."""
    return max(range(len(scores)), key=lambda i: (scores[i], -abs(i - (len(scores) - 1) / 2)))


def tune(suite: Suite, plan: Plan, name: str, method: str, choice: Any) -> dict:
    """The validation score of one configuration."""
    rows = suite.part(name, "validation", plan.validation, VALIDATION_SEED)
    if method == "text":
        right, _ = answers(suite, name, rows, base(suite), choice)
        facts = {}
    else:
        try:
            trained = fit(suite, plan, name, method, choice, TUNE_SEED)
        except RuntimeError as error:
            if "probability tensor" not in str(error):  # how sampling ends when weights have become nan
                raise
            return {"choice": choice, "score": 0.0, "n": len(rows), "diverged": True}
        right, _ = answers(suite, name, rows, asked(suite, trained.model))
        facts = trained.facts
    return {"choice": choice, "score": right.count("1") / len(rows), "n": len(rows), **facts}


def final(
    suite: Suite, plan: Plan, name: str, method: str, choice: Any, seed: int, n: int | None = None
) -> dict:
    """Right or wrong on every test row, of the chosen configuration.

    Args:
        n: training rows where they are fewer than usual; then the other tasks are scored with `FEW` alone, and
            nothing else is measured.

    Raises:
        RuntimeError: a trained model speaks exactly as before, or still differs when it is switched off.
    """
    rows = suite.part(name, "test", plan.test, seed)
    if method == "text":
        return {"choice": choice, "right": answers(suite, name, rows, base(suite), choice)[0]}
    trained = fit(suite, plan, name, method, choice, seed, n, plan.curve if n is None else ())
    model = trained.model
    right, texts = answers(suite, name, rows, asked(suite, model))
    _, before = base_answers(suite, name, plan.test, seed)
    changed = sum(a != b for a, b in zip(texts, before, strict=True))
    if trained.facts["lessons"] and not changed and plan.steps > SMOKE["steps"]:
        raise RuntimeError(f"{name}/{method}: trained, and yet every greedy text is the base model's")
    cell = {"choice": choice, "right": right, "texts_changed": changed, **trained.facts}
    if n is not None:
        return cell | drift(suite, plan, name, model, seed) if n <= FEW else cell
    if seed != plan.seeds[0]:
        return cell
    if method != "full":
        with model.disable_adapter():
            _, off = answers(suite, name, rows, asked(suite, model.get_base_model()))
        cell["off_identical"] = sum(a == b for a, b in zip(off, before, strict=True))
        if cell["off_identical"] < len(rows):
            raise RuntimeError(f"{name}/{method}: switched off, it is not the base model any more")
    return cell | drift(suite, plan, name, model, seed) if method in suite.kept else cell


def drift(suite: Suite, plan: Plan, name: str, model: Any, seed: int) -> dict:
    """Right or wrong on the test rows of the other tasks, with what was trained for this one, told and untold."""
    others = {}
    for other in suite.tasks:
        if other not in (name, "boxed"):  # which the base model cannot do, so there is nothing to forget
            rows, backend = suite.part(other, "test", plan.test, seed), asked(suite, model)
            ways = {"untold": "", "told": suite.prompts[other][0]}
            others[other] = {
                way: answers(suite, other, rows, backend, words)[0] for way, words in ways.items()
            }
    return {"others": others} if others else {}


def fit(
    suite: Suite,
    plan: Plan,
    name: str,
    method: str,
    rate: float,
    seed: int,
    n: int | None = None,
    curve: tuple[int, ...] = (),
) -> Trained:
    """One training on a task's rows."""
    settings = {"max_steps": plan.steps, "per_device_train_batch_size": plan.batch}
    if plan.verb == "grpo":
        settings |= {"num_generations": plan.group, "max_completion_length": suite.tasks[name].max_new_tokens}
    rows = suite.part(name, "validation", plan.curve_rows, VALIDATION_SEED)
    return train(
        plan.verb,
        method,
        rate,
        seed,
        suite.part(name, "train", n or plan.rows, seed),
        settings,
        suite.rewards[name],
        curve,
        lambda model: answers(suite, name, rows, asked(suite, model))[0].count("1") / len(rows),
        suite.model,
    )


def answers(
    suite: Suite, name: str, rows: list[dict], backend: InProcess, words: str = ""
) -> tuple[str, list[list[str]]]:
    """A 1 or 0 for every row, and what was said."""
    records = score_rows(suite.tasks[name], rows, backend, words).records
    return "".join(f"{record['score']:.0f}" for record in records), [r["completions"] for r in records]


@cache
def base_answers(suite: Suite, name: str, n: int, seed: int) -> tuple[str, list[list[str]]]:
    """What the untouched model says to the test rows."""
    return answers(suite, name, suite.part(name, "test", n, seed), base(suite))


def untrained(suite: Suite, name: str, n: int, seed: int) -> dict:
    """The untouched model, and the same told the task's first prompt, on the test rows."""
    told, _ = answers(suite, name, suite.part(name, "test", n, seed), base(suite), suite.prompts[name][0])
    return {"right": base_answers(suite, name, n, seed)[0], "told": told}


@cache
def processor(model: str) -> Any:
    return load_processor(model)


def asked(suite: Suite, model: Any) -> InProcess:
    """A model that answers, with something trained on it or not."""
    return InProcess(model, processor(suite.model), chunk=suite.batch)


def base(suite: Suite) -> InProcess:
    """The untouched model; a new one each time, so that nothing trained can be left in it."""
    return asked(suite, load_model(suite.model))


@cache
def base_hash(model: str) -> str:
    return weights_sha256(load_model(model))


def measure(
    suite: Suite, out: Path, plan: Plan, again: bool, key: str, work: Callable[[], dict], **inputs: Any
) -> dict:
    """A cell of the results; see `cells.once`.

    Args:
        suite: whose model is part of the settings.
        out: the results file.
        plan: part of the settings.
        again: make the cell in any case.
        key: of the cell.
        work: makes it.
        inputs: further settings.
    """
    repeats = ("seeds", "size_seeds", "sizes", "configurations")
    amounts = {name: value for name, value in asdict(plan).items() if name not in repeats}
    settings = {"version": VERSION, "base": base_hash(suite.model), **amounts, **inputs}
    data = "" if suite is TINY else f" --model {suite.model} --data FOLDER"
    made_by = f"python benchmarks/accuracy.py{data} --verbs {plan.verb}"
    facts = {
        "made_by": made_by,
        "plan": asdict(plan),
        "base": base_hash(suite.model),
        "rates": RATES,
        "prompts": suite.prompts,
    }
    cell = once(out, key, settings, work, again, **facts)
    print(key, {k: v for k, v in cell.items() if k not in ("right", "told", "others")}, flush=True)
    return cell


if __name__ == "__main__":
    main()
