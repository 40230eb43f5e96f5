"""The tasks of `accuracy.py` for models of real language: public benchmarks, from a folder or the hub."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.common.accuracy_tasks import Suite
from pixeltune.tasks.base import Task
from pixeltune.tasks.benchmarks import bfcl, gsm8k, seal_tools, svamp, when2call

SMOL = ("seal_tools:single_of_two", "seal_tools:single", "gsm8k")
RELEASED = ("gsm8k", "seal_tools:single")
CALLS = ("bfcl:simple_python", "bfcl:multiple", "bfcl:irrelevance", "when2call")
TRANSFERS = {"gsm8k": ("svamp",), "seal_tools:single": CALLS}
"""What is only for testing: other problems in words, other tools, and knowing when not to call."""
TASKS = {task.name: task for task in (bfcl.TASK, gsm8k.TASK, seal_tools.TASK, svamp.TASK, when2call.TASK)}
ONE_IN = {"seal_tools": 4, "gsm8k": 8}
"""One training prompt in so many, by its text, is for validation; of Seal-Tools' single calls there are only 200."""
TOKENS = 256  # of a small model's answer; right ones take less than half of it
SHOTS = (1, 4, 8)
PROMPTS = {
    "seal_tools": [
        seal_tools.TASK.instruction,
        "Answer with one call of the tool that fits, in <tool_call> tags, and with nothing else.",
        "You call tools. Pick the right tool, fill in its parameters with the exact values of the request, and write "
        "only the <tool_call>.",
    ],
    "gsm8k": [
        gsm8k.TASK.instruction,
        "Solve the problem step by step. End with the line: Answer: N",
        "Think about each step, compute carefully, and finish with Answer: followed by the number.",
    ],
}


def smol(data: Path) -> Suite:
    """The comparison on the second model, in bfloat16, in which processors that have it train four times as fast.

    Args:
        data: holds the folders of the benchmarks, with upstream's files; what is missing is read from the hub.
    """
    made = _suite("smol", data, SMOL, TRANSFERS, lambda task: min(task.max_new_tokens, TOKENS), 32)
    return replace(made, dtype="bfloat16")


def released(
    model: str, data: Path | None, dtype: str, answers: int, micro: int, checkpointing: bool
) -> Suite:
    """The comparison on a model of the hub, or of a folder.

    Args:
        model: its name.
        data: see `smol`; None reads all from the hub.
        dtype: of its weights.
        answers: rows that are answered at once.
        micro: rows of one pass in training.
        checkpointing: see `Suite`.
    """
    made = _suite(model, data, RELEASED, TRANSFERS, lambda task: task.max_new_tokens, answers)
    return replace(made, dtype=dtype, micro=micro, checkpointing=checkpointing)


def _suite(
    model: str,
    data: Path | None,
    trained: tuple[str, ...],
    transfers: Mapping[str, tuple[str, ...]],
    tokens: Callable[[Task], int],
    batch: int,
) -> Suite:
    others = [other for name in trained for other in transfers.get(name, ())]
    tasks = {name: TASKS[name.partition(":")[0]] for name in (*trained, *others)}
    tasks = {name: replace(task, max_new_tokens=tokens(task)) for name, task in tasks.items()}
    rewards = {name: tasks[name].reward for name in trained}
    prompts = {name: PROMPTS[tasks[name].name] for name in trained}
    rows = partial(part, data)
    return Suite(model, tasks, rewards, prompts, rows, (), (), batch, SHOTS, transfers)


def part(data: Path | None, name: str, which: str, n: int, seed: int) -> list[dict]:
    """Rows of a task, at most as many as there are; fewer are the beginning of more.

    Test rows of odd and of even seeds have none in common: what two seeds say together is said of different rows.

    Args:
        data: see `released`.
        name: of a benchmark, perhaps with a category.
        which: "test", or "train" and "validation", which share out what upstream has for training.
        n: how many.
        seed: of their order; of the test also which half.

    Raises:
        UserError: they cannot be had.
    """
    task = TASKS[name.partition(":")[0]]
    splits = (
        ("test",) if which == "test" else ("train", "validation") if task is seal_tools.TASK else ("train",)
    )
    found = [row for split in splits for row in _rows(name, split, data)]
    random.Random(seed).shuffle(found)
    if which == "test":
        return [row for row in found if _mark("test", row) % 2 == seed % 2][:n]
    held = [_mark("validation", row) % ONE_IN[task.name] == 0 for row in found]
    return [row for row, out in zip(found, held, strict=True) if out == (which == "validation")][:n]


def _rows(name: str, split: str, data: Path | None) -> list[dict]:
    name, _, category = name.partition(":")
    folder = data / name if data and (data / name).is_dir() else None
    return TASKS[name].rows(split, None, folder=folder, category=category or None)


def _mark(what: str, row: dict) -> int:
    return zlib.crc32(f"{what} {json.dumps(row['prompt'])}".encode())
