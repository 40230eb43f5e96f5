"""What the tower is taught to see: words one a cell, coloured shapes, and textures that mean nothing.

All pictures are ``(224, 224, 3)`` uint8 arrays, 8 x 8 cells of 28 pixels, each cell one image token.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pixeltune.bundled.tiny.pictures import varied

CELL, SIDE = 28, 8
SIZE = CELL * SIDE

WORDS = (Path(__file__).parent / "words.txt").read_text().split()
"""Nouns, verbs and adjectives that are one token each with a space before them, commonest first."""
DIGITS = list("0123456789")

FACES = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf", None)
"""Matplotlib's typefaces; None is Pillow's own."""
LEAST = 8  # size of letters in pixels
CONTRAST = 90.0  # grey levels between ink and ground, at least

COLOURS = {
    "red": (210, 40, 40),
    "blue": (40, 70, 210),
    "green": (40, 160, 60),
    "yellow": (235, 215, 50),
    "black": (20, 20, 20),
    "white": (245, 245, 245),
    "orange": (240, 140, 30),
    "purple": (140, 50, 170),
}
SHAPES = ("circle", "square", "triangle", "star")
PLACES = ("top left", "top right", "bottom left", "bottom right")


@cache
def written(word: str, face: str | None, largest: int = 15) -> np.ndarray:
    """A word in the middle of a cell, as large as fits, as the share of ink, ``(28, 28)`` float32.

    Args:
        word: at most six letters.
        face: one of `FACES`; where it is too wide to be read, Pillow's own, which is narrow.
        largest: size of the letters in pixels, at most.
    """
    for size in range(largest, LEAST - 1, -1):
        font = _font(face, size)
        left, top, right, bottom = font.getbbox(word)
        if right - left <= CELL - 2:
            break
    else:
        if face is not None:
            return written(word, None, largest)
    picture = Image.new("L", (CELL, CELL))
    place = ((CELL - left - right) / 2, (CELL - top - bottom) / 2)
    ImageDraw.Draw(picture).text(place, word, 255, font)
    return np.asarray(picture, np.float32) / 255


def words(rng: random.Random, cells: list[str | None], width: int = SIDE) -> np.ndarray:
    """Words one a cell, in raster order, in any face, a colour of its own for each or one for all.

    Args:
        rng: of faces, colours and places.
        cells: a word each; None leaves the cell empty.
        width: cells in a row.

    Returns:
        ``(28 * rows, 28 * width, 3)`` uint8.
    """
    rows = -(-len(cells) // width)
    picture = np.zeros((CELL * rows, CELL * width, 3), np.float32)
    alike = rng.random() < 0.5
    colours, face = _colours(rng), rng.choice(FACES)
    for number in range(rows * width):
        if not alike:
            colours, face = _colours(rng), rng.choice(FACES)
        word = cells[number] if number < len(cells) else None
        ink = np.zeros((CELL, CELL), np.float32)
        if word is not None:
            ink = written(word, face, rng.choice((11, 13, 15)))
            ink = np.roll(ink, (rng.randint(-3, 3), rng.randint(-1, 1)), (0, 1))
        top, left = CELL * (number // width), CELL * (number % width)
        cell = colours[0] + (colours[1] - colours[0]) * ink[..., None]
        picture[top : top + CELL, left : left + CELL] = cell
    return _noisy(rng, picture, 6)


def _font(face: str | None, size: int) -> ImageFont.FreeTypeFont:
    if face is None:
        return ImageFont.load_default(size)
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / face, size)


def _noisy(rng: random.Random, picture: np.ndarray, most: float) -> np.ndarray:
    """A picture as uint8, with noise of at most so many grey levels."""
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(0, most), picture.shape)
    return (picture + noise).clip(0, 255).astype(np.uint8)


def _colours(rng: random.Random) -> np.ndarray:
    """Ground and ink, ``(2, 3)`` grey levels, far enough apart in lightness."""
    if rng.random() < 0.3:
        return np.array([[255] * 3, [0] * 3] if rng.random() < 0.7 else [[0] * 3, [255] * 3], np.float32)
    while True:
        pair = np.array([[rng.uniform(0, 255) for _ in range(3)] for _ in range(2)], np.float32)
        if abs((pair[0] - pair[1]).mean()) >= CONTRAST:
            return pair


@dataclass(frozen=True)
class Thing:
    """A coloured shape; ``row`` and ``column`` count cells, ``size`` is 2 or 3 cells."""

    colour: str
    shape: str
    row: int
    column: int
    size: int = 2

    @property
    def place(self) -> str:
        """One of `PLACES`, by the middle of the shape."""
        down = "top" if 2 * self.row + self.size <= SIDE else "bottom"
        return f"{down} {'left' if 2 * self.column + self.size <= SIDE else 'right'}"


def things(rng: random.Random, count: int) -> list[Thing]:
    """So many shapes of different looks, one a quarter, up to four; none lies across a middle line."""
    looks = rng.sample([(colour, shape) for colour in COLOURS for shape in SHAPES], count)
    found = []
    for quarter, (colour, shape) in zip(rng.sample(range(4), count), looks, strict=True):
        size = rng.choice((2, 3))
        row, column = (rng.randint(0, SIDE // 2 - size) for _ in range(2))
        found.append(
            Thing(colour, shape, row + SIDE // 2 * (quarter // 2), column + SIDE // 2 * (quarter % 2), size)
        )
    return sorted(found, key=lambda thing: (thing.row, thing.column))


def scene(rng: random.Random, shown: list[Thing]) -> np.ndarray:
    """The shapes on a plain ground that none of them has, a little out of place and off colour."""
    grey = rng.choice((110, 128, 150, 185, 205))
    ground = tuple(min(255, max(0, grey + rng.randint(-12, 12))) for _ in range(3))
    picture = Image.new("RGB", (SIZE * 2, SIZE * 2), ground)
    pen = ImageDraw.Draw(picture)
    for thing in shown:
        ink = tuple(min(255, max(0, level + rng.randint(-15, 15))) for level in COLOURS[thing.colour])
        reach = CELL * thing.size * rng.uniform(0.72, 0.95)  # half the side, in pixels of twice the size
        x = 2 * CELL * (thing.column + thing.size / 2) + rng.uniform(-5, 5)
        y = 2 * CELL * (thing.row + thing.size / 2) + rng.uniform(-5, 5)
        _shape(pen, thing.shape, x, y, reach, ink)
    picture = picture.resize((SIZE, SIZE), Image.Resampling.BOX)
    return _noisy(rng, np.asarray(picture), 5)


def _shape(
    pen: ImageDraw.ImageDraw, shape: str, x: float, y: float, reach: float, ink: tuple[int, ...]
) -> None:
    if shape == "circle":
        pen.ellipse((x - reach, y - reach, x + reach, y + reach), fill=ink)
    elif shape == "square":
        pen.rectangle((x - 0.9 * reach, y - 0.9 * reach, x + 0.9 * reach, y + 0.9 * reach), fill=ink)
    else:
        corners, inner = (3, 0.5) if shape == "triangle" else (5, 0.42)
        turns = np.pi * np.arange(2 * corners) / corners - np.pi / 2
        radii = np.where(np.arange(2 * corners) % 2, inner, 1.0) * reach
        pen.polygon([(x + r * np.cos(t), y + r * np.sin(t)) for r, t in zip(radii, turns, strict=True)], ink)


def flat(picture: np.ndarray) -> np.ndarray:
    """The picture with every cell replaced by its mean colour."""
    cells = picture.reshape(SIDE, CELL, SIDE, CELL, 3).astype(np.float32).mean((1, 3))
    return cells.round().astype(np.uint8).repeat(CELL, 0).repeat(CELL, 1)


def faint(picture: np.ndarray, contrast: float) -> np.ndarray:
    """The picture with a share of its contrast, around its own mean colours."""
    middle = picture.mean((0, 1))
    return (middle + contrast * (picture - middle)).round().astype(np.uint8)


def texture(rng: random.Random) -> np.ndarray:
    """Blocks, soft fields, gradients, codes or single letters, as the bundled model's tower saw them."""
    return varied(np.random.default_rng(rng.getrandbits(32)))[:SIZE, :SIZE]


def lines(rng: random.Random, texts: list[str]) -> np.ndarray:
    """Lines of text, each in a row of cells of its own from the top, whose words know nothing of cells.

    Args:
        rng: of face, colours and places.
        texts: up to eight, of some twenty letters.
    """
    colours, face = _colours(rng), rng.choice(FACES[:4])
    ink = Image.new("L", (SIZE, SIZE))
    pen = ImageDraw.Draw(ink)
    for number, text in enumerate(texts):
        for size in range(rng.choice((15, 18, 21)), LEAST - 1, -1):
            font = _font(face, size)
            left, top, right, bottom = font.getbbox(text)
            if right - left <= SIZE - 8:
                break
        place = (rng.randint(2, 6) - left, CELL * number + (CELL - top - bottom) / 2)
        pen.text(place, text, 255, font)
    share = np.asarray(ink, np.float32)[..., None] / 255
    picture = colours[0] + (colours[1] - colours[0]) * share
    return _noisy(rng, picture, 6)
