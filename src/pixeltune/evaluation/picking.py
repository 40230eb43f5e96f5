"""Which of a model's own answers become training rows, and how these are written. Needs no torch.

A prompt gives at most one good answer and one bad one, the first of each: were all that are right kept, easy
prompts would outweigh hard ones, and the first one is drawn as the model draws, not the shortest or the luckiest.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixeltune.data.hashes import prompt_hash
from pixeltune.data.messages import Message
from pixeltune.data.origin import origin
from pixeltune.data.tools import tools_of
from pixeltune.errors import UserError

KEEPS = {
    "right": "no right answer",
    "likeliest": "nothing to choose from",
    "pairs": "not both a right and a wrong answer",
    "labels": "no answer that can be used",
}
"""What may be kept, and what a prompt lacks of which nothing is."""


@dataclass(frozen=True)
class Answer:
    """What a model said to a prompt."""

    text: str
    right: bool
    """Whether its score is full."""


def by_prompt(rows: Iterable[dict]) -> list[list[dict]]:
    """Rows in groups that ask the same, in the order in which prompts first appear."""
    groups: dict[str, list[dict]] = {}
    for row in rows:
        groups.setdefault(prompt_hash(row), []).append(row)
    return list(groups.values())


def pick(keep: str, row: dict, answers: Sequence[Answer]) -> list[dict]:
    """The training rows that answers to one prompt make.

    An empty answer may be a bad one, but is no good one: the readers of rows refuse it, and white space as either.

    Args:
        keep: "right" (rows for sft), "pairs" (dpo) or "labels" (kto).
        row: that was asked.
        answers: to it, in the order in which they were drawn.
    """
    good = next((one.text for one in answers if one.right and one.text.strip()), None)
    bad = next(
        (one.text for one in answers if not one.right and (one.text.strip() or not one.text)), None
    )  # fmt: skip
    asked = question(row)
    if keep == "pairs":
        if good is None or bad is None:
            return []
        return [{**asked, "chosen": said(good), "rejected": said(bad)}]
    if keep == "labels":
        labelled = ((good, True), (bad, False))
        return [
            {**asked, "completion": said(text), "label": label}
            for text, label in labelled
            if text is not None
        ]
    return [] if good is None else [{**asked, "completion": said(good)}]


def likeliest(row: dict, targets: Sequence[list[Message]], losses: Sequence[tuple[float, int]]) -> dict:
    """The row with the target that has the least loss per token, of equal ones the first.

    Args:
        row: that asks.
        targets: completions, at least one.
        losses: nats and tokens of each.
    """
    best = min(range(len(targets)), key=lambda i: losses[i][0] / max(1, losses[i][1]))
    return {**question(row), "completion": targets[best]}


def targets_of(group: Sequence[dict], answers: Sequence[Answer]) -> list[list[Message]]:
    """What a prompt may be answered: its rows' completions, then own right answers; equal ones once."""
    own = [said(one.text) for one in answers if one.right and one.text.strip()]
    found: list[list[Message]] = []
    for target in [*(row["completion"] for row in group if row.get("completion")), *own]:
        if target not in found:
            found.append(target)
    return found


def question(row: dict) -> dict[str, Any]:
    """What a row asks, as a line of a file: without what was told in front of it, and without the artwork."""
    out: dict[str, Any] = {"prompt": row["prompt"]}
    if tools := tools_of(row):
        out["tools"] = tools
    if row.get("images"):
        out["images"] = [str(Path(image).absolute()) for image in row["images"]]
    return out


def said(text: str) -> list[Message]:
    """An answer as a completion."""
    return [{"role": "assistant", "content": text}]


def check_files(rows: Iterable[dict]) -> None:
    """
    Raises:
        UserError: a row has a picture that is no file, which a line of JSON cannot name.
    """
    for number, row in enumerate(rows):
        if not all(isinstance(image, str | os.PathLike) for image in row.get("images") or []):
            raise UserError(
                f"{origin(row, number)} has pictures that are no files, so no row can name them: give rows of "
                "your own with --data"
            )
