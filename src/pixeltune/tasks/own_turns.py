"""Rows of the user's own whose answers have several turns: asked one after another, each with what stands before it.

Nothing is run: whatever the model says, the results of tools and what a user says are those of the row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from pixeltune.data.turns import is_said
from pixeltune.tasks.base import Task
from pixeltune.tasks.own import SCORES, wanted_of


def played(task: Task, rows: Sequence[dict]) -> Task:
    """The same task, its turns asked one after another; itself where no completion of `rows` has several.

    The score is the share of turns that are right, of those that have something to be scored by. A reward of the
    user's own is given the first turn alone, as it is in training.

    Args:
        task: of `pixeltune.tasks.own.read`.
        rows: its rows.
    """
    name = next((name for name, judge in SCORES.items() if judge is task.score), None)
    if name is None or not any(len(_said(row)) > 1 for row in rows):
        return task
    return replace(task, score=partial(_share, name, task.score), next_turn=next_turn, reward=None)


def next_turn(row: dict, texts: list[str]) -> list[dict] | None:
    """The last completion, and what stands in the row between that turn and the next; None at the end."""
    turns = _said(row)
    if len(texts) >= len(turns):
        return None
    begin, end = turns[len(texts) - 1] + 1, turns[len(texts)]
    return [{"role": "assistant", "content": texts[-1]}, *row["completion"][begin:end]]


def conversation(row: dict) -> list[dict]:
    """All that is asked before the last turn, as the row has it."""
    return [*row["prompt"], *row["completion"][: _said(row)[-1]]]


def _share(name: str, judge: Callable[[dict, str], float], row: dict, texts: list[str]) -> float:
    turns = [{**row, "completion": [row["completion"][number]]} for number in _said(row)]
    judged = [number for number, turn in enumerate(turns) if wanted_of(turn, name) is not None]
    return sum(judge(turns[number], texts[number]) for number in judged if number < len(texts)) / len(judged)


def _said(row: dict) -> list[int]:
    """Which messages of a row's completion are the assistant's, by number."""
    return [number for number, message in enumerate(row["completion"]) if is_said(message)]
