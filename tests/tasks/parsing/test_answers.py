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
    ("text", "value"),
    [
        ("Answer: 48 + 37 = 85", "85"),
        ("Answer: $5 x 3 = $15", "15"),
        ("Answer: 3 + 4 = 7 + 5 = 12", "12"),
        ("Answer: 85 = 48 + 37", "85"),
        ("Answer: (48 + 37) = 85", "85"),
        ("Answer: (48 + 37 = 85)", "85"),
        ("Answer: 48 + 37 = **85**", "85"),
        ("Answer: $48 + 37 = 85$", "85"),
        ("Answer: \\(48 + 37 = 85\\)", "85"),
        ("Answer: 48 \xd7 2 = 96", "96"),
        ("Answer: 48 \\times 2 = 96", "96"),
        ("Answer: 12 \xf7 4 = 3", "3"),
        ("Answer: 12 / 4 = 3", "3"),
        ("Answer: 5 apples + 3 apples = 8 apples", "8"),
        ("Answer: x = 5", "5"),
        ("Answer: total = $1,234.50", "1234.5"),
        ("Answer: 5 because 2x = 10", "5"),
        ("Answer: 5, because 2x = 10", "5"),
        ("Answer: 5. Check: 2 x 5 = 10", "5"),
        ("Answer: 5 (2x = 10)", "5"),
        ("Answer: 85 (48 + 37 = 85)", "85"),
        ("Answer: 10 - 5 = 5", "5"),
        ("Answer: 5 - 10 = -5", "-5"),
        ("Answer: 5 \u2212 10 = \u22125", "-5"),
        ("Answer: 5 - 10 = - 5", "-5"),
        ("Answer: 20% of 50 = 10", "10"),
        ("Answer: 2 hours = 120 minutes", "120"),
        ("#### 48 + 37 = 85", "85"),
        ("Answer: 2 x 10 = 20", "20"),
        ("Answer: 2^10 = 1024", "1024"),
        ("Answer: \\boxed{48 + 37 = 85}", "85"),
        ("\\boxed{85 = 48 + 37}", "85"),
        ("\\boxed{\\text{x} = 5}", "5"),
        ("\\boxed{\\frac{1}{2} = 0.5}", "1/2"),
        ("Answer: 48 + 37 equals 85", "85"),
        ("Answer: 12 + 5 = 17 dollars.", "17"),
        ("Answer: **48 + 37 = 85**", "85"),
        ("Answer: 1/2 + 1/4 = 3/4", "3/4"),
        ("Answer: 2 1/2 + 1 = 3 1/2", "7/2"),
        ("Answer: 3 pens at $5 = $15", "15"),
        ("Answer: 48 + 37 = 85 - correct", "85"),
        ("Answer: 2x = 10 so x = 5", "5"),
        ("Answer: 48+37=85", "85"),
        ("Answer:\n48 + 37 = 85", "85"),
        ("Answer: 5 * 3 = 15", "15"),
        ("Answer: 5*3=15", "15"),
        ("Answer: 5 ** 3 = 125", "125"),
        ("Answer: 60 mph x 2 h = 120 miles", "120"),
        ("Answer: 100 - 20 - 30 = 50 left", "50"),
        ("Answer: 30 => 30", "30"),
    ],
)
def test_an_equation_is_worth_its_last_side_that_is_no_calculation(text, value):
    assert number(text) == Fraction(value)
    assert stated(text) == (Fraction(value) if text.startswith("Answer") else None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Answer: First, 3 x 4 = 12. Then 12 + 5 = 17.", "17"),
        ("Answer: We know x = 5. The rest is 12.", "12"),
        ("So it costs 10\u202f000 dollars.", "10000"),
        ("He ate and \xbc of it", "1/4"),
        ("He ate 3 and \xbc", "1/4"),
        ("It weighs 2\xbd kg.", "5/2"),
        ("It is 10\xb3 m", "1000"),
    ],
)
def test_an_equation_on_the_way_is_no_answer_and_plain_text_has_the_same_numbers(text, value):
    assert number(text) == Fraction(value)
    assert stated(text) is None


