from __future__ import annotations

import numpy as np
import pytest

from pixeltune.tasks.base import find_rows
from pixeltune.tasks.synthetic import tiles
from pixeltune.tasks.synthetic.boards import COLOURS, PLACES


def test_the_answer_is_what_the_picture_shows():
    for row in find_rows("tiles", "train", 50, seed=3):
        (picture,) = row["images"]
        assert (picture.size, picture.mode) == ((256, 256), "RGB")
        place, _, colour = row["answer"].rpartition(" ")
        assert place in row["prompt"][0]["content"]
        line, column = (128 * number for number in PLACES[place])
        seen = np.asarray(picture)[line : line + 128, column : column + 128].mean((0, 1))
        nearest = min(COLOURS, key=lambda name: np.abs(seen - COLOURS[name]).sum())
        assert nearest == colour
        assert row["completion"][0]["content"] == row["answer"]


def test_splits_share_no_board_and_rows_are_drawn_again():
    train, test = tiles.rows("train", 200), tiles.rows("test", 200)
    assert not {row["images"][0].tobytes() for row in train} & {row["images"][0].tobytes() for row in test}
    again = tiles.rows("train", 200)
    assert all(
        a["images"][0].tobytes() == b["images"][0].tobytes() for a, b in zip(train, again, strict=True)
    )
    drawn = [tiles.draw("tiles", tiles.board, split, 300, 0) for split in ("train", "test")]
    assert not {item.names for item in drawn[0]} & {item.names for item in drawn[1]}
    with pytest.raises(ValueError, match="splits"):
        tiles.rows("dev", 1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("top left red", 1.0),
        (" Top left red.\n", 1.0),
        ("top left blue", 0.0),
        ("red", 0.0),
        ("Good question!\ntop left red\nAnything else?", 0.0),
        ("", 0.0),
    ],
)
def test_place_and_colour_and_no_more(text, value):
    row = {"answer": "top left red"}
    assert tiles.score(row, text) == value
    conversation = [{"role": "assistant", "content": text}]
    assert tiles.reward([text, conversation], ["top left red"] * 2, prompts=[]) == [value] * 2
