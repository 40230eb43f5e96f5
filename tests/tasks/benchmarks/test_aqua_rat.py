from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixeltune.tasks.benchmarks import aqua_rat
from pixeltune.tasks.parsing.choices import letter

FIXTURES = Path(__file__).parents[2] / "fixtures" / "aqua_rat"
SHARED = Path(__file__).parents[4] / "shared" / "data" / "aqua_rat"  # where somebody has put whole files
EXAMPLES = 200
RECORD = {
    "question": "1 + 1?",
    "options": ["A)1", "B)2", "C)3", "D)4", "E)5"],
    "rationale": "Answer: B",
    "correct": "B",
}


def test_a_record_becomes_a_row():
    first, *rest = aqua_rat.rows("validation", folder=FIXTURES)
    assert first == {
        "id": "validation-1",
        "prompt": [
            {
                "role": "user",
                "content": "Three birds are flying at a fast rate of 900 kilometers per hour. What is their "
                "speed in miles per minute? [1km = 0.6 miles]\nA)32400\nB)6000\nC)600\nD)60000\nE)10"
                "\n\nEnd your response with: Answer: <letter>",
            }
        ],
        "completion": [
            {
                "role": "assistant",
                "content": "To calculate the equivalent of miles in a kilometer\n0.6 kilometers = 1 mile\n"
                "900 kilometers = (0.6)*900 = 540 miles\nIn 1 hour there are 60 minutes\n"
                "Speed in miles/minutes = 60 * 540 = 32400\nAnswer: A",
            }
        ],
        "answer": "A",
    }
    assert [row["answer"] for row in rest] == ["B", "D", "D"]
    assert [row["id"] for row in aqua_rat.rows("test", folder=FIXTURES)] == ["test-1", "test-2"]
    assert len(aqua_rat.rows("validation", 2, folder=FIXTURES)) == 2


@pytest.mark.parametrize(
    ("rationale", "completion"),
    [
        ("x = 5\nAnswer: B", "x = 5\nAnswer: B"),
        ("x = 5\nANSWER : OPTION B", "x = 5\nAnswer: B"),
        ("x = 5.\nThe answer is B.", "x = 5.\nAnswer: B"),
        ("x = 5\nThe answer is option B) 61.", "x = 5\nAnswer: B"),
        ("x = 5. So the correct choice is (B)", "x = 5.\nAnswer: B"),
        ("x = 5\nAnswer: B) 109 rolls", "x = 5\nAnswer: B"),
        ("x = 5\nOption B is correct", "x = 5\nAnswer: B"),
        ("x = 5\n\nB.", "x = 5\nAnswer: B"),
        ("Correct Option:B", "Answer: B"),
        ("x = 5\nAnswer: C", "x = 5\nAnswer: B"),  # a slip of the author: `correct` counts
        ("x = 5", "x = 5\nAnswer: B"),
        ("Total = 5, thus, B is the correct answer", "Total = 5, thus, B is the correct answer\nAnswer: B"),
        ("Share of A", "Share of A\nAnswer: B"),
        ("The answer is Bob", "The answer is Bob\nAnswer: B"),
        ("", "Answer: B"),
    ],
)
def test_a_solution_ends_in_its_letter_once(rationale, completion):
    assert aqua_rat.solution(rationale, "B") == completion


def test_parts_by_their_upstream_names(tmp_path):
    with pytest.raises(ValueError, match=r"no train\.jsonl .*dev\.jsonl is the split 'validation'"):
        aqua_rat.rows("train", folder=FIXTURES)
    with pytest.raises(ValueError, match=r"has no dev\.jsonl or dev\.json or validation\.jsonl"):
        aqua_rat.rows("validation", folder=tmp_path)
    with pytest.raises(ValueError, match="there is no folder"):
        aqua_rat.rows("train", folder=tmp_path / "nowhere")
    with pytest.raises(ValueError, match="splits train, validation, test, not 'dev'"):
        aqua_rat.rows("dev", folder=FIXTURES)
    with pytest.raises(ValueError, match="no category 'hard'"):
        aqua_rat.rows("test", folder=FIXTURES, category="hard")
    shutil.copy(FIXTURES / "test.jsonl", tmp_path / "train.json")
    assert [row["id"] for row in aqua_rat.rows("train", folder=tmp_path)] == ["train-1", "train-2"]


