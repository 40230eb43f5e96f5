"""Which token cells of a picture are painted, where only some are. Needs no torch."""

from __future__ import annotations

import math

import numpy as np

from pixeltune.errors import UserError


def side_of(tokens: int, height: int, width: int) -> int | None:
    """Pixels a side of a token cell; None where cells are no squares."""
    side = max(1, math.isqrt(height * width // tokens))
    whole = height % side == 0 and width % side == 0 and (height // side) * (width // side) == tokens
    return side if whole else None


def choose_cells(count: int, tokens: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """A mask that leaves only some token cells to paint, `(height, width)` bool.

    A cell is the square of pixels that becomes one image token. Which cells is random; fewer cells are a part
    of more cells from the same seed.

    Args:
        count: of cells to paint.
        tokens: how many cells the picture has.
        height: in pixels.
        width: in pixels.
        seed: of the draw.

    Raises:
        ValueError: there are not so many cells, or they are no squares.
    """
    if not 1 <= count <= tokens:
        raise UserError(f"the picture has {tokens} token cells: paint 1 to {tokens} of them, not {count}")
    side = side_of(tokens, height, width)
    if side is None:
        raise UserError(
            f"{tokens} image tokens of {height}x{width} pixels are no squares, so no cells can be chosen: "
            "draw a mask instead"
        )
    cells = np.zeros(tokens, bool)
    cells[np.random.default_rng(seed).permutation(tokens)[:count]] = True
    squares = cells.reshape(height // side, width // side)
    return squares.repeat(side, axis=0).repeat(side, axis=1)
