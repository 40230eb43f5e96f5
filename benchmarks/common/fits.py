"""Whether a machine is large enough for `accuracy.py` on a released model, and how many hours it would take.

Before anything is loaded, the weights by the model's config; then one step of each method on the longest rows
there are, the frozen ones first: what they take beside the weights is what full fine-tuning takes beside its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from benchmarks.common.accuracy_cells import WORDS, answers, base, settings
from benchmarks.common.accuracy_plans import TUNE_SEED, VALIDATION_SEED, Plan
from benchmarks.common.accuracy_tasks import Suite
from benchmarks.common.baselines import RATES, train
from benchmarks.common.machine import machine
from pixeltune.errors import UserError
from pixeltune.model.finding import find_model, place

GIB = 2**30
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "auto": 2}
FULL = 16  # bytes a parameter: weights, gradient and Adam's two moments, all in float32
STEPS = 2  # the first one is slow
REMEDY = "a smaller --rows-at-once, --checkpointing, or --without {} makes it smaller"


def check(suite: Suite, plan: Plan, cells: list[str], do: Callable[..., dict]) -> str:
    """A line with what the comparison takes; its measurements are cells of the results.

    Args:
        suite: what is compared.
        plan: how much.
        cells: the paths TASK/METHOD that are wanted.
        do: makes or reads a cell, as `accuracy.measure`.

    Raises:
        UserError: the model, the data or the machine cannot be used, in a line.
    """
    _read_rows(suite)
    numbers, room = parameters(suite.model), free()
    weights = numbers * BYTES[suite.dtype]
    _refuse(weights, room, "loading it", suite, "--dtype bfloat16 takes half of float32")
    methods = list(dict.fromkeys(path.partition("/")[2] for path in cells))
    if "full" in methods:
        _refuse(numbers * FULL, room, "full fine-tuning", suite, "leave it out: --without full")
    here = {"here": machine(), "passes": [suite.micro, suite.checkpointing, suite.batch], "numbers": numbers}
    measured: dict[str, dict] = {}
    for name in dict.fromkeys(path.partition("/")[0] for path in cells):
        key = f"{name}/off/measured/answers"
        measured[key] = _or_refuse(do, key, partial(answering, suite, name), room, "full", here)
    for path in sorted(cells, key=lambda path: path.endswith("/full")):
        name, method = path.split("/")
        if method not in RATES:
            continue
        steps = {key: cell["bytes"] for key, cell in measured.items() if "/full/" not in key}
        need = max(steps.values()) + (numbers * FULL - weights if method == "full" else 0)
        _refuse(need, room, f"a step of {method} on {name}", suite, REMEDY.format(method))
        key = f"{path}/measured/step"
        work = partial(step, suite, plan, name, method)
        measured[key] = _or_refuse(do, key, work, room, method, here)
    largest = max(measured, key=lambda key: measured[key]["bytes"])
    return (
        f"{suite.model}: {numbers / 1e6:,.0f} M parameters; at most {_gib(measured[largest]['bytes'])} of "
        f"{_gib(room)} are taken ({largest}); about {hours(suite, plan, cells, measured):.1f} h for everything"
    )


def parameters(model: str) -> int:
    """Of a model, by its config alone."""
    config = AutoConfig.from_pretrained(place(model), **find_model(model, None))
    with torch.device("meta"):
        made = AutoModelForImageTextToText.from_config(config)
    return sum(p.numel() for p in made.parameters())


def free() -> int:
    """Bytes that the first GPU has left, without one the memory of the machine."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info()[0]
    return psutil.virtual_memory().available


