"""What a cell of `accuracy.py` measures: a configuration on validation rows, the chosen one on test rows."""

from __future__ import annotations

from functools import cache
from typing import Any

from benchmarks.common.accuracy_plans import FEW, SMOKE, TUNE_SEED, VALIDATION_SEED, Plan
from benchmarks.common.accuracy_tasks import Suite
from benchmarks.common.baselines import Trained, train
from benchmarks.common.bases import processor
from pixeltune.data.messages import Message
from pixeltune.evaluation.candidates import Candidate
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.scoring import score_rows
from pixeltune.model.loading import load_model

WORDS = ("text", "few-shot")
"""Methods that train nothing."""


def tune(suite: Suite, plan: Plan, name: str, method: str, choice: Any, first: float | None = None) -> dict:
    """The validation score of one configuration; `first` is the rate of the training that it goes on from."""
    rows = suite.part(name, "validation", plan.validation, VALIDATION_SEED)
    if method in WORDS:
        right, _ = answers(suite, name, rows, base(suite), told(suite, name, method, choice, TUNE_SEED))
        facts = {}
    else:
        try:
            trained = fit(suite, plan, name, method, choice, TUNE_SEED, first=first)
        except RuntimeError as error:
            if "probability tensor" not in str(error):  # how sampling ends when weights have become nan
                raise
            return {"choice": choice, "score": 0.0, "n": len(rows), "diverged": True}
        right, _ = answers(suite, name, rows, asked(suite, trained.model))
        facts = trained.facts
    return {"choice": choice, "score": right.count("1") / len(rows), "n": len(rows), **facts}


def final(
    suite: Suite,
    plan: Plan,
    name: str,
    method: str,
    choice: Any,
    seed: int,
    n: int | None = None,
    first: float | None = None,
) -> dict:
    """Right or wrong on every test row, of the chosen configuration, and on rows of the tasks it may transfer to.

    Args:
        suite: what is compared.
        plan: how much.
        name: of the task.
        method: of `WORDS` or `RATES`.
        choice: wording, number of examples, or rate.
        seed: of the rows, and of the training.
        n: training rows where they are fewer than usual; then nothing else is measured, but with `FEW` the other tasks.
        first: rate of the training that this one goes on from.

    Raises:
        RuntimeError: a trained model speaks exactly as before, or still differs when it is switched off.
    """
    rows = suite.part(name, "test", plan.test, seed)
    if method in WORDS:
        words, backend = told(suite, name, method, choice, seed), base(suite)
        right, _ = answers(suite, name, rows, backend, words)
        return {"choice": choice, "right": right, **transferred(suite, plan, name, backend, seed, words)}
    _, before = base_answers(suite, name, plan.test, seed)  # first: two models need not fit
    trained = fit(suite, plan, name, method, choice, seed, n, plan.curve if n is None else (), first)
    model = trained.model
    right, texts = answers(suite, name, rows, asked(suite, model))
    changed = sum(a != b for a, b in zip(texts, before, strict=True))
    if trained.facts["lessons"] and not changed and plan.steps > SMOKE["steps"]:
        raise RuntimeError(f"{name}/{method}: trained, and yet every greedy text is the base model's")
    cell = {"choice": choice, "right": right, "texts_changed": changed, **trained.facts}
    if n is not None:
        return cell | drift(suite, plan, name, model, seed) if n <= FEW else cell
    cell |= transferred(suite, plan, name, asked(suite, model), seed)
    if seed != plan.seeds[0]:
        return cell
    if method != "full":
        with model.disable_adapter():
            _, off = answers(suite, name, rows, asked(suite, model.get_base_model()))
        cell["off_identical"] = sum(a == b for a, b in zip(off, before, strict=True))
        least = 0.95 if suite.dtype == "bfloat16" else 1  # sums in another order
        if cell["off_identical"] < len(rows) * least:
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
    first: float | None = None,
) -> Trained:
    """One training on a task's rows, from where another one of the same rows, at the rate `first`, has ended."""
    begun = first and plan.onto and fit(suite, plan.onto, name, method, first, seed).model
    rows = suite.part(name, "validation", plan.curve_rows, VALIDATION_SEED)
    return train(
        plan.verb,
        method,
        rate,
        seed,
        suite.part(name, "train", n or plan.rows, seed),
        settings(suite, plan, name),
        suite.rewards[name],
        curve,
        lambda model: answers(suite, name, rows, asked(suite, model))[0].count("1") / len(rows),
        suite.model,
        suite.dtype,
        begun,
    )


def settings(suite: Suite, plan: Plan, name: str) -> dict:
    """Of TRL's config: a step of `plan.batch` rows or completions, in as many passes as the suite says."""
    at_once = min(suite.micro or plan.batch, plan.batch)
    made = {"max_steps": plan.steps, "per_device_train_batch_size": at_once}
    if at_once < plan.batch:
        made |= {"gradient_accumulation_steps": plan.batch // at_once}
    if suite.checkpointing:
        made |= {"gradient_checkpointing": True}
    if plan.verb == "grpo":
        made |= {"num_generations": plan.group, "max_completion_length": suite.tasks[name].max_new_tokens}
    return made


def told(suite: Suite, name: str, method: str, choice: Any, seed: int) -> str | list[Message]:
    """What is put in front of every request: a wording, or so many training rows as turns of a conversation."""
    if method == "text":
        return choice
    shown = Candidate(f"few-shot:{choice}", "few-shot", shots=choice)
    return shown.examples(suite.part(name, "train", choice, seed), name)


def transferred(
    suite: Suite, plan: Plan, name: str, backend: InProcess, seed: int, words: str | list[Message] = ""
) -> dict:
    """Right or wrong on test rows of the tasks that a task's trainings are scored on as well; none: empty."""
    found = {
        other: answers(suite, other, suite.part(other, "test", plan.test, seed), backend, words)[0]
        for other in suite.transfers.get(name, ())
    }
    return {"transfers": found} if found else {}


def answers(
    suite: Suite, name: str, rows: list[dict], backend: InProcess, words: str | list[Message] = ""
) -> tuple[str, list[list[str]]]:
    """A 1 or 0 for every row, and what was said."""
    records = score_rows(suite.tasks[name], rows, backend, words).records
    return "".join(f"{record['score']:.0f}" for record in records), [r["completions"] for r in records]


@cache
def base_answers(suite: Suite, name: str, n: int, seed: int) -> tuple[str, list[list[str]]]:
    """What the untouched model says to the test rows."""
    return answers(suite, name, suite.part(name, "test", n, seed), base(suite))


def untrained(suite: Suite, plan: Plan, name: str, seed: int) -> dict:
    """The untouched model, and the same told the task's first prompt, on the test rows."""
    right, _ = base_answers(suite, name, plan.test, seed)
    backend, rows = base(suite), suite.part(name, "test", plan.test, seed)
    first, _ = answers(suite, name, rows, backend, suite.prompts[name][0])
    return {"right": right, "told": first, **transferred(suite, plan, name, backend, seed)}


def asked(suite: Suite, model: Any) -> InProcess:
    """A model that answers, with something trained on it or not."""
    return InProcess(model, processor(suite.model), chunk=suite.batch)


def base(suite: Suite) -> InProcess:
    """The untouched model; a new one each time, so that nothing trained can be left in it."""
    return asked(suite, load_model(suite.model, dtype=suite.dtype))
