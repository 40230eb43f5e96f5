from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou

from pixeltune.tasks.visual import box_overlap, class_equality, overlap, parse_box

corner = st.integers(0, 1000)
boxes = st.tuples(corner, corner, corner, corner).filter(lambda b: b[0] < b[2] and b[1] < b[3])


@given(boxes, boxes)
def test_the_overlap_is_torchvisions(one, other):
    expected = box_iou(torch.tensor([one], dtype=torch.float64), torch.tensor([other], dtype=torch.float64))
    assert overlap(one, other) == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ('{"bbox_2d": [10, 20, 30, 40], "label": "cat"}', (10, 20, 30, 40)),
        ("first [0,0,1,1], no: [2.5, 3, 4, 5.5]", (2.5, 3, 4, 5.5)),
        ("(1, 2, 3, 4)", (1, 2, 3, 4)),
        ("[30, 20, 10, 40]", None),  # the left edge is right of the right one
        ("[1, 2, 3]", None),
        ("[1, 2, 3, 4, 5]", None),
        ("[1e9, 2, 3, 4]", None),
        ("no box", None),
    ],
)
def test_the_last_box_counts(text, box):
    assert parse_box(text) == box


def test_rewards_in_trls_signature():
    said = ["[0, 0, 2, 1]", [{"role": "assistant", "content": "[0, 0, 1, 1]"}], "nothing"]
    assert box_overlap(said, [[0, 0, 1, 1]] * 3, prompts=[]) == [0.5, 1.0, 0.0]
    assert class_equality(["Cat.", "a cat", "dog"], ["cat"] * 3) == [1.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="x1 < x2"):
        box_overlap(["[0, 0, 1, 1]"], [[1, 1, 0, 0]])


@settings(max_examples=500)
@given(st.text(alphabet="[](),-.0123456789e \n", max_size=200))
def test_garbage_earns_nothing_and_breaks_nothing(text):
    (value,) = box_overlap([text], [[10_000_000_000, 0, 10_000_000_001, 1]])  # further than any number read
    assert value == 0.0
