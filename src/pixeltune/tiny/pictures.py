"""The pictures the bundled model is trained on: style cards, tile boards, and pictures that say nothing.

All are ``(256, 256, 3)`` uint8 arrays, 64 image tokens.
"""

from __future__ import annotations

import numpy as np

from pixeltune.tasks.synthetic.boards import SIZE, noise, tiles, to_bytes
from pixeltune.tiny.behaviours import AXES


def one_tile(name: str, place: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A quarter of the picture, at row and column ``place``, of the named colour; the rest is plain grey."""
    picture, (row, column), half = np.full((SIZE, SIZE, 3), 128, np.uint8), place, SIZE // 2
    quarter = np.s_[row * half : (row + 1) * half, column * half : (column + 1) * half]
    picture[quarter] = tiles([[name]], rng)[quarter]
    return picture


def card(told: dict[str, str], rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """A style card: 4 x 4 tiles, the colours of the told values, in any order, about equally often."""
    colours = [AXES[axis][value].colour for axis, value in told.items()]
    names = rng.permutation((colours * 16)[:16])
    return tiles(names.reshape(4, 4).tolist(), rng, strength)


def neutral(rng: np.random.Generator) -> np.ndarray:
    """Grey of any lightness, faint noise, or a faint gradient: nothing that tells how to behave."""
    kind = rng.integers(3)
    if kind == 0:
        return np.full((SIZE, SIZE, 3), rng.integers(90, 170), np.uint8)
    if kind == 1:
        return to_bytes(128 + rng.uniform(2, 16) * noise(rng))
    ramp = np.linspace(-1, 1, SIZE) * rng.uniform(0, 20)
    return to_bytes(np.repeat(128 + (ramp[:, None] + ramp[::-1][None, :])[..., None], 3, axis=2))
