"""Rows of several tasks for one picture: each scored and rewarded by its own task."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pixeltune.data.hashes import prompt_hash
from pixeltune.data.origin import Row, origin
from pixeltune.errors import UserError
from pixeltune.tasks.base import Task
from pixeltune.training.defaults import OBJECTIVE_FACTS
from pixeltune.training.rewards import is_async
from pixeltune.training.shares import drawn

COLUMN = "drawn_from"
"""Of rows: which of the tasks or files they are of. There where there are several."""


@dataclass(frozen=True)
class Part:
    """The rows of one task or file."""

    name: str
    task: Task | None
    """None where the rows have no plain score."""
    train_rows: list[dict]
    held_out: list[dict]
    weight: float = 1.0
    """How many times its training rows are wanted, see `pixeltune.training.shares.drawn`."""


def check(verb: str, tasks: Mapping[str, Task | None], own_reward: bool) -> None:
    """Refuse tasks that cannot be learned together.

    Args:
        verb: of the objective.
        tasks: by name.
        own_reward: whether rows are rewarded by their tasks.

    Raises:
        UserError: one plays episodes, or has no reward that is called.
    """
    if len(tasks) == 1 or OBJECTIVE_FACTS[verb].signal != "rewards":
        return
    for name, task in tasks.items():
        if task is not None and task.environment is not None:
            raise UserError(
                f"{name} plays episodes with tools, which TRL plays with all rows or none: paint it alone, or learn "
                "from its references with sft"
            )
        if own_reward and (task is None or task.reward is None):
            raise UserError(
                f"{name} has no reward: leave it out, or name one for all rows with --reward package.module:function"
            )
        if own_reward and task is not None and is_async(task.reward):
            raise UserError(f"the reward of {name} is an async function, and several tasks take plain ones")


def joined(tasks: Mapping[str, Task | None]) -> Task | None:
    """One task of several: rows are scored and rewarded by the one that their `COLUMN` names.

    Args:
        tasks: by name; a single one is returned as it is.

    Returns:
        None where rows of any of them have no plain score.
    """
    known = [task for task in tasks.values() if task is not None]
    if len(known) < len(tasks):
        return None
    if len(known) == 1:
        return known[0]

    def of(row: dict) -> Task:
        return tasks[row[COLUMN]]  # type: ignore[return-value]  # none is None here

    def score(row: dict, texts: Any) -> float:
        several = [texts] if isinstance(texts, str) else texts
        return of(row).score(row, several if of(row).next_turn else several[0])

    def next_turn(row: dict, texts: list[str]) -> list[dict] | None:
        more = of(row).next_turn
        return more(row, texts) if more else None

    def task_reward(completions: list, **columns: Any) -> list:
        return _rewarded(tasks, completions, columns)

    return Task(
        name=" + ".join(tasks),
        max_new_tokens=max(task.max_new_tokens for task in known),
        score=score,
        reward=task_reward if all(task.reward for task in known) else None,
        next_turn=next_turn if any(task.next_turn for task in known) else None,
    )


def _rewarded(tasks: Mapping[str, Task | None], completions: list, columns: dict[str, Any]) -> list:
    """Every completion's reward by its own task, which sees the columns that its own rows have."""
    names = columns[COLUMN]
    values: list[Any] = [None] * len(completions)
    for name in dict.fromkeys(names):
        places = [place for place, one in enumerate(names) if one == name]
        given = {
            # What TRL gives beside columns is no list. A column of other tasks' rows is None in all of these.
            column: [every[place] for place in places] if isinstance(every, list) else every
            for column, every in columns.items()
            if not isinstance(every, list) or any(every[place] is not None for place in places)
        }
        reward = tasks[name].reward  # type: ignore[union-attr]  # see `check`
        got = reward(completions=[completions[place] for place in places], **given)  # type: ignore[misc]
        for place, value in zip(places, got, strict=True):
            values[place] = value
    return values


def together(parts: Sequence[Part], seed: int) -> tuple[list[Part], list[dict], list[dict], tuple[str, ...]]:
    """Rows of several parts in one order, as many as their weights say, each marked with its part, and no prompt on
    both sides.

    A prompt that is held out of one file may well stand in another, to be trained on.

    Args:
        parts: at least one; of one alone nothing changes.
        seed: of what is drawn, and of the order.

    Returns:
        The parts as they are then, rows to train on, held-out rows, and what to say of them.

    Raises:
        UserError: a row has a column of the marks' name, or a part has no row left to train on.
    """
    if len(parts) == 1:
        return [*parts], parts[0].train_rows, parts[0].held_out, ()
    aside = {prompt_hash(row) for part in parts for row in part.held_out}
    marked, notes = [], []
    for part in parts:
        for number, row in enumerate((*part.train_rows, *part.held_out)):
            if COLUMN in row:
                raise UserError(
                    f"{origin(row, number)}: rename the column {COLUMN}: several tasks use that name"
                )
        rows = drawn(part.train_rows, part.weight, seed, part.name)
        kept = [row for row in rows if prompt_hash(row) not in aside]
        if not kept:
            raise UserError(
                f"all prompts of {part.name} are held out elsewhere: --held_out_rows 0, or other rows"
            )
        if dropped := len(rows) - len(kept):
            notes.append(
                f"{part.name}: {dropped:,} rows ask what is held out elsewhere and are not trained on"
            )
        marked.append(
            Part(part.name, part.task, *(_marked(rows, part.name) for rows in (kept, part.held_out)))
        )
    train = [row for part in marked for row in part.train_rows]
    held_out = [row for part in marked for row in part.held_out]
    for name in dict.fromkeys(name for row in train for name in row):
        for row in train:  # what reads a batch looks for the columns of its first row
            row.setdefault(name, [] if name == "images" else None)
    random.Random(f"together {seed}").shuffle(train)
    counts = ", ".join(f"{len(part.train_rows):,} of {part.name}" for part in marked)
    return marked, train, held_out, (f"rows to train on: {counts}", *notes)


def _marked(rows: list[dict], name: str) -> list[dict]:
    """Copies, because a row may be there twice; each knows where it is from."""
    copies = []
    for number, row in enumerate(rows):
        copy = Row(row | {COLUMN: name})
        copy.where = getattr(row, "where", "") or f"{name}, {origin(row, number)}"
        copies.append(copy)
    return copies