def test_the_hub_has_a_config(monkeypatch):
    asked = []

    def from_hub(*words):
        asked.append(words)
        return [RECORD | {"options": ["1", "2", "3", "4", "5"]}]

    monkeypatch.setattr("pixeltune.tasks.benchmarks.dataset.from_hub", from_hub)
    (row,) = aqua_rat.rows("train")
    assert row["prompt"][0]["content"].startswith("1 + 1?\nA)1\nB)2\nC)3\nD)4\nE)5\n\n")
    aqua_rat.rows("validation")
    assert asked == [("deepmind/aqua_rat", "raw", "train"), ("deepmind/aqua_rat", "raw", "validation")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"options": "A)1"}, "aqua_rat test, record 1: 'options' is of the type str"),
        ({"options": ["A)1"]}, "aqua_rat test, record 1: 'options' are not 5 texts"),
        ({"options": [1, 2, 3, 4, 5]}, "aqua_rat test, record 1: 'options' are not 5 texts"),
        ({"correct": "F"}, "aqua_rat test, record 1: no question, or 'correct' is 'F'"),
        ({"correct": "AB"}, "aqua_rat test, record 1: no question, or 'correct' is 'AB'"),
        ({"question": ""}, "aqua_rat test, record 1: no question"),
        ({"rationale": None}, "aqua_rat test, record 1: 'rationale' is of the type NoneType"),
    ],
)
def test_a_record_that_is_not_one_is_named(change, message, tmp_path):
    (tmp_path / "test.jsonl").write_text(json.dumps(RECORD | change))
    with pytest.raises(ValueError, match=re.escape(message)):
        aqua_rat.rows("test", folder=tmp_path)


def test_scores_and_rewards():
    said = ["Answer: B", "**Answer: (B)**", "The answer is B.", "Answer: C", "Answer: B or C", "65", ""]
    right = [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    assert [aqua_rat.score({"answer": "B"}, text) for text in said] == right
    conversations = [[{"role": "assistant", "content": text}] for text in said]
    assert aqua_rat.reward(conversations, answer=["B"] * 7) == right


@pytest.mark.parametrize(("split", "file"), [("validation", "dev.jsonl"), ("test", "test.jsonl")])
def test_the_whole_files(split, file):
    """References score; of solutions as people wrote them none is read as naming a wrong letter."""
    if not (SHARED / file).is_file():
        pytest.skip("no aqua_rat here")
    rows = aqua_rat.rows(split, folder=SHARED)
    records = [json.loads(line) for line in (SHARED / file).read_text(encoding="utf-8").split("\n") if line]
    assert len(rows) == len(records) == 254
    raw = Counter()
    for row, record in zip(rows, records, strict=True):
        text = row["completion"][0]["content"]
        assert text.endswith(f"\nAnswer: {record['correct']}")
        assert aqua_rat.score(row, text) == 1.0
        assert sum(aqua_rat.score({"answer": x}, text) for x in "ABCDE") == 1.0
        asked = row["prompt"][0]["content"]
        assert re.search(r"\nA\).*\nB\).*\nC\).*\nD\).*\nE\).*\n\nEnd your", asked)
        said = letter(record["rationale"], "ABCDE")
        raw["none" if said is None else "right" if said == record["correct"] else "wrong"] += 1
    assert raw["wrong"] == 0
    assert raw["right"] >= 220  # the others name none, or only in passing


@settings(max_examples=EXAMPLES)
@given(st.text(alphabet=st.characters(exclude_characters="A")), st.sampled_from("BCDE"))
def test_garbage_never_raises_and_scores_nothing(text, right):
    assert aqua_rat.score({"answer": "A"}, text.replace("a", "") + ".") == 0.0
    assert aqua_rat.reward([text + " etc."], answer=[right]) == [0.0]
