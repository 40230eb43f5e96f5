"""Tasks: each file owns its rows, its reward and its score, and one parser serves both.

A task is a module with ``NAME``, ``INSTRUCTION`` (its best prompt in words), ``MAX_NEW_TOKENS``,
``rows(split, n, seed)``, ``score(row, text)`` in [0, 1] and ``reward(completions, **columns)`` in TRL's
signature. Rows about pictures have those in ``images``. Where the rows are a public benchmark's, ``rows``
takes also ``folder`` (a copy of its files; None: the hub) and ``category``, every row has an ``id`` and
perhaps a ``group``. A task of several turns has ``next_turn(row, texts)``, one of multiple choice
``options(row)``, and one whose score is more than a mean of its rows ``metrics(rows, answers)``.
"""

import random
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from pixeltune.errors import UserError

SYNTHETIC = ("calls", "sums", "turns", "shop", "tiles")
BENCHMARKS = ("gsm8k", "svamp", "aqua_rat", "bbh", "bfcl", "seal_tools", "api_bank", "when2call")
NAMES = SYNTHETIC + BENCHMARKS


def find_task(name: str) -> ModuleType:
    """The module of a task; a category behind a colon ("bfcl:parallel") is not looked at.

    Raises:
        ValueError: there is no such task.
    """
    stem = name.partition(":")[0]
    if stem not in NAMES:
        raise UserError(f"there is no task {stem!r}; there are {', '.join(NAMES)}")
    room = "synthetic" if stem in SYNTHETIC else "benchmarks"
    return import_module(f"pixeltune.tasks.{room}.{stem}")


def is_benchmark(name: str) -> bool:
    """Whether a task, perhaps with a category, has public data for rows, and so splits, files and ids."""
    return name.partition(":")[0] in BENCHMARKS


def find_rows(
    name: str, split: str, n: int | None, seed: int = 0, folder: str | Path | None = None
) -> list[dict]:
    """Rows of a task.

    Args:
        name: of a task, perhaps with a category: "bfcl:parallel".
        split: "train" or "test"; benchmarks with a train split also have "validation".
        n: how many; None for all that a benchmark has.
        seed: of the draw.
        folder: a copy of a benchmark's files, or the folder above one of that name; None reads the hub.

    Raises:
        ValueError: the task has no such split or category, or its data cannot be had or used.
    """
    stem, _, category = name.partition(":")
    task = find_task(name)
    if is_benchmark(name):
        if folder is not None and (Path(folder) / stem).is_dir():
            folder = Path(folder) / stem
        rows = task.rows(split, n, seed, folder=folder, category=category or None)
        if not rows:
            raise UserError(f"{name} has no rows in the split {split!r}")
        return rows
    if category or folder is not None:
        raise UserError(f"{stem} makes its own rows: it has no categories and reads no folder")
    if n is None:
        raise UserError(f"{stem} makes as many rows as you like: say how many")
    return task.rows(split, n, seed)


def held_out_rows(name: str, n: int, seed: int = 0, folder: str | Path | None = None) -> list[dict]:
    """`find_rows` of the split to look at, and to choose by, before the end.

    Of a benchmark that is its validation split: its test rows are for the end.
    """
    return find_rows(name, "validation" if is_benchmark(name) else "test", n, seed, folder)


def draw(name: str, make: Callable[[random.Random], Any], split: str, n: int, seed: int) -> list:
    """``n`` of the items that ``make`` makes: for "test" those that are ``held_out``, for "train" the others.

    Raises:
        ValueError: for another split.
    """
    if split not in ("train", "test"):
        raise UserError(f"{name} has the splits 'train' and 'test', not {split!r}.")
    rng, items = random.Random(f"{name} {split} {seed}"), []
    while len(items) < n:
        item = make(rng)
        if item.held_out == (split == "test"):
            items.append(item)
    return items


def texts_of(completions: list[str | list[dict]]) -> list[str]:
    """The texts that TRL hands to a reward: completions are texts, or conversations that end in one."""
    return [c if isinstance(c, str) else c[-1]["content"] for c in completions]
