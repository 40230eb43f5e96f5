"""What was said before training and after it, to the same held-out rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixeltune.errors import UserError
from pixeltune.gallery.shading import Piece, shaded
from pixeltune.gallery.untrusted import by_step, number, read_json, shortened

SHOWN = 6
"""Most samples on a page."""

MAX_SAMPLE_BYTES = 8 * 2**20


@dataclass(frozen=True)
class Sample:
    """A request with what was said to it; scores are None where an answer was not scored."""

    asked: str
    before: str
    after: str
    score_before: float | None
    score_after: float | None
    shades_before: list[Piece]
    """`before` in pieces; empty: nobody knows what the picture changes."""
    shades_after: list[Piece]


def read_samples(folder: Path, last: int | None) -> list[Sample]:
    """The first and the last file of ``step-000123.json``, row by row.

    Args:
        folder: where a run keeps them.
        last: the run's last step; later files are of an earlier, longer run.

    Raises:
        ValueError: there are not two such files, or they cannot be used.
    """
    steps = by_step(folder, ".json", last)
    if len(steps) < 2 or 0 not in steps:
        raise UserError(
            "the run kept no samples of before and after: they come with held-out scores (--score_steps)"
        )
    before, after = (_records(steps[step]) for step in (0, max(steps)))
    both = [name for name in before if name in after][:SHOWN]
    if not both:
        raise UserError("the samples of the first and of the last step are of different rows")
    return [
        Sample(
            asked(before[name].get("prompt")),
            said(before[name].get("completions")),
            said(after[name].get("completions")),
            number(before[name].get("score")),
            number(after[name].get("score")),
            shaded(before[name]),
            shaded(after[name]),
        )
        for name in both
    ]


def asked(prompt: Any) -> str:
    """What the user said in a conversation, joined; roles other than user and tool are left out."""
    messages = prompt if isinstance(prompt, list) else []
    texts = [
        _content(message.get("content"))
        for message in messages
        if isinstance(message, dict) and message.get("role") in ("user", "tool")
    ]
    return shortened("\n\n".join(text for text in texts if text))


def said(completions: Any) -> str:
    """The turns of an answer, joined."""
    texts = completions if isinstance(completions, list) else []
    return shortened("\n\n".join(text for text in texts if isinstance(text, str)))


def _content(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return "\n".join(text for text in texts if isinstance(text, str))


def _records(path: Path) -> dict[str, dict]:
    """By the id of their row."""
    records = read_json(path, MAX_SAMPLE_BYTES)
    if not isinstance(records, list):
        raise UserError(f"{path.name} is no list of samples")
    return {str(record.get("id")): record for record in records if isinstance(record, dict)}
