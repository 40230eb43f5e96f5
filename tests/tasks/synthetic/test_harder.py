"""The harder tasks: their references are right, their splits apart, and nothing else scores."""

from __future__ import annotations

import hashlib
import json

import pytest

from pixeltune.tasks.base import find_task
from pixeltune.tasks.synthetic import calls, errands, long_sums, sums


@pytest.mark.parametrize("name", ["long_sums", "errands"])
def test_references_are_right_and_rewarded(name):
    task = find_task(name)
    rows = task.rows("test", 200)
    for row in rows:
        said = row["completion"][0]["content"]
        assert task.score(row, said) == 1.0
        assert task.score(row, "") == task.score(row, said[: len(said) // 2]) == 0.0
    column = "answer" if name == "long_sums" else "calls"
    said = [row["completion"] for row in rows]
    assert task.reward(said, **{column: [row[column] for row in rows]}) == [1.0] * 200
    assert task.rows("test", 5) == rows[:5]
    assert task.rows("test", 5, seed=1) != rows[:5]
    with pytest.raises(ValueError, match="'train' and 'test'"):
        task.rows("validation", 1)


def test_long_sums_have_two_to_four_true_steps_and_no_negative_result():
    seen = set()
    for row in long_sums.rows("train", 300):
        *steps, last = row["completion"][0]["content"].splitlines()
        seen.add(len(steps))
        for step in steps:
            problem, work = step.split(": ")
            assert eval(problem) == int(work.split(", ")[-1]) >= 0
        assert last == f"Answer: {row['answer']}"
    assert seen == set(long_sums.STEPS)


def test_no_problem_is_in_both_splits():
    def problems(split: str) -> set:
        return {row["completion"][0]["content"] for row in long_sums.rows(split, 1000)}

    assert not problems("train") & problems("test")


def test_training_errands_hold_no_request_that_calls_holds_out():
    for row in errands.rows("train", 300):
        for call in json.loads(row["calls"]):
            intent = next(one for one in calls.INTENTS if call["name"] in one.names)
            texts = [ask.format(**call["arguments"]) for ask in intent.asks]
            asked = [text for text in texts if text in row["prompt"][0]["content"]]
            assert asked
            assert not any(calls.Request(text, (), call, "").held_out for text in asked)
    counts = {len(json.loads(row["calls"])) for row in errands.rows("test", 50)}
    assert counts == {1, 2}


def test_calls_may_come_in_any_order_and_none_twice():
    row = next(row for row in errands.rows("test", 20) if len(json.loads(row["calls"])) == 2)
    first, second = json.loads(row["calls"])
    render = errands.render
    assert errands.score(row, render([second, first])) == 1.0
    assert errands.score(row, render([first, first])) == 0.0
    assert errands.score(row, render([first])) == 0.0
    assert errands.score(row, render([first, second, first])) == 0.0
    assert errands.score(row, render([first]) + "\n<tool_call>\n{broken") == 0.0


def test_the_questions_of_sums_are_what_they_were():
    """Published scores are about these rows."""
    digest = hashlib.sha256(json.dumps(sums.rows("test", 200)).encode()).hexdigest()
    assert digest.startswith("1ccc49d8c34d")
