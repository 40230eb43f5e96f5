"""Where the artwork is in a batch, whatever image tokens texts hold beside it."""

from __future__ import annotations

import pytest
import torch

from pixeltune.adapter.rows import Placeholders, find_pictures
from pixeltune.errors import UserError

IMAGE, BREAK, VIDEO = 100, 101, 102
PLACEHOLDERS = Placeholders([IMAGE, IMAGE, BREAK, IMAGE], IMAGE, [VIDEO], "<image>")
ART, OWN = [IMAGE, IMAGE, BREAK, IMAGE], [IMAGE] * 6


def found(*rows, own=None):
    length = max(len(row) for row in rows)
    ids = torch.tensor([[*row, *[0] * (length - len(row))] for row in rows])
    pictures = find_pictures(ids, PLACEHOLDERS, own)
    text = [] if pictures.text is None else [tuple(place) for place in pictures.text.nonzero().tolist()]
    return pictures.order, text


def test_rows_of_text_have_the_artwork_alone():
    assert found([1, *ART, 2], [*ART, 3, 4]) == ([(0, 0), (0, 0)], [])


def test_tokens_that_stand_for_nothing_are_text():
    rows = [1, *ART, 2, IMAGE, 3, IMAGE, IMAGE, VIDEO], [*ART, 4, BREAK]
    assert found(*rows) == ([(0, 0), (0, 0)], [(0, 6), (0, 8), (0, 9), (0, 10)])
    assert found([1, VIDEO, *ART]) == ([(0, 0)], [(0, 1)])


def test_own_pictures_follow_the_artwork_with_and_without_stand_ins():
    rows = [*ART, 1, *OWN, 2, IMAGE], [*ART, 1], [IMAGE, *ART[1:], 5, *OWN, 6, *OWN]
    stray = [(0, 12)]
    stand_ins = [(0, 0), (1, 1), (0, 0), (0, 0), (1, 4), (1, 5)]
    assert found(*rows, own=[3, 6, 3, 3, 6, 6]) == (stand_ins, stray)
    assert found(*rows, own=[6, 6, 6]) == ([(0, 0), (1, 0), (0, 0), (0, 0), (1, 1), (1, 2)], stray)
    without = [row[:11] for row in rows[:1]] + [*rows[1:]]
    assert found(*without, own=[3, 6, 3, 3, 6, 6]) == (stand_ins, [])


def test_as_many_stray_tokens_as_rows_are_not_taken_for_pictures():
    rows = [*ART, 1, *OWN, 2, IMAGE], [*ART, 1, *OWN, IMAGE + 100, IMAGE]
    assert found(*rows, own=[3, 6, 3, 6])[0] == [(0, 0), (1, 1), (0, 0), (1, 3)]
    assert found(*rows, own=[6, 6])[0] == [(0, 0), (1, 0), (0, 0), (1, 1)]


@pytest.mark.parametrize(
    ("row", "own", "message"),
    [
        (
            [1, 2, 3],
            None,
            r"row 0 of the batch has no artwork in it.*place_dataset\(dataset, model\.art_block",
        ),
        ([1, BREAK, 3], None, "no artwork in it"),
        (
            [IMAGE, 1, *ART],
            None,
            "the token <image> in the text before the artwork.*break it up with a space",
        ),
        ([IMAGE, IMAGE, 1], None, "has 2 image tokens, but the artwork takes 4"),
        ([*ART, 1, *ART], None, "packing and padding_free join rows"),
        ([*ART, 1], [6, 6], "2 pictures came with the batch"),
        ([*ART, 1, *OWN], [3, 6, 6], "3 pictures came with the batch"),
        ([*ART, 1, *OWN, 2, *ART], [6], "packing and padding_free join rows"),
    ],
)
def test_what_is_refused_names_the_remedy(row, own, message):
    with pytest.raises(UserError, match=message):
        found(row, own=own)