POWERS = [
    "\\boxed{1.5\\times10^{3}}",
    "Answer: 1.5\\times10^{3}",
    "Answer: $1.5\\times10^{3}$",
    "Answer: 1.5\\cdot10^3",
    "Answer: 1.5\\times{10}^{3}",
    "Answer: 1.5\\ast10^3",
    "Answer: 1.5\\times10**3",
    "Answer: 1.5\xd710^3",
    "Answer: 1.5x10^3",
    "Answer: 1.5X10^3",
    "Answer: 1.5*10^3",
    "Answer: 1.5*10^(3)",
    "Answer: 1.5e3",
    "Answer: 1.5E3",
    "#### 1.5\\times10^3",
    "So it is 1.5\\times10^3.",
]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("\\boxed{10\\,000}", "10000"),
        ("Answer: 10 000", "10000"),
        ("Answer: 2 1/2", "5/2"),
        ("Answer: 1.5e3", "1500"),
        ("Answer: - 5", "-5"),
        ("Answer: 10\\,000", "10000"),
        ("Answer: 10{,}000", "10000"),
        ("Answer: 10,\\!000", "10000"),
        ("Answer: 10\\!,\\!000", "10000"),
        ("Answer: 10~000", "10000"),
        ("Answer: 10\\;000", "10000"),
        ("Answer: 10\\ 000", "10000"),
        ("Answer: 1'234'567", "1234567"),
        ("Answer: 10_000", "10000"),
        ("Answer: 10\u00a0000", "10000"),
        ("Answer: 10\u202f000", "10000"),
        ("Answer: 10 000.5", "10000.5"),
        ("Answer: 1 234 567", "1234567"),
        ("Answer: -10 000", "-10000"),
        ("Answer: $10 000", "10000"),
        ("#### 10 000", "10000"),
        ("Answer: -2 1/2", "-5/2"),
        ("Answer: 2\xbd", "5/2"),
        ("Answer: 2 \xbd", "5/2"),
        ("Answer: \xbd", "1/2"),
        ("Answer: -\xbd", "-1/2"),
        ("Answer: \xbe cup", "3/4"),
        ("Answer: 2\\frac{1}{2}", "5/2"),
        ("Answer: 2 \\frac12", "5/2"),
        ("Answer: $2\\dfrac{1}{2}$", "5/2"),
        ("\\boxed{2\\tfrac{1}{2}}", "5/2"),
        ("Answer: \\frac12", "1/2"),
        ("Answer: \\frac{-1}{2}", "-1/2"),
        ("Answer: -\\frac{1}{2}", "-1/2"),
        ("Answer: \\frac{1,000}{3}", "1000/3"),
        ("Answer: 3\u20444", "3/4"),
        ("Answer: 1.5E+3", "1500"),
        ("Answer: 1.5e-3", "0.0015"),
        ("Answer: 1.5 x 10^3", "1500"),
        ("Answer: 1.5 \xd7 10^3", "1500"),
        ("Answer: 1.5 \\times 10^{3}", "1500"),
        ("Answer: 1.5*10**3", "1500"),
        ("Answer: 1.5 \xb7 10\xb3", "1500"),
        ("Answer: 1.5\xd710\u207b\xb3", "0.0015"),
        ("Answer: 1.5 x 10^{-3}", "0.0015"),
        ("Answer: 1.5 \\cdot 10^{-3}", "0.0015"),
        *((text, "1500") for text in POWERS),
        *((text.replace("3", "-3"), "0.0015") for text in POWERS),
        ("Answer: -1.5\\times10^{-3}", "-0.0015"),
        ("Answer: 1.5\\times10\N{MINUS SIGN}4", "1.5"),  # no power
        ("Answer: 12\\div4", "3"),
        ("Answer: \U0001d7d2\U0001d7d0", "42"),  # mathematical bold
        ("Answer: 10^3", "1000"),
        ("Answer: 10\xb3", "1000"),
        ("Answer: \uff14\uff12", "42"),
        ("Answer\uff1a42", "42"),
        ("\uff21\uff4e\uff53\uff57\uff45\uff52\uff1a\uff14\uff12", "42"),
        ("Answer: \uff11\uff0c\uff12\uff13\uff14", "1234"),
        ("Answer: \uff0d\uff15", "-5"),
        ("Answer: \uffe5500", "500"),
        ("Answer: 50\\%", "50"),
        ("Answer: 50 %", "50"),
        ("Answer: \uff15\uff10\uff05", "50"),
        ("Answer: negative 5", "-5"),
        ("Answer: +5", "5"),
        ("Answer: \\boxed{9}", "9"),
        ("Answer: \\text{9}", "9"),
        ("Answer: $\\mathbf{42}$", "42"),
        ("\\boxed{{10\\,000}}", "10000"),
        ("\\boxed{\\$15}", "15"),
        ("\\boxed{5 \\text{ km}^2}", "5"),
        ("Answer: 15 200-gram bags", "15"),
        ("Answer: 5 km\xb2", "5"),
        ("Answer: \u2248 42", "42"),
        ("Answer: 3/4", "3/4"),
        ("Answer: 85 - correct", "85"),
        ("Answer: 12\xbd", "25/2"),
        ("Answer: 3/1.5", "2"),
        ("Answer: 1,000,000", "1000000"),
        ("Answer: 8:30", "8"),
        ("Answer: 5 \u2264 x", "5"),
    ],
)
def test_numbers_in_the_forms_that_models_write(text, value):
    assert number(text) == Fraction(value)
    assert score({"answer": value}, text) == 1.0


