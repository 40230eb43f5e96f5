"""Rows that do not fit into the model's context are refused before it loads."""

from __future__ import annotations

import pytest

from pixeltune.data.messages import UnusedDataWarning
from pixeltune.data.origin import Row
from pixeltune.errors import UserError
from pixeltune.training.lengths import check_cut, check_lengths


class Words:
    """A tokenizer that counts letters, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, texts, add_special_tokens, verbose):
        assert (add_special_tokens, verbose) == (False, False)
        self.asked += texts
        return {"input_ids": [list(text.replace(" ", "")) for text in texts]}


def rows(number):
    out = [Row(prompt=[]) for _ in range(number)]
    for line, row in enumerate(out, start=1):
        row.where = f"F, line {line}"
    return out


def check(*texts, pictures=(), words=None, **settings):
    settings = {"artwork": 10, "answer": 0, "limit": 30} | settings
    taken = list(pictures) or [0] * len(texts)
    check_lengths(rows(len(texts)), texts, taken, words or Words(), **settings)


def test_what_fits_is_only_tokenised_where_it_might_not():
    words = Words()
    check(["a" * 20], ["a"], ["b " * 20, "c"], words=words)
    assert words.asked == ["b " * 20]


def test_the_first_row_is_named_with_its_tokens_and_the_limit():
    with pytest.raises(UserError) as refusal:
        check(["a"], ["b", "c" * 21], ["d" * 99])
    assert str(refusal.value) == (
        "F, line 2 (and 1 more): 31 tokens, 10 of them the artwork's, do not fit into the model's context of 30: "
        "shorten the row, leave it out, or take a model with a longer context"
    )


def test_answers_and_pictures_take_room_too():
    check(["a" * 15], answer=5)
    with pytest.raises(UserError, match=r"line 1: 25 tokens, .* and 6 of an answer .* lower --max_compl"):
        check(["a" * 15], answer=6)
    check(["a" * 15], pictures=[5])
    with pytest.raises(UserError, match="line 1: 31 tokens"):
        check(["a" * 15], pictures=[6])
    with pytest.raises(
        UserError, match=r"line 1: the teacher's prompt has 31 tokens do not fit.* the instruction or"
    ):
        check(["a" * 31], artwork=0, what="the teacher's prompt has ")


def test_rows_that_the_trainer_cuts_are_named():
    with pytest.warns(UnusedDataWarning, match=r"line 2: .* --max_length 20 .*here and 1 times more"):
        check(["a" * 10], ["a" * 11], ["a" * 99], cut=20)
    with pytest.raises(UserError, match="context of 30"):
        check(["a" * 99], cut=40)


def test_a_cut_in_front_of_every_answer_is_refused():
    settings = {"tokenizer": Words(), "artwork": 10}
    check_cut(rows(2), ["a" * 30, "a" * 9], [0, 0], cut=20, **settings)
    with pytest.raises(
        UserError, match=r"--max_length 20 leaves .*, F, line 2, has 20 tokens, 10 of them the"
    ):
        check_cut(rows(3), ["a" * 30, "a" * 10, "a" * 9], [0, 0, 9], cut=20, **settings)
    check_cut([], [], [], cut=20, **settings)
