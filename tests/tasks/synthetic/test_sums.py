from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixeltune.tasks.parsing import answers
from pixeltune.tasks.synthetic import sums


def test_the_reference_completion_is_right_and_its_columns_are_true():
    for row in sums.rows("test", 300):
        text = row["completion"][0]["content"]
        assert sums.score(row, text) == 1.0
        for line in text.splitlines()[:-1]:
            problem, work = line.split(": ")
            assert eval(problem) == int(work.split(", ")[-1])
            for equation in work.split(", ")[:-1]:
                left, right = equation.split("=")
                assert eval(left) == int(right), line


def test_no_problem_is_in_both_splits():
    def problems(split: str) -> set:
        return {line for row in sums.rows(split, 2000) for line in [row["completion"][0]["content"]]}

    assert not problems("train") & problems("test")


def test_rows_depend_on_the_seed_alone():
    assert sums.rows("test", 5) == sums.rows("test", 5)
    assert sums.rows("test", 5) != sums.rows("test", 5, seed=1)
    with pytest.raises(ValueError, match="'train' and 'test'"):
        sums.rows("validation", 1)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("Answer: 85", 1.0),
        ("Answer:85.", 1.0),
        ("Answer: 12\nno, Answer: 85", 1.0),
        ("Answer: 85 Answer: 12", 0.0),
        ("I think it is 85.", 0.0),
        ("Answer: 850", 0.0),
        ("Answer: -85", 0.0),
        ("Answer: 8 5", 0.0),
        ("", 0.0),
    ],
)
def test_the_last_answer_counts_and_nothing_else(text: str, right: float):
    assert sums.score({"answer": 85}, text) == right
    assert sums.reward([text, [{"role": "assistant", "content": text}]], answer=[85, 85]) == [right, right]


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("Answer: 200", 1.0),
        ("Answer: 198", 0.4),
        ("Answer: 220", 0.2),
        ("Answer: -200", 0.1),
        ("200", 0.01),
        ("No idea.", 0.0),
    ],
)
def test_partial_credit_has_the_published_levels(text: str, grade: float):
    assert sums.grade({"answer": 200}, text) == grade
    assert (
        sums.shaped_reward([text, [{"role": "assistant", "content": text}]], answer=[200, 200]) == [grade] * 2
    )


def test_an_answer_with_a_thousands_comma():
    assert sums.parse("Answer: 1,234") == 1234


@pytest.mark.parametrize(
    ("text", "here", "elsewhere"),
    [
        ("48 + 37: 8+7=15, 4+3+1=8, 85\nAnswer: 85", 85, 85),
        ("Answer: 48 + 37 = 85", 48, 85),
        ("answer: 85", None, 85),
        ("**Answer:** 85", None, 85),
        ("Answer: $85", None, 85),
        ("I think it is 85.", None, None),
    ],
)
def test_where_the_format_is_part_of_the_task_and_where_it_is_not(text, here, elsewhere):
    """What the docstrings say: the parser of benchmarks and of own rows is more lenient."""
    assert (sums.parse(text), answers.stated(text)) == (here, elsewhere)


@settings(max_examples=300)
@given(st.text())
def test_garbage_scores_nothing_and_raises_nothing(text: str):
    assert sums.score({"answer": 31_415_926}, text) == 0.0


def test_held_out_goes_by_the_numbers_not_by_the_words():
    rng = random.Random(0)
    seen: dict[tuple, set[bool]] = {}
    for _ in range(5000):
        item = sums.problem(rng)
        seen.setdefault(item.steps, set()).add(item.held_out)
    assert all(len(values) == 1 for values in seen.values())
