r"""What stands in LaTeX's ``\boxed{}``, where models put final answers."""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_BOX = 300  # characters inside
MAX_BOXES = 20  # looked into, from the end

_BOX = re.compile(r"\\(?:f?boxed|fbox)[ ]?\{")


def boxes(text: str) -> Iterator[tuple[int, int]]:
    r"""Begin and end of what is inside each closed ``\boxed{}``, the last one first."""
    for match in reversed([*_BOX.finditer(text)][-MAX_BOXES:]):
        begin, depth = match.end(), 1
        for end, character in enumerate(text[begin : begin + MAX_BOX], begin):
            depth += (character == "{") - (character == "}")
            if depth == 0:
                yield begin, end
                break
