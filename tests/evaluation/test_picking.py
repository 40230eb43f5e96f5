"""Which answers become rows."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from pixeltune.errors import UserError
from pixeltune.evaluation.picking import (
    Answer,
    by_prompt,
    check_files,
    likeliest,
    pick,
    question,
    said,
    targets_of,
)

TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {}}}]
ROW = {
    "prompt": [{"role": "user", "content": "2 + 2?"}],
    "completion": said("reference"),
    "tools": json.dumps(TOOLS),
    "id": "7",
    "answer": 4,
}
ASKED = {"prompt": ROW["prompt"], "tools": TOOLS}
DRAWN = [Answer("5", False), Answer("4", True), Answer("four", True), Answer("6", False)]


@pytest.mark.parametrize(
    ("keep", "rows"),
    [
        ("right", [{"completion": said("4")}]),
        ("pairs", [{"chosen": said("4"), "rejected": said("5")}]),
        ("labels", [{"completion": said("4"), "label": True}, {"completion": said("5"), "label": False}]),
    ],
)
def test_the_first_of_each_kind_is_kept(keep, rows):
    assert pick(keep, ROW, DRAWN) == [{**ASKED, **row} for row in rows]


@pytest.mark.parametrize(("keep", "right", "wrong"), [("right", 1, 0), ("pairs", 0, 0), ("labels", 1, 1)])
def test_a_prompt_without_what_is_wanted_gives_nothing(keep, right, wrong):
    assert len(pick(keep, ROW, [Answer("4", True)])) == right
    assert len(pick(keep, ROW, [Answer("5", False)])) == wrong
    assert pick(keep, ROW, []) == []


def test_an_empty_answer_is_bad_at_most_and_white_space_nothing():
    drawn = [Answer("", True), Answer(" \n", True), Answer(" ", False), Answer("", False)]
    assert pick("right", ROW, drawn) == []
    assert pick("labels", ROW, drawn) == [{**ASKED, "completion": said(""), "label": False}]


def test_the_likeliest_target_has_the_least_loss_per_token():
    targets = [said("a"), said("b b b"), said("c")]
    assert likeliest(ROW, targets, [(2.0, 1), (4.5, 3), (1.5, 1)]) == {**ASKED, "completion": said("b b b")}


def test_targets_are_references_then_own_right_answers_each_once():
    other = {**ROW, "completion": said("4")}
    assert targets_of([ROW, other, ROW], DRAWN) == [said("reference"), said("4"), said("four")]


def test_rows_that_ask_the_same_are_one_prompt():
    other = {**ROW, "prompt": [{"role": "user", "content": "3 + 3?"}]}
    again = {**ROW, "completion": said("another")}
    assert by_prompt([ROW, other, again]) == [[ROW, again], [other]]


def test_pictures_are_named_wherever_the_file_of_rows_lies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert question({**ROW, "images": ["a.png"]})["images"] == [str(tmp_path / "a.png")]
    with pytest.raises(UserError, match="row 7 has pictures that are no files"):
        check_files([{**ROW, "images": [Image.new("RGB", (8, 8))]}])
