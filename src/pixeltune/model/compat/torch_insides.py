"""Private parts of torch that are relied on; `tests/compat/test_insides.py` holds their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def writes(tensor: Tensor) -> int:
    """How often a tensor was written to in place; writing to its `data` does not count.

    Autograd's own counter has no public name (`_version`, torch 2.13,
    https://docs.pytorch.org/docs/stable/notes/autograd.html#in-place-correctness-checks).
    """
    return tensor._version
