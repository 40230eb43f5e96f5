"""Rewards for answers about pictures, in TRL's signature; name them with ``--reward``.

``pixeltune grpo --data photos.jsonl --reward pixeltune.tasks.visual:box_overlap`` learns from rows with a
column ``box``, ``...:class_equality`` from rows with a column ``answer``.
"""

from __future__ import annotations

import re

from pixeltune.errors import UserError
from pixeltune.tasks.base import texts_of

_NUMBER = r"\s*(-?\d{1,9}(?:\.\d{1,9})?)\s*"
_BOX = re.compile(rf"[\[(]{','.join([_NUMBER] * 4)}[\])]")

Box = tuple[float, float, float, float]


def class_equality(completions: list, answer: list[str], **_) -> list[float]:
    """1.0 where a completion is the class and nothing else; case, outer white space and a full stop aside.

    Args:
        completions: texts or conversations.
        answer: the name of the right class, for each completion.
    """
    said = texts_of(completions)
    return [float(_plain(text) == _plain(wanted)) for text, wanted in zip(said, answer, strict=True)]


def box_overlap(completions: list, box: list[list[float]], **_) -> list[float]:
    """Intersection over union of the last box in a completion and the right one; 0.0 without a box.

    The measure of detection benchmarks (Everingham et al. 2010, The PASCAL Visual Object Classes Challenge,
    section 4.2), without a threshold, so that a nearer box earns more.

    Args:
        completions: texts or conversations; a box is ``[x1, y1, x2, y2]``, corners in any unit.
        box: the right one, in the same unit, for each completion.

    Raises:
        ValueError: a row's box is empty or no four numbers.
    """
    out = []
    for text, wanted in zip(texts_of(completions), box, strict=True):
        if len(wanted) != 4 or not (wanted[0] < wanted[2] and wanted[1] < wanted[3]):
            raise UserError(f"the row's box {wanted!r} is not [x1, y1, x2, y2] with x1 < x2 and y1 < y2")
        found = parse_box(text)
        out.append(overlap(found, (wanted[0], wanted[1], wanted[2], wanted[3])) if found else 0.0)
    return out


def parse_box(text: str) -> Box | None:
    """The last ``[x1, y1, x2, y2]`` with x1 < x2 and y1 < y2, None if the last one is no such box."""
    found = _BOX.findall(text)
    if not found:
        return None
    left, top, right, bottom = map(float, found[-1])
    return (left, top, right, bottom) if left < right and top < bottom else None


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes, 0 to 1."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(width, 0.0) * max(height, 0.0)
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)]
    return both / (sum(areas) - both)


def _plain(text: str) -> str:
    return text.strip().removesuffix(".").casefold()
