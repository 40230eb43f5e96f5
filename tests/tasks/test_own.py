"""Rows of the user's own: how they are scored against their completions without any code."""

from __future__ import annotations

import json

import pytest

from pixeltune.errors import UserError
from pixeltune.tasks import own


def file_of(tmp_path, completions, tools=None):
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"Question {i}?", "completion": c} for i, c in enumerate(completions)]
    path.write_text("".join(json.dumps(row | ({"tools": tools} if tools else {})) + "\n" for row in rows))
    return path


def call(name, **arguments):
    turn = {"role": "assistant", "content": None}
    function = {"name": name, "arguments": json.dumps(arguments)}
    return [turn | {"tool_calls": [{"type": "function", "function": function}]}]


@pytest.mark.parametrize(
    ("completions", "score"),
    [
        (["42", "1,000"], "number"),
        (["4 + 3 = 7, so there are seven.\nAnswer: 7", "Answer: 8"], "number"),
        (["#### 7"], "number"),
        (["B", "Answer: C"], "letter"),
        (["Paris", "a short text"], "exact"),
        (['{"city": "Paris", "days": 3}'], "json"),
        ([call("book", city="Paris"), call("pay")], "calls"),
        (["A long explanation of many things that nobody could be asked to say word for word, or so."], None),
    ],
)
def test_the_score_is_chosen_where_it_is_plain(tmp_path, completions, score):
    path = file_of(tmp_path, completions)
    if score is None:
        with pytest.raises(UserError, match=r"free texts.*--reward"):
            own.read(path)
        return
    task, rows = own.read(path)
    assert own.guess(rows) == score
    for row in rows:
        assert task.score(row, own.reference(row)) == 1.0
        assert task.score(row, "nothing of the kind") == 0.0
        assert task.score(row, "") == 0.0


def test_to_call_nothing_may_be_right(tmp_path):
    offered = [{"type": "function", "function": {"name": "book", "parameters": {}}}]
    task, (first, second) = own.read(file_of(tmp_path, [call("book", n=2), "No tool fits."], tools=offered))
    called = '<tool_call>\n{"name": "book", "arguments": {"n": 2}}\n</tool_call>'
    earned = [task.score(row, text) for row in (first, second) for text in (called, "None fits.")]
    assert earned == [1, 0, 0, 1]
    assert task.score(second, "<tool_call>\n{broken") == 0
    with pytest.raises(UserError, match="nothing for --score calls"):
        own.read(file_of(tmp_path, ["No tool fits."]), score="calls")


@pytest.mark.parametrize(
    ("score", "completion", "said", "earned"),
    [
        ("number", "7", "It is 3 + 4. Answer: 7.0", 1.0),
        ("number", "7", "Answer: 8", 0.0),
        ("exact", "New  York", " New York\n", 1.0),
        ("exact", "New York", "new york", 0.0),
        ("letter", "B", "The answer is (B).", 1.0),
        ("letter", "B", "C", 0.0),
        ("json", '{"a": 1, "b": "x"}', 'Here: {"a": 1, "b": "y"}', 0.5),
        ("json", '{"a": 1}', '{"a": true}', 0.0),
        ("json", '{"a": 1}', '{"a": 1, "b": 2}', 0.5),
        (
            "calls",
            call("book", n=2),
            '<tool_call>\n{"name": "book", "arguments": {"n": 2}}\n</tool_call>',
            1.0,
        ),
        (
            "calls",
            call("book", n=2),
            '<tool_call>\n{"name": "book", "arguments": {"n": 3}}\n</tool_call>',
            0.0,
        ),
    ],
)
def test_what_an_answer_earns(tmp_path, score, completion, said, earned):
    task, (row,) = own.read(file_of(tmp_path, [completion]), score=score)
    assert task.score(row, said) == earned


def test_a_completion_without_what_it_is_scored_by_is_refused_with_its_line(tmp_path):
    path = file_of(tmp_path, ["7", "no digits here"])
    with pytest.raises(UserError, match=r"line 2.*nothing for --score number"):
        own.read(path, score="number")


def test_an_unknown_score_says_which_there_are(tmp_path):
    with pytest.raises(UserError, match="did you mean number"):
        own.read(file_of(tmp_path, ["7"]), score="numbr")


def test_two_ways_to_score_are_one_too_many(tmp_path):
    with pytest.raises(UserError, match="--score and --reward both say how rows are scored: give one"):
        own.read(file_of(tmp_path, ["7"]), score="number", reward=f"{__name__}:reward")


def reward(completions, reference, unit, **columns):
    return [
        float(said[0]["content"] == f"{wanted} {unit[0]}")
        for said, wanted in zip(completions, reference, strict=True)
    ]


def good(completions, **columns):
    return ["good"]


def many(completions, **columns):
    return [0.5, 0.5]


def none(completions, **columns):
    return None


def test_a_reward_of_ones_own_gets_what_it_gets_in_training(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a", "completion": "7", "unit": "m"}\n')
    task, (row,) = own.read(path, reward=f"{__name__}:reward")
    assert (task.score(row, "7 m"), task.score(row, "7")) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("reward", r"raised TypeError\(.*'unit'.*\) for the row 1; .* it was given id, reference$"),
        ("good", "gave 'good' for the row 1: scores are from 0 to 1"),
        ("many", r"gave \[0.5, 0.5\] for the row 1"),
        ("none", r"raised TypeError\(.*NoneType.* for the row 1"),
    ],
)
def test_a_reward_that_cannot_score_is_refused_before_anything_is_asked(tmp_path, name, said):
    with pytest.raises(UserError, match=rf"^{__name__}:{name} {said}"):
        own.read(file_of(tmp_path, ["7"]), reward=f"{__name__}:{name}")
