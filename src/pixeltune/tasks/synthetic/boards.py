"""Boards of coloured tiles: colours, places, how they are drawn, and the question about a tile."""

from __future__ import annotations

import numpy as np

SIZE = 256  # pixels, height and width

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 30, 30),
    "green": (30, 160, 50),
    "blue": (30, 60, 220),
    "yellow": (245, 225, 30),
    "black": (10, 10, 10),
    "white": (248, 248, 248),
    "purple": (130, 30, 160),
    "orange": (250, 140, 20),
    "cyan": (40, 220, 230),
    "pink": (255, 130, 190),
    "brown": (110, 65, 25),
}
PLACES = {"top left": (0, 0), "top right": (0, 1), "bottom left": (1, 0), "bottom right": (1, 1)}


def tile_question(place: str) -> str:
    """A question about the tile at ``place``, one of :data:`PLACES`."""
    return f"What colour is the {place} tile?"


def tiles(names: list[list[str]], rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """Equal tiles of the named colours, each a little off, with some noise on top; paler below strength 1."""
    colours: np.ndarray = np.array([[COLOURS[name] for name in line] for line in names], dtype=np.float32)
    colours = 128 + strength * (colours - 128 + rng.normal(0, 8, colours.shape))
    side = SIZE // len(names)
    picture = colours.repeat(side, axis=0).repeat(side, axis=1)
    return to_bytes(picture + rng.choice([0, 4, 16]) * noise(rng))


def noise(rng: np.random.Generator) -> np.ndarray:
    """Unit Gaussian noise, one float32 per channel."""
    return rng.standard_normal((SIZE, SIZE, 3), dtype=np.float32)


def to_bytes(picture: np.ndarray) -> np.ndarray:
    """Values of any kind, rounded and cut off, as uint8."""
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
