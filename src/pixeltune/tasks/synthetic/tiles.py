"""tiles: questions about a picture of the user's own, four tiles of one colour each.

Unlike the other tasks of the bundled model this one is about what stands *behind* the artwork: a row is right
when the completion is the tile's place and its colour in English, and no more. So the artwork has to tell how
to answer and must leave the user's picture in sight.
"""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pixeltune.tasks.base import Task, draw
from pixeltune.tasks.synthetic.boards import COLOURS, PLACES, tile_question, tiles
from pixeltune.tasks.visual import class_equality

NAME = "tiles"
HELD_OUT = 8  # one board in eight belongs to the test split


@dataclass(frozen=True)
class Board:
    """A picture to be drawn, and which of its tiles is asked about."""

    names: tuple[tuple[str, str], tuple[str, str]]
    place: str
    seed: int

    @property
    def held_out(self) -> bool:
        return zlib.crc32(repr(self.names).encode()) % HELD_OUT == 0

    @property
    def colour(self) -> str:
        row, column = PLACES[self.place]
        return self.names[row][column]

    def picture(self) -> Image.Image:
        """256 x 256 pixels, RGB."""
        rng = np.random.default_rng(self.seed)
        return Image.fromarray(tiles([list(line) for line in self.names], rng))


def board(rng: random.Random) -> Board:
    """Four colours, the same ones allowed, and a place."""
    names = [rng.choice(list(COLOURS)) for _ in range(4)]
    return Board(((names[0], names[1]), (names[2], names[3])), rng.choice(list(PLACES)), rng.getrandbits(32))


def rows(split: str, n: int, seed: int = 0) -> list[dict]:
    """``n`` rows of ``split`` ("train" or "test"), each with one picture in ``images``; no four colours in
    the same order are in both.

    Raises:
        ValueError: for another split.
    """
    return [
        {
            "prompt": [{"role": "user", "content": tile_question(item.place)}],
            "images": [item.picture()],
            "completion": [{"role": "assistant", "content": f"{item.place} {item.colour}"}],
            "answer": f"{item.place} {item.colour}",
        }
        for item in draw(NAME, board, split, n, seed)
    ]


def score(row: dict, text: str) -> float:
    """1.0 if the completion is the place and the colour, else 0.0."""
    return class_equality([text], [row["answer"]])[0]


def reward(completions: list, answer: list[str], **_) -> list[float]:
    """:func:`score` of every completion, in TRL's signature."""
    return class_equality(completions, answer)


TASK = Task(
    name=NAME,
    instruction="Reply in English. Be brief.",
    max_new_tokens=32,
    rows=rows,
    score=score,
    reward=reward,
)