@pytest.mark.parametrize("text", ["Answer: 1e9999", "Answer: 1.5e123456", "Answer: 10^", "Answer: 3 1/0"])
def test_what_is_out_of_bounds_is_read_in_no_time_or_not_at_all(text):
    assert number(text) in (None, 10)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Answer: 48 + 37", "48"),
        ("Answer: 48 plus 37 is 85", "48"),
        ("Answer: \N{EURO SIGN}1.234,50", "1.234"),
    ],
)
def test_nothing_is_worked_out_and_a_comma_is_no_decimal_point(text, value):
    assert number(text) == stated(text) == Fraction(value)


@given(
    st.integers(0, 10**12),
    st.sampled_from(
        ["{,}", "\\,", "\\!,", ",\\!", " ", "\u00a0", "\u202f", "\u2009", "'", "\\;", "~", "\uff0c"]
    ),
    st.sampled_from(["", "-", "\N{MINUS SIGN}", "$", "-$"]),
    st.sampled_from(["Answer: {}", "Answer\uff1a{}", "\\boxed{{{}}}", "#### {}", "Answer: $\\mathbf{{{}}}$"]),
)
def test_thousands_are_read_back_whatever_parts_them(value, comma, sign, form):
    said = form.format(sign + f"{value:,}".replace(",", comma))
    assert number(said) == (value if sign in ("", "$") else -value)


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
EQUATIONS = [
    *("Answer: 1 = 2 ", "= 1 ", "answer: 1 1/0\n", "answer: 1=1=1=1=1+1\n", "answer: 5 (", "#### 1 + 1 = "),
    *(
        "1 000 ",
        "\\frac{1",
        "10^{",
        "\xbd",
        "x 10^3",
        "1e",
        "\\,",
        "Answer: \\text{",
        "answer: 1= " + "a1" * 130,
    ),
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
    [
        *PIECES,
        "9",
        "1,",
        "111,",
        "1/",
        "1 ",
        "answer: ",
        "answer*",
        "#### 1 .",
        "1/0 ",
        "\\boxed{1} ",
        *EQUATIONS,
    ],
)
def test_hostile_text_takes_no_longer_than_its_length(piece):
    begin = time.process_time()
    number(piece * 200_000)
    assert time.process_time() - begin < 2  # about 0.1 s; a catastrophic pattern would take hours
