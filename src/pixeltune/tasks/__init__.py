"""Tasks: each file owns its rows, its reward and its score, and one parser serves both."""

import random
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

NAMES = ("calls", "sums", "turns", "shop")


def find_task(name: str) -> ModuleType:
    """The module of a bundled task.

    Raises:
        ValueError: there is no such task.
    """
    if name not in NAMES:
        raise ValueError(f"there is no task {name!r}; the bundled ones are {', '.join(NAMES)}")
    return import_module(f"pixeltune.tasks.{name}")


def draw(name: str, make: Callable[[random.Random], Any], split: str, n: int, seed: int) -> list:
    """``n`` of the items that ``make`` makes: for "test" those that are ``held_out``, for "train" the others.

    Raises:
        ValueError: for another split.
    """
    if split not in ("train", "test"):
        raise ValueError(f"{name} has the splits 'train' and 'test', not {split!r}.")
    rng, items = random.Random(f"{name} {split} {seed}"), []
    while len(items) < n:
        item = make(rng)
        if item.held_out == (split == "test"):
            items.append(item)
    return items


def texts_of(completions: list[str | list[dict]]) -> list[str]:
    """The texts that TRL hands to a reward: completions are texts, or conversations that end in one."""
    return [c if isinstance(c, str) else c[-1]["content"] for c in completions]
