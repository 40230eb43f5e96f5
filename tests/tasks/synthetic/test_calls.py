from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixeltune.tasks.synthetic import calls, turns

CALL = {"name": "book_table", "arguments": {"day": "Monday", "guests": 4}}
ROW, NO_TOOL = {"call": json.dumps(CALL)}, {"call": "null"}


def test_every_reference_completion_is_right():
    rows = calls.rows("test", 500)
    assert all(calls.score(row, row["completion"][0]["content"]) == 1.0 for row in rows)
    assert 50 < sum(row["call"] == "null" for row in rows) < 150


def test_the_right_tool_is_on_offer_exactly_when_one_fits():
    for row in calls.rows("test", 300):
        offered = {tool["function"]["name"]: tool["function"] for tool in json.loads(row["tools"])}
        assert 2 <= len(offered) <= 4
        call = json.loads(row["call"])
        if call:
            assert set(call["arguments"]) == set(offered[call["name"]]["parameters"]["required"])


def test_no_request_is_in_both_splits():
    texts = [{row["prompt"][0]["content"] for row in calls.rows(s, 3000)} for s in ("train", "test")]
    assert not texts[0] & texts[1]


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (calls.render(CALL), 1.0),
        (f"One moment.\n{calls.render(CALL)}", 1.0),
        (f"<tool_call>{json.dumps(CALL)}", 1.0),  # the end tag may be cut off by a stop token
        (calls.render(CALL) * 2, 0.0),
        (json.dumps(CALL), 0.0),
        (calls.render(CALL | {"name": "book"}), 0.0),
        (calls.render(CALL | {"arguments": {"day": "Monday"}}), 0.0),
        (calls.render(CALL | {"arguments": {"day": "Monday", "guests": 4, "x": 1}}), 0.0),
        (calls.render(CALL | {"arguments": {"day": "Monday", "guests": "4"}}), 0.0),
        (calls.render(CALL | {"arguments": {"day": "Monday", "guests": 5}}), 0.0),
        (calls.render(CALL).replace("}}", "}"), 0.0),
        (calls.REFUSALS["en"], 0.0),
    ],
)
def test_exactly_the_right_call(text: str, right: float):
    assert calls.score(ROW, text) == right
    assert calls.reward([text], call=[ROW["call"]]) == [right]


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("No tool fits.", 1.0),
        ("Sorry! Kein Werkzeug passt.", 1.0),
        ("Maybe one of the tools could do that some day.", 0.0),
        (f"No tool fits. {calls.render(CALL)}", 0.0),
        ("", 0.0),
    ],
)
def test_a_plain_refusal_where_no_tool_fits(text: str, right: float):
    assert calls.score(NO_TOOL, text) == right


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ('{"name": "f", "arguments": {"a": 1, "b": "x"}}', 1.0),
        ('{"name": "f", "arguments": {"a": 1, "b": "y"}}', 0.75),
        ('{"name": "f", "arguments": {"a": true}}', 0.5),
        ('{"name": "f", "arguments": {"a": 1, "b": "x", "c": 1, "d": 1}}', 0.75),
        ('{"name": "f", "arguments": [1]}', 0.5),
        ('{"name": "g", "arguments": {"a": 1, "b": "x"}}', 0.2),
        ('{"name": "f", "arguments": {"a": 1, "b": "x"}}</tool_call><tool_call>{"name": "f"}', 0.0),
        ('{"name": ', 0.0),
    ],
)
def test_partial_credit_for_name_and_arguments(text: str, grade: float):
    row = {"call": json.dumps({"name": "f", "arguments": {"a": 1, "b": "x"}})}
    assert calls.grade(row, f"<tool_call>{text}</tool_call>") == pytest.approx(grade)
    assert calls.shaped_reward([f"<tool_call>{text}"], call=[row["call"]]) == [pytest.approx(grade)]


def test_where_no_tool_fits_there_is_nothing_in_between():
    assert [calls.grade(NO_TOOL, text) for text in ("No tool fits.", "<tool_call>{}", "Maybe.")] == [1, 0, 0]


def test_true_is_not_one():
    wanted = {"name": "f", "arguments": {"n": 1}}
    assert calls.score({"call": json.dumps(wanted)}, '<tool_call>{"name":"f","arguments":{"n":true}}') == 0.0


@settings(max_examples=300)
@given(
    st.text(), st.sampled_from(["", "<tool_call>", "<tool_call>{", '<tool_call>{"name":', "<tool_call>[["])
)
def test_garbage_scores_nothing_and_raises_nothing(text: str, start: str):
    assert calls.score(ROW, start + text) == 0.0


def test_deep_nesting_is_garbage_too():
    assert calls.score(ROW, "<tool_call>" + "[" * 100_000) == 0.0


def test_turns_want_the_call_and_the_number():
    for row in turns.rows("test", 50):
        call, _, answer = (message["content"] for message in row["completion"])
        assert turns.next_turn(row, [call])[-1] == {"role": "tool", "content": row["result"]}
        assert turns.next_turn(row, [call, answer]) is None
        assert turns.score(row, [call, answer]) == 1.0
        assert turns.score(row, [call, "Answer: 1000"]) == 0.0
        assert turns.next_turn(row, ["I would rather not."]) is None
        assert turns.score(row, ["I would rather not."]) == 0.0
