from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixeltune.tasks.benchmarks import svamp

FIXTURES = Path(__file__).parents[2] / "fixtures" / "svamp"
SHARED = Path(__file__).parents[4] / "shared" / "data" / "svamp"  # whole file, where somebody has put it
EXAMPLES = 200
RECORD = {"ID": "chal-1", "Body": "Two pens ", "Question": "How many?", "Equation": "2.0", "Type": "Addition"}


def test_a_record_becomes_a_row():
    first, *rest = svamp.rows("test", folder=FIXTURES)
    assert first == {
        "id": "chal-1",
        "prompt": [
            {
                "role": "user",
                "content": "Each pack of dvds costs 76 dollars. If there is a discount of 25 dollars on each "
                "pack How much do you have to pay to buy each pack?"
                "\n\nEnd your response with: Answer: <number>",
            }
        ],
        "completion": [{"role": "assistant", "content": "76 - 25 = 51\nAnswer: 51"}],
        "answer": "51",
        "group": "Subtraction",
    }
    assert [row["answer"] for row in rest] == ["1", "17", "22", "2", "46"]


def test_the_original_is_for_testing_only(tmp_path):
    for split in ("train", "validation"):
        with pytest.raises(ValueError, match=r"has no train\.jsonl .* the original SVAMP file is all 'test'"):
            svamp.rows(split, folder=FIXTURES)
    with pytest.raises(ValueError, match="there is no folder"):
        svamp.rows("train", folder=tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"has no test\.jsonl or .* or SVAMP\.json"):
        svamp.rows("test", folder=tmp_path)


def test_a_folder_with_two_parts(tmp_path):
    shutil.copy(FIXTURES / "SVAMP.json", tmp_path / "train.json")
    train, kept = svamp.rows("train", folder=tmp_path), svamp.rows("validation", folder=tmp_path)
    assert [row["id"] for row in train] == [f"chal-{i}" for i in range(1, 6)]
    assert [row["id"] for row in kept] == ["chal-6"]
    shutil.copy(FIXTURES / "SVAMP.json", tmp_path / "SVAMP.json")
    with pytest.raises(ValueError, match=r"has no test\.jsonl or test\.json$"):
        svamp.rows("test", folder=tmp_path)  # the original holds the training questions too
    (tmp_path / "test.jsonl").write_text(json.dumps(RECORD | {"Answer": 2}))
    assert [row["answer"] for row in svamp.rows("test", folder=tmp_path)] == ["2"]


def test_the_hubs_answers_are_texts(monkeypatch):
    asked = []

    def from_hub(*words):
        asked.append(words)
        return [RECORD | {"Answer": "2.50", "Type": "Common-Divison", "question_concat": "..."}]

    monkeypatch.setattr("pixeltune.tasks.benchmarks.dataset.from_hub", from_hub)
    (row,) = svamp.rows("test")
    assert (row["answer"], row["group"]) == ("2.50", "Common-Division")
    assert row["prompt"][0]["content"].startswith("Two pens How many?\n")
    svamp.rows("train")
    assert asked == [("ChilleD/SVAMP", None, "test"), ("ChilleD/SVAMP", None, "train")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Answer": None}, "svamp test, record 1: 'Answer' is of the type NoneType"),
        ({"Answer": "many"}, "svamp test, record 1: no number in the answer 'many'"),
        ({"Answer": True}, "svamp test, record 1: no number in the answer 'True'"),
        ({"Answer": 2.0, "Body": "", "Question": " "}, "svamp test, record 1: the question is empty"),
        ({"Answer": 2.0, "Body": 2}, "svamp test, record 1: 'Body' is of the type int"),
        ({}, "svamp test, record 1: no 'Answer'"),
    ],
)
def test_a_record_that_is_not_one_is_named(change, message, tmp_path):
    (tmp_path / "test.jsonl").write_text(json.dumps(RECORD | change))
    with pytest.raises(ValueError, match=re.escape(message)):
        svamp.rows("test", folder=tmp_path)


def test_an_id_must_be_there_once(tmp_path):
    (tmp_path / "test.json").write_text(json.dumps([RECORD | {"Answer": 2}] * 2))
    with pytest.raises(ValueError, match="svamp: the id 'chal-1' occurs twice"):
        svamp.rows("test", folder=tmp_path)


def test_the_whole_file():
    """Every calculation gives its answer, but for the one of chal-680, where upstream's is wrong."""
    if not (SHARED / "svamp.jsonl").is_file():
        pytest.skip("no svamp here")
    rows = svamp.rows("test", folder=SHARED)
    records = [json.loads(line) for line in (SHARED / "svamp.jsonl").read_text().split("\n") if line]
    assert len(rows) == len(records) == 1000
    wrong = []
    for row, record in zip(rows, records, strict=True):
        text = row["completion"][0]["content"]
        assert svamp.score(row, text) == svamp.score(row, f"Answer: {record['Answer']}") == 1.0
        assert svamp.score(row, f"Answer: {record['Answer'] + 1}") == 0.0
        equation = re.fullmatch(r"([-+*/() 0-9.]+) = (\S+)\nAnswer: (\S+)", text)
        assert equation[2] == equation[3] == row["answer"]
        if eval(equation[1]) != record["Answer"]:  # figures and signs only
            wrong.append(row["id"])
    assert wrong == ["chal-680"]
    assert Counter(row["group"] for row in rows) == {
        "Subtraction": 531,
        "Addition": 195,
        "Common-Division": 166,
        "Multiplication": 108,
    }


@settings(max_examples=EXAMPLES)
@given(st.text() | st.lists(st.sampled_from(["Answer:", "####", "-", ".", ",", "7", " "])).map("".join))
def test_garbage_never_raises_and_scores_nothing(text):
    assert svamp.score({"answer": "31415926"}, text) == 0.0
    assert svamp.reward([text], answer=["31415926"]) == [0.0]
    assert svamp.shaped_reward([text], answer=["31415926"])[0] <= 0.4
