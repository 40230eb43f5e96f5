from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixeltune.tasks.parsing.choices import letter

EXAMPLES = 200
PIECES = [" ", "\n", *r"Answer : A b E ( ) ** \boxed{ } $ or , . is -".split()]
STARTS = ["Answer: ", "Answer: (", "Answer: B or C ", "Answer: \\text{", "answer is ", "is (", "\\boxed{A"]
FONTS = [
    "\\boxed{\\text{",
    "\\boxed{C) ",
    "\\mathrm{C",
    "Answer: \\bf \\bf ",
    "\\boxed{ { ",
    "Answer: \\text \\text ",
]


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("Answer: B", "B"),
        ("answer: b", "B"),
        ("ANSWER : b.", "B"),
        ("Answer:\nB", "B"),
        ("Answer: A", "A"),
        ("Answer: a", "A"),
        ("Answer: A\r\nThat is all.", "A"),
        ("Answer: A.", "A"),
        ("Answer: (A)", "A"),
        ("Answer: [C]", "C"),
        ("Answer: <D>", "D"),
        ("**Answer:** B", "B"),
        ("**Answer: B**", "B"),
        ("**Answer**: **(B)**", "B"),
        ("## Answer: `B`", "B"),
        ("Final answer: $\\boxed{B}$", "B"),
        ("Answer: \\(\\boxed{\\text{B}}\\)", "B"),
        ("Answer: \\[ \\boxed{B} \\]", "B"),
        ("Answer: \\textbf{(B)}", "B"),
        ("Answer: Option B", "B"),
        ("Answer: The correct option is (B)", "B"),
        ("Answer: B) $65", "B"),
        ("Answer: A) 32400", "A"),
        ("Answer: A - 32400", "A"),
        ("Answer: B $65", "B"),
        ("Answer: B because it fits", "B"),
        ("Answer: B, a good deal", "B"),
        ("Answer: A\nNo.\nAnswer: C", "C"),
        ("Answer: A Answer: C", "C"),
        ("Answer: <letter>\nAnswer: E", "E"),
        ("<think>Answer: A</think>Answer: B", "B"),
        ("Answer: B\nA train is not a car.", "B"),
        ("So it is \\boxed{D}, as was to be shown.", "D"),
        ("\\boxed{\\text{(D)}}", "D"),
        ("Answer: A, no: \\boxed{D}", "D"),
        ("\\boxed{D}, so Answer: A.", "A"),
    ],
)
def test_the_last_marked_letter_is_the_choice(text, choice):
    assert letter(text, "ABCDE") == choice


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("B", "B"),
        (" A.\n", "A"),
        ("(E)", "E"),
        ("**C**", "C"),
        ("x = 5\nB", "B"),
        ("The answer is B.", "B"),
        ("So the correct answer is **(A)**", "A"),
        ("x = 5, so the answer is option D.", "D"),
        ("x = 250 m. Answer D", "D"),
        ("Correct answer - A", "A"),
        ("I choose option C.", "C"),
        ("Hence (D).", "D"),
        ("It is (A).", "A"),
        ("A and B are wrong. The answer is C.", "C"),
    ],
)
def test_without_a_mark_an_unmistakable_end_is(text, choice):
    assert letter(text, "ABCDE") == choice


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("\\boxed{\\mathrm{C}}", "C"),
        ("\\boxed{\\text{(C)}}", "C"),
        ("\\boxed{\\textbf{C}}", "C"),
        ("\\boxed{\\mathbf{(C)}}", "C"),
        ("\\boxed{{C}}", "C"),
        ("\\boxed{(C)}", "C"),
        ("\\boxed{ C }", "C"),
        ("\\boxed{\\text{C}}.", "C"),
        ("\\boxed{\\mathbf{\\text{(C)}}}", "C"),
        ("\\boxed{\\mathrm{(\\text{C})}}", "C"),
        ("\\boxed{\\text{C) } 65}", "C"),
        ("\\boxed{C) 65}", "C"),
        ("\\boxed{\\text{C. } 65}", "C"),
        ("\\boxed{\\text{Option C}}", "C"),
        ("\\boxed {C}", "C"),
        ("\\fbox{C}", "C"),
        ("$\\boxed{\\mathrm{C}}$", "C"),
        ("\\[\\boxed{\\textsf{C}}\\]", "C"),
        ("\\boxed{\\displaystyle C}", "C"),
        ("\\boxed{\\textbf{(C) } 12}", "C"),
        ("\\boxed{\\textbf{(C)}\\ 12}", "C"),
        ("\\boxed{C: 12}", "C"),
        ("\\boxed{C\\text{. foo}}", "C"),
        ("\\boxed{C\\text{) foo}}", "C"),
        ("\\boxed{\\text{C}\\text{: foo}}", "C"),
        ("Answer: \U0001d402", "C"),  # mathematical bold
        ("\\boxed{\U0001d402}", "C"),
        ("The answer is \U0001d5a2.", "C"),  # sans-serif
        ("Answer: \N{SCRIPT CAPITAL B}", "B"),
        ("Answer: \N{CIRCLED LATIN CAPITAL LETTER C}", "C"),
        ("Answer\uff1aC", "C"),
        ("Answer\uff1a C", "C"),
        ("Answer\uff1a\uff08C\uff09", "C"),
        ("Answer: \uff23", "C"),
        ("\uff21\uff4e\uff53\uff57\uff45\uff52\uff1a\uff23", "C"),
        ("Answer\uff1a\u3010C\u3011", "C"),
        ("Answer: \\mathrm{C}", "C"),
        ("Answer: $\\mathbf{C}$", "C"),
        ("Answer: \\(\\mathrm{(C)}\\)", "C"),
        ("Answer: $\\boxed{\\mathrm{C}}$", "C"),
        ("Answer: \\boxed{\\text{(C)}}", "C"),
        ("Answer: \\textsf{C}", "C"),
        ("Answer: {\\bf C}", "C"),
        ("Answer: $\\bf C$", "C"),
        ("Answer: \\underline{C}", "C"),
        ("The answer is $\\mathrm{C}$.", "C"),
        ("The answer is \\text{C}.", "C"),
        ("x\n\\text{C}", "C"),
        ("x\n$\\mathrm{(C)}$", "C"),
        ("\\boxed{A}, no: \\boxed{C}", "C"),
        ("\\boxed{D}, as was to be shown", "D"),
    ],
)
def test_fonts_boxes_and_full_width_do_not_hide_a_letter(text, choice):
    assert letter(text, "ABCDE") == choice


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{\\text{A} or \\text{B}}",
        "\\boxed{A or B}",
        "\\boxed{A, B}",
        "\\boxed{A) B)}",
        "\\boxed{A) or B)}",
        "\\boxed{E = mc^2}",
        "\\boxed{C_1}",
        "\\boxed{C + 1}",
        "\\boxed{C'}",
        "\\boxed{\\text{A train}}",
        "\\boxed{C\\text{at}}",
        "\\boxed{C\\text{ or } D}",
        "\\boxed{C\\text{. } D}",
        "\\boxed{C\\text{) or D}}",
        "\\boxed{\\text{C}_2}",
        "\\boxed{\\sqrt{C}}",
        "\\boxed{\\frac{C}{2}}",
        "\\boxed{Cat}",
        "\\boxed{\\text{Cat}}",
        "Answer: \\mathrm{C} or \\mathrm{D}",
        "Answer: \\sqrt{C}",
        "\\boxed{c}",
        "Answer: \\text{A train}",
    ],
)
def test_what_is_no_letter_alone_in_fonts_and_boxes_chooses_nothing(text):
    assert letter(text, "ABCDE") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "No idea.",
        "A",  # none of these options
        "Answer: F",
        "Answer: 78.20",
        "Answer: unknown",
        "Answer: <letter>",
        "Answer: Apples",
        "Answer: Don't know",
        "Answer: D'Artagnan",
        "Answer: A train goes at 5 km/h",
        "Answer: A 5 km walk",
        "Answer: a train",
        "Answer: e.g. 5",
        "Answer: B or C",
        "Answer: (B) or (C)",
        "Answer: B, C",
        "Answer: **B** and **C**",
        "Answer: B/C",
        "Answer: B = 16",
        "Answer: C+D",
        "Answer: BC",
        "Answer: B C D",
        "Answer: B) C)",
        "Answer: (B) (C)",
        "A train goes at 5 km/h.",
        "It is faster than train B.",
        "Rich in vitamin C",
        "The answer is not B.",
        "It isn't option B",
        "The answer is B or C",
        "The answer is a",
        "Half of the answer is in B, the answer is in ABC",
        "f(B)",
        "It is " + "not " * 200 + "the answer B",
        "It is not " + "so " * 200 + "the answer B",
        None,
        7,
        ["B"],
    ],
)
def test_what_chooses_nothing(text):
    assert letter(text, "BCDE") is None
    if text != "A":
        assert letter(text, "ABCDE") is None


