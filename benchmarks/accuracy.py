"""Artwork, LoRA, soft prompt, full fine-tuning, examples and the best text prompt on one model, compared.

    python benchmarks/accuracy.py [--verbs sft grpo] [--only sums calls/artwork] [--again] [--table] [--quick]
    python benchmarks/accuracy.py --model smol --data FOLDER --verbs sft [--only seal_tools:single/artwork]
    python benchmarks/accuracy.py --config recipes/comparison/qwen3_5_0.8b.yaml --data FOLDER [--estimate]

Writes benchmarks/results/accuracy_<verb>.json, for smol accuracy_smol_<verb>.json, for other models
accuracy_released/<model>_<verb>.json, after every cell: a killed run goes on where it was, cells with other
settings are made anew, and processes with different --only may work on one file. Then prints the tables of
docs/results/accuracy.md (`common/accuracy_table.py`); for other models it writes their page,
docs/results/released.md, and its figures.

Each method (LoRA's ranks are three) has three configurations: learning rates, wordings of the text prompt, or
numbers of examples. One is chosen by its score on validation rows with a seed of its own, ties by the middle of
the grid. It is then trained with other seeds and scored once on test rows. On smol grpo goes on from where sft of the
same rows has left each method, whose test cells have to be there. Every seed has training and test
rows of its own, the same for all methods and in the same order. Training, validation and test rows have no
prompt in common. Rows of other models than tiny are public benchmarks' (`common/accuracy_real.py`), of which
some are for testing only: what was trained on one task is scored on them as well. On turns, grpo takes each turn
of the reference conversation as a question.

Before the first cell of another model than tiny and smol the machine is checked (`common/fits.py`): one line says
what memory and how many hours it takes, or that the machine is too small.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers

from benchmarks.common import fits
from benchmarks.common.accuracy_cells import final, tune, untrained
from benchmarks.common.accuracy_flags import read_flags
from benchmarks.common.accuracy_plans import RELEASED_FOLDER, RESULTS, SMALLER, SMOKE, TUNE_SEED, Plan
from benchmarks.common.accuracy_table import finals, tables
from benchmarks.common.accuracy_tasks import TINY, Suite
from benchmarks.common.baselines import RATES
from benchmarks.common.bases import base_hash
from benchmarks.common.cells import once, read
from pixeltune.errors import UserError

VERSION = 1  # of the procedure: a new number makes every cell be run anew


def main(argv: list[str] | None = None) -> None:
    flags, suite, plans = read_flags(__doc__.splitlines()[0], argv)
    torch.set_num_threads(flags.threads)
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    known = suite.model in ("tiny", "smol")
    smoke = SMOKE if known else SMOKE | SMALLER
    if flags.quick and not known:
        suite = replace(suite, tasks={name: replace(t, max_new_tokens=8) for name, t in suite.tasks.items()})
    quick = Path(tempfile.gettempdir(), "pixeltune-accuracy") if flags.quick else RESULTS
    folder = flags.folder or (quick if known else quick / RELEASED_FOLDER)
    for verb in flags.verbs:
        plan = quickly(plans[verb], smoke) if flags.quick else plans[verb]
        plan = replace(plan, size_seeds=tuple(flags.size_seeds or plan.size_seeds))
        out = folder / file_name(suite, verb)
        do = partial(measure, suite, out, plan, flags.again)
        try:
            if not (known or flags.table):
                print(fits.check(suite, plan, flags.cells, do), flush=True)
        except UserError as error:
            sys.exit(str(error))
        before = read(folder / file_name(suite, plan.onto.verb)) if plan.onto else None
        for path in () if flags.table or flags.estimate else flags.cells:
            compare(suite, plan, *path.split("/"), do, before)
        print(tables(read(out), before))
    if not (known or flags.quick or flags.estimate or flags.folder):
        # Here, because it draws with matplotlib, which little else needs.
        from benchmarks.common.accuracy_page import write_page

        write_page()


def quickly(plan: Plan, smoke: dict[str, Any]) -> Plan:
    """A few steps and rows of a plan, and of what it goes on from."""
    return replace(plan, **smoke, onto=plan.onto and quickly(plan.onto, smoke))


def file_name(suite: Suite, verb: str) -> str:
    """Of a model's results."""
    if suite is TINY:
        return f"accuracy_{verb}.json"
    if suite.model == "smol":
        return f"accuracy_smol_{verb}.json"
    return f"{Path(suite.model).name.lower()}_{verb}.json"


def compare(
    suite: Suite, plan: Plan, name: str, method: str, do: Callable[..., dict], before: dict | None = None
) -> None:
    """All cells of one method on one task; `before` is the report of the trainings that these go on from."""
    others = {"transfers": list(suite.transfers[name])} if name in suite.transfers else {}
    if method == "off":
        for seed in plan.seeds:
            do(f"{name}/off/{seed}", partial(untrained, suite, plan, name, seed), seed=seed, **others)
        return
    every = {"text": suite.prompts[name], "few-shot": suite.shots, **RATES}
    choices = every[method][: plan.configurations]
    begun: dict[str, Any] = {}
    if before and method in RATES:
        if not (there := finals(before, name, method)):
            print(f"{name}/{method}: left out, it goes on from --verbs {plan.onto.verb}, which is not there")
            return
        begun = {"first": next(iter(there.values()))["choice"]}
    tuned = []
    for i, choice in enumerate(choices):
        key = f"{name}/{method}/tune/{i if method == 'text' else choice}"
        work = partial(tune, suite, plan, name, method, choice, **begun)
        tuned.append(do(key, work, choice=choice, seed=TUNE_SEED, **begun))
        if tuned[-1].get("lessons") == 0:
            return  # the other rates would start, and end, with the same model
    best = choices[choose([cell["score"] for cell in tuned])]
    work = partial(final, suite, plan, name, method, best, **begun)
    for seed in plan.seeds:
        do(f"{name}/{method}/{seed}", partial(work, seed), choice=best, seed=seed, **others, **begun)
    for n in plan.sizes if method in suite.scarce and name in suite.fewer else ():
        for seed in plan.size_seeds:
            key = f"{name}/{method}/rows/{n}/{seed}"
            do(key, partial(work, seed, n), choice=best, seed=seed, train_rows=n)


def choose(scores: list[float]) -> int:
    """The best one's place; of several, the one nearest to the middle."""
    return max(range(len(scores)), key=lambda i: (scores[i], -abs(i - (len(scores) - 1) / 2)))


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
    amounts = {k: v for k, v in asdict(plan).items() if k not in repeats and v is not None}
    settings = {"version": VERSION, "base": base_hash(suite.model, suite.dtype), **amounts, **inputs}
    model = Path(suite.model).name if Path(suite.model).is_dir() else suite.model
    data = "" if suite is TINY else f" --model {model} --data FOLDER"
    made_by = f"python benchmarks/accuracy.py{data} --verbs {plan.verb}"
    facts = {
        "made_by": made_by,
        "plan": asdict(plan),
        "base": base_hash(suite.model, suite.dtype),
        "rates": RATES,
        "prompts": suite.prompts,
        **({"shots": suite.shots, "transfers": suite.transfers} if suite.shots else {}),
    }
    cell = once(out, key, settings, work, again, **facts)
    print(
        key, {k: v for k, v in cell.items() if k not in ("right", "told", "others", "transfers")}, flush=True
    )
    return cell


if __name__ == "__main__":
    main()