def step(suite: Suite, plan: Plan, name: str, method: str) -> dict:
    """Seconds of a step and bytes at its peak, on the longest training rows; seconds of what is around training."""
    rows = sorted(suite.part(name, "train", plan.rows, TUNE_SEED), key=_size, reverse=True)
    longest = rows[: plan.batch // (plan.group if plan.verb == "grpo" else 1)]
    short = settings(suite, plan, name) | {"max_steps": STEPS}
    begun = time.perf_counter()
    with peak() as most:
        rate = RATES[method][0]
        trained = train(
            *(plan.verb, method, rate, TUNE_SEED, longest, short, suite.rewards[name]),
            base=suite.model,
            dtype=suite.dtype,
        )
    around = time.perf_counter() - begun - sum(trained.step_seconds)
    usual = sum(map(_size, rows)) / len(rows) / (sum(map(_size, longest)) / len(longest))
    facts = {"seconds": round(trained.step_seconds[-1], 3), "around": round(around, 1), "bytes": most[0]}
    return facts | {"usual": round(usual, 3), "trained_numbers": trained.facts["trained_numbers"]}


def answering(suite: Suite, name: str) -> dict:
    """Seconds of an answer and bytes at the peak, of the longest validation rows and the untouched model."""
    rows = sorted(suite.part(name, "validation", 10_000, VALIDATION_SEED), key=_size, reverse=True)
    with peak() as most:
        backend, begun = base(suite), time.perf_counter()
        answers(suite, name, rows[: suite.batch], backend)
    taken = (time.perf_counter() - begun) / len(rows[: suite.batch])
    return {"seconds": round(taken, 4), "bytes": most[0]}


def hours(suite: Suite, plan: Plan, cells: list[str], measured: dict[str, dict]) -> float:
    """Of all cells: trainings at a step's time on rows of usual length, and answers at the measured time."""
    seconds = 0.0
    for path in cells:
        name, method = path.split("/")
        one = measured.get(f"{name}/off/measured/answers", {"seconds": 0.0})["seconds"]
        tests = sum(
            len(suite.part(other, "test", plan.test, seed))
            for seed in plan.seeds
            for other in (name, *suite.transfers.get(name, ()))
        )
        if method == "off":
            seconds += one * (
                tests + sum(len(suite.part(name, "test", plan.test, seed)) for seed in plan.seeds)
            )
            continue
        seconds += one * (tests + plan.configurations * plan.validation)
        if method in WORDS:
            continue
        taken = measured[f"{path}/measured/step"]
        trainings = plan.configurations + len(plan.seeds)
        seconds += trainings * (taken["around"] + plan.steps * taken["seconds"] * taken["usual"])
        seconds += one * len(plan.seeds) * len(plan.curve) * plan.curve_rows
        if method != "full":  # switched off once
            seconds += one * len(suite.part(name, "test", plan.test, plan.seeds[0]))
    return seconds / 3600


@contextmanager
def peak() -> Iterator[list[int]]:
    """A list that gets the most bytes taken meanwhile: of the GPU's memory, without one of this process."""
    found: list[int] = []
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        yield found
        found.append(torch.cuda.max_memory_allocated())
        return
    Path("/proc/self/clear_refs").write_text("5")  # the kernel begins to look for the peak anew
    yield found
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    found.append(int(line.split()[1]) * 1024)


def _or_refuse(
    do: Callable[..., dict], key: str, work: Callable[[], dict], room: int, method: str, here: dict
) -> dict:
    try:
        return do(key, work, **here)
    except torch.OutOfMemoryError as error:
        raise UserError(f"{key} does not fit {_gib(room)} of memory: {REMEDY.format(method)}") from error


def _read_rows(suite: Suite) -> None:
    """Every file that will be needed is there, before anything long begins."""
    for name in suite.tasks:
        for which in ("train", "validation", "test") if name in suite.trained else ("test",):
            suite.part(name, which, 1, VALIDATION_SEED)


def _refuse(need: float, room: int, what: str, suite: Suite, remedy: str) -> None:
    if need > room:
        raise UserError(
            f"this machine is too small for {suite.model}: {what} takes about {_gib(need)} and {_gib(room)} are "
            f"free; {remedy}"
        )


def _size(row: dict[str, Any]) -> int:
    """Characters of a row, near enough to tokens."""
    return len(str(row["prompt"])) + len(str(row.get("tools") or "")) + len(str(row.get("completion") or ""))


def _gib(amount: float) -> str:
    return f"{amount / GIB:.1f} GiB"