@pytest.mark.parametrize("text", ["Answer: I think so", "Answer: i", "I", "Answer: I.", "Answer: I 5"])
def test_the_pronoun_is_no_letter_either(text):
    alone = text in ("Answer: i", "I", "Answer: I.")
    assert letter(text, "ABCDEFGHIJ") == ("I" if alone else None)


@settings(max_examples=EXAMPLES)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=40).map("".join))
def test_garbage_never_raises_and_chooses_only_options(text):
    assert letter(text, "ABCDE") in (None, *"ABCDE")


@settings(max_examples=EXAMPLES)
@given(st.text(alphabet=st.characters(exclude_characters="aeABCDE\\")))
def test_a_text_that_marks_nothing_chooses_nothing(text):
    assert letter(f"{text} etc.", "ABCDE") is None


@settings(max_examples=EXAMPLES)
@given(st.text(), st.sampled_from("ABCDE"))
def test_what_was_said_before_does_not_matter(text, choice):
    assert letter(f"{text}\nAnswer: {choice}", "ABCDE") == choice


@pytest.mark.parametrize("piece", [*PIECES, *STARTS, *FONTS])
def test_hostile_text_takes_no_longer_than_its_length(piece):
    begin = time.process_time()
    letter(piece * 200_000, "ABCDE")
    assert time.process_time() - begin < 2  # about 0.1 s; a catastrophic pattern would take hours
