from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixeltune.tasks.parsing.answers import (
    binary_reward,
    grade,
    number,
    paper_reward,
    right_answer,
    score,
    stated,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Answer: 42", "42"),
        ("answer : 42.", "42"),
        ("**Final Answer:** $1,234.50", "1234.5"),
        ("**Answer**: -5", "-5"),
        ("Answer: -$5", "-5"),
        ("Answer: $-5", "-5"),
        ("Answer: \N{MINUS SIGN}7", "-7"),
        ("Answer: <number>\nAnswer: <12>", "12"),
        ("Answer:\n3/4", "3/4"),
        ("Answer: \\(\\frac{3}{4}\\)", "3/4"),
        ("Answer: .5", "1/2"),
        ("Answer: 50%", "50"),
        ("Answer: 12 apples, 3 of them red", "12"),
        ("Answer: 1\nNo.\nAnswer: 2", "2"),
        ("<think>Answer: 1</think>Answer: 2", "2"),
    ],
)
def test_what_is_stated_is_the_last_answer_line(text, value):
    assert stated(text) == number(text) == Fraction(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("#### 42", "42"),
        ("#### $1,080.\n", "1080"),
        ("#### 3. Add them up\nso it is 7 in all", "7"),
        (r"So \boxed{42}.", "42"),
        (r"\boxed{\text{Total} = 1{,}234 \text{ km}^2}", "1234"),
        (r"\boxed{-\dfrac{1}{2}}", "-1/2"),
        (r"\boxed{{{12}}} and not 13", "12"),
        (r"\boxed{3} is 12 more than \boxed{", "3"),
        (r"Answer: \boxed{9}", "9"),
        (r"Answer: 1, no: \boxed{2}", "2"),
        (r"\boxed{2}, so Answer: 1", "1"),
        ("It costs £3.50 in all.", "7/2"),
        ("20 - 5 = 15", "15"),
        ("20-5", "5"),
        ("so it's...42", "42"),
        ("1,234, which is a lot", "1234"),
        ("1, 2,3", "3"),
        ("48/2", "24"),
        ("5 in CO2", "5"),
        ("5 or 3/0", "5"),
        ("4.2.1", "4.2"),
        ("7 " + "9" * 31, "7"),  # more digits than anybody writes
    ],
)
def test_other_forms_and_else_the_last_number(text, value):
    assert number(text) == Fraction(value)


@pytest.mark.parametrize(
    "text", ["", "No idea.", "Answer: unknown", "H2O", r"\boxed{}", "3/0", "\N{SUPERSCRIPT TWO}", None, 7, []]
)
def test_no_number(text):
    assert number(text) is None
    assert stated(text) is None


def test_numbers_are_exact():
    assert number("Answer: 0.1") + number("Answer: 0.2") == number("Answer: 0.3")
    assert score({"answer": "100000000000000000001"}, "Answer: 100,000,000,000,000,000,001.0") == 1.0
    assert score({"answer": "100000000000000000001"}, "Answer: 100000000000000000000") == 0.0


@pytest.mark.parametrize("answer", [18, 18.0, "18", "18.00", "$18", "#### 18", "Answer: 18"])
def test_rows_may_write_their_answer_in_many_ways(answer):
    assert right_answer({"answer": answer}) == 18
    said = ["Answer: 18", [{"role": "assistant", "content": r"\boxed{18}"}], "18", "Answer: 19", ""]
    assert binary_reward(said, answer=[answer] * 5) == [1.0, 1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("answer", [None, "", "unknown", float("nan"), float("inf"), []])
def test_a_row_without_a_number_is_an_error_and_not_a_wrong_completion(answer):
    with pytest.raises(ValueError, match="of a row is not a number"):
        binary_reward(["Answer: 1"], answer=[answer])


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("Answer: 200", 1.0),
        ("Answer: 202", 0.4),
        ("Answer: 198.0", 0.4),
        ("Answer: 202.01", 0.2),
        ("Answer: 180", 0.2),
        ("Answer: 179", 0.1),
        ("Answer: -200", 0.1),
        ("It is 200.", 0.01),
        ("#### 200", 0.01),
        (r"\boxed{200}", 0.01),
        ("No idea.", 0.0),
    ],
)
def test_the_published_levels(text, level):
    assert grade({"answer": "200"}, text) == level
    assert paper_reward([text, [{"role": "assistant", "content": text}]], answer=["200", 200]) == [level] * 2


def test_levels_around_zero_and_below():
    assert [grade({"answer": 0}, f"Answer: {said}") for said in ("0", "-0.0", "0.001")] == [1.0, 1.0, 0.1]
    assert [grade({"answer": -100}, f"Answer: {said}") for said in (-101, -109, 100)] == [0.4, 0.2, 0.1]


PIECES = [
    "Answer:",
    "####",
    "\\boxed{",
    "}",
    "{",
    "\\frac{1}",
    "-",
    "$",
    "1",
    ",234",
    ".",
    "/",
    "0",
    " ",
    "\n",
]


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=40).map("".join))
def test_garbage_never_raises_and_levels_agree(text):
    row = {"answer": "31415926"}
    assert (score(row, text), grade(row, text) == 1.0) in ((0.0, False), (1.0, True), (1.0, False))
    assert (grade(row, text) == 0.0) == (number(text) is None)


@given(st.decimals(min_value=-(10**12), max_value=10**12, places=3), st.sampled_from(["{:f}", "{:,f}"]))
def test_every_decimal_is_read_back(value, form):
    assert stated(f"So it is.\nAnswer: {form.format(value)}.") == Fraction(value)


@pytest.mark.parametrize(
    "piece",
    [*PIECES, "9", "1,", "111,", "1/", "1 ", "answer: ", "answer*", "#### 1 .", "1/0 ", "\\boxed{1} "],
)
def test_hostile_text_takes_no_longer_than_its_length(piece):
    begin = time.process_time()
    number(piece * 200_000)
    assert time.process_time() - begin < 2  # about 0.1 s; a catastrophic pattern would take hours
