"""The second model's tasks in `accuracy.py`: public benchmarks, from a folder of their files."""

from __future__ import annotations

import json
import random
import zlib
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.common.accuracy_tasks import Suite
from pixeltune.tasks.base import Task
from pixeltune.tasks.benchmarks import gsm8k, seal_tools

CATEGORIES = {
    "seal_tools:single_of_two": (seal_tools.TASK, "single_of_two"),
    "seal_tools:single": (seal_tools.TASK, "single"),
    "gsm8k": (gsm8k.TASK, None),
}
ONE_IN = {"seal_tools": 4, "gsm8k": 8}
"""One training prompt in so many, by its text, is for validation; of Seal-Tools' single calls there are only 200."""
TOKENS = 256  # of an answer; right ones take less than half of it
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
    """The comparison on real language.

    Args:
        data: holds the folders `seal_tools` and `gsm8k`, with upstream's files.
    """
    tasks = {name: replace(task, max_new_tokens=TOKENS) for name, (task, _) in CATEGORIES.items()}
    rewards = {name: task.reward for name, task in tasks.items()}
    prompts = {name: PROMPTS[task.name] for name, task in tasks.items()}
    return Suite("smol", tasks, rewards, prompts, partial(part, data), (), (), 32)


def part(data: Path, name: str, which: str, n: int, seed: int) -> list[dict]:
    """Rows of a task, at most as many as there are; fewer are the beginning of more.

    Test rows of odd and of even seeds have none in common: what two seeds say together is said of different rows.

    Args:
        data: see `smol`.
        name: one of `CATEGORIES`.
        which: "test", or "train" and "validation", which share out what upstream has for training.
        n: how many.
        seed: of their order; of the test also which half.
    """
    task, category = CATEGORIES[name]
    splits = (
        ("test",) if which == "test" else ("train", "validation") if task is seal_tools.TASK else ("train",)
    )
    found = [row for split in splits for row in _rows(task, split, data / task.name, category)]
    random.Random(seed).shuffle(found)
    if which == "test":
        return [row for row in found if _mark("test", row) % 2 == seed % 2][:n]
    held = [_mark("validation", row) % ONE_IN[task.name] == 0 for row in found]
    return [row for row, out in zip(found, held, strict=True) if out == (which == "validation")][:n]


def _rows(task: Task, split: str, folder: Path, category: str | None) -> list[dict]:
    return task.rows(split, None, folder=folder, **({"category": category} if category else {}))


def _mark(what: str, row: dict) -> int:
    return zlib.crc32(f"{what} {json.dumps(row['prompt'])}".encode())
