"""Answers whose pieces are shaded by what the picture changes: read from records that keep their log ratios."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pixeltune.evaluation.contrast import CHANGED
from pixeltune.gallery.untrusted import MAX_TEXT, number

LEVELS = ((4 * CHANGED, "up3"), (2 * CHANGED, "up2"), (CHANGED, "up1"))
"""Nats from which on a piece has a class of the style sheet, the strongest first."""


@dataclass(frozen=True)
class Piece:
    """Some text of an answer, most often a token."""

    text: str
    nats: float
    """ln p(with the picture) - ln p(without)."""

    @property
    def level(self) -> str:
        """A class of the style sheet; empty where the picture changes little."""
        if self.nats <= -CHANGED:
            return "down"
        return next((name for least, name in LEVELS if self.nats >= least), "")


def shaded(record: dict) -> list[Piece]:
    """The pieces of a record's answer, its turns joined as `pixeltune.gallery.samples.said` joins them.

    Returns:
        Nothing where the record keeps no ratios, they are not of this very text, or it is too long for a page.
    """
    ratios, texts = record.get("ratios"), record.get("completions")
    if not isinstance(ratios, list) or not isinstance(texts, list) or len(ratios) != len(texts):
        return []
    out: list[Piece] = []
    for text, pieces in zip(texts, ratios, strict=True):
        turn = [_piece(one) for one in pieces] if isinstance(pieces, list) else [None]
        if None in turn or "".join(one.text for one in turn if one) != text:
            return []
        out += [Piece("\n\n", 0.0)] if out else []
        out += [one for one in turn if one]
    return out if sum(len(one.text) for one in out) <= MAX_TEXT else []


def _piece(pair: Any) -> Piece | None:
    """None: it is no text with a number."""
    if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str) or not pair[0]:
        return None
    nats = number(pair[1])
    return None if nats is None else Piece(pair[0], nats)
