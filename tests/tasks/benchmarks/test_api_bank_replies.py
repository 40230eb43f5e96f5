"""api_bank's replies: ROUGE-L against the textbook's table and the package rouge_score."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixeltune.tasks.benchmarks.api_bank import longest_common, rouge_l, rows, score

FIXTURES = Path(__file__).parents[2] / "fixtures" / "api_bank"
SHARED = Path(__file__).parents[4] / "shared" / "data" / "api_bank"
FOLDER = SHARED if SHARED.is_dir() else FIXTURES
EXAMPLES = 200


def test_replies_are_worth_their_overlap():
    right = {"reference": "AI: The result is 33."}
    assert score(right, "the RESULT is: 33!") == score(right, "AI: The result is 33") == 1.0
    assert score(right, "The result was 33, I think.") == pytest.approx(2 * 3 / (4 + 6))
    assert score(right, "") == score(right, "?!") == score(right, "Nothing") == 0.0


def reference_table(first: list[str], second: list[str]) -> int:
    """The longest common subsequence by the table of textbooks."""
    line = [0] * (len(second) + 1)
    for one in first:
        before = line[:]
        for j, other in enumerate(second):
            line[j + 1] = before[j] + 1 if one == other else max(before[j + 1], line[j])
    return line[-1]


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.sampled_from("abcde"), max_size=30), st.lists(st.sampled_from("abcde"), max_size=30))
def test_longest_common_subsequence(first, second):
    assert longest_common(first, second) == longest_common(second, first) == reference_table(first, second)


WORDS = st.sampled_from(
    ["The", "result", "is", "33.", "don't", "É", "über", "a_b", "A-b", "\n", "½", "ﬁ", "٣"]
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(WORDS | st.text(max_size=3), max_size=15), st.lists(WORDS | st.text(max_size=3), max_size=15))
def test_rouge_l_is_that_of_rouge_score(first, second):
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rougeL"], use_stemmer=False)
    text, reference = " ".join(first), " ".join(second)
    assert rouge_l(text, reference) == pytest.approx(scorer.score(reference, text)["rougeL"].fmeasure)


def test_rouge_l_of_real_replies_is_that_of_rouge_score():
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rougeL"], use_stemmer=False)
    replies = [one["reference"] for one in rows("test", folder=FOLDER) if one["group"].endswith("response")]
    others = random.Random(0).sample(replies, len(replies))
    others = [" ".join([*reply.split()[::2], other]) for reply, other in zip(replies, others, strict=True)]
    values = [rouge_l(text, reference) for text, reference in zip(others, replies, strict=True)]
    wanted = [scorer.score(a, b)["rougeL"].fmeasure for a, b in zip(replies, others, strict=True)]
    assert values == pytest.approx(wanted)
    assert 0 < sum(values) < len(values)


def test_a_reply_that_rambles_is_worth_less_and_only_its_beginning_is_compared():
    assert rouge_l("yes " + "word " * 9, "yes") == pytest.approx(2 / 11)
    assert rouge_l("word " * 5000 + "yes", "yes") == 0.0
    assert rouge_l("yes " + "word " * 5000, "yes") == pytest.approx(2 / 5002)
