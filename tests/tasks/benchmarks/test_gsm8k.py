from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixeltune.tasks.benchmarks import gsm8k

FIXTURES = Path(__file__).parents[2] / "fixtures" / "gsm8k"
SHARED = Path(__file__).parents[4] / "shared" / "data" / "gsm8k"  # whole files, where somebody has put them
EXAMPLES = 200
UPSTREAM = re.compile(r"#### (\-?[0-9\.\,]+)")  # grade_school_math/dataset.py of openai/grade-school-math


def upstream(text: str) -> str | None:
    """The answer that upstream's evaluation reads in a text."""
    found = UPSTREAM.search(text)
    return found[1].strip().replace(",", "") if found else None


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def write(folder: Path, *records: dict | str) -> Path:
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    (folder / "train.jsonl").write_text("\n".join(lines))
    return folder


def test_a_record_becomes_a_row():
    first, *rest = gsm8k.rows("train", folder=FIXTURES)
    assert first == {
        "id": "train-1",
        "prompt": [
            {
                "role": "user",
                "content": "Natalia sold clips to 48 of her friends in April, and then she sold half as many "
                "clips in May. How many clips did Natalia sell altogether in April and May?"
                "\n\nEnd your response with: Answer: <number>",
            }
        ],
        "completion": [
            {
                "role": "assistant",
                "content": "Natalia sold 48/2 = 24 clips in May.\nNatalia sold 48+24 = 72 clips altogether "
                "in April and May.\nAnswer: 72",
            }
        ],
        "answer": "72",
    }
    assert [row["answer"] for row in rest] == ["10", "5", "1080", "-7"]


def test_one_training_question_in_ten_is_kept_for_validation(tmp_path):
    train, kept = gsm8k.rows("train", folder=FIXTURES), gsm8k.rows("validation", folder=FIXTURES)
    assert [row["id"] for row in kept] == ["train-6", "train-7"]
    assert not {row["id"] for row in train} & {row["id"] for row in kept}
    lines = (FIXTURES / "train.jsonl").read_text().split("\n")[::-1]
    moved = gsm8k.rows("validation", folder=write(tmp_path, *lines))
    assert [row["prompt"] for row in moved] == [row["prompt"] for row in kept[::-1]]


def test_the_test_split_has_its_own_file(tmp_path):
    with pytest.raises(ValueError, match=r"has no test\.jsonl or test\.json"):
        gsm8k.rows("test", folder=FIXTURES)
    shutil.copy(FIXTURES / "train.jsonl", tmp_path / "test.json")
    assert [row["id"] for row in gsm8k.rows("test", folder=tmp_path)] == [f"test-{i}" for i in range(1, 8)]
    assert len(gsm8k.rows("test", 3, seed=1, folder=tmp_path)) == 3


def test_the_hub_is_asked_for_the_right_part(monkeypatch):
    asked = []

    def from_hub(*words):
        asked.append(words)
        return [{"question": "How many?", "answer": "Many.\n#### 1,234.50"}]

    monkeypatch.setattr("pixeltune.tasks.benchmarks.dataset.from_hub", from_hub)
    (row,) = gsm8k.rows("test")
    assert row["answer"] == "1234.50"
    assert gsm8k.rows("validation") + gsm8k.rows("train") == [{**row, "id": "train-1"}]
    assert asked == [("openai/gsm8k", "main", part) for part in ("test", "train", "train")]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"question": "How many?"}, "gsm8k train, record 1: no 'answer'"),
        ({"question": 1, "answer": "#### 1"}, "gsm8k train, record 1: 'question' is of the type int"),
        ({"question": " ", "answer": "#### 1"}, "gsm8k train, record 1: the question is empty"),
        ({"question": "How many?", "answer": "1"}, "record 1: the answer does not end in '#### <number>'"),
        ({"question": "How many?", "answer": "#### many"}, "record 1: no number in the answer ' many'"),
    ],
)
def test_a_record_that_is_not_one_is_named(record, message, tmp_path):
    with pytest.raises(ValueError, match=re.escape(message)):
        gsm8k.rows("train", folder=write(tmp_path, record))


def test_splits_and_categories_that_are_not_there():
    with pytest.raises(ValueError, match="splits train, validation, test, not 'dev'"):
        gsm8k.rows("dev", folder=FIXTURES)
    with pytest.raises(ValueError, match="no category 'hard': it has none"):
        gsm8k.rows("train", folder=FIXTURES, category="hard")


def test_scores_and_rewards():
    row = {"answer": "1080"}
    said = ["36 * 30\nAnswer: $1,080.", "#### 1,080", r"\boxed{1080}", "Answer: 1081", "I do not know.", ""]
    right = [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    assert [gsm8k.score(row, text) for text in said] == right
    assert gsm8k.reward(said, answer=["1080"] * 6) == right
    assert gsm8k.shaped_reward(said, answer=["1080"] * 6) == [1.0, 0.01, 0.01, 0.4, 0.0, 0.0]


@pytest.mark.parametrize("part", ["train", "test"])
def test_whole_files_and_upstreams_rule(part):
    """On every reference answer, and on every answer to another question, the score is upstream's verdict."""
    if not (SHARED / f"{part}.jsonl").is_file():
        pytest.skip("no gsm8k here")
    splits = ("train", "validation") if part == "train" else ("test",)
    rows = [row for split in splits for row in gsm8k.rows(split, folder=SHARED)]
    rows.sort(key=lambda row: int(row["id"].rpartition("-")[2]))
    records = read(SHARED / f"{part}.jsonl")
    assert len(rows) == len(records) == {"train": 7473, "test": 1055}[part]
    for i, (row, record) in enumerate(zip(rows, records, strict=True)):
        text = row["completion"][0]["content"]
        assert row["answer"] == upstream(record["answer"])
        assert not re.search("<<|####", text)
        assert text.endswith(f"\nAnswer: {row['answer']}")
        assert gsm8k.score(row, text) == gsm8k.score(row, record["answer"]) == 1.0
        for other in (other["answer"] for other in records[max(0, i - 3) : i]):
            assert gsm8k.score(row, other) == (upstream(other) == upstream(record["answer"]))


def test_one_in_ten_of_the_whole_file():
    if not (SHARED / "train.jsonl").is_file():
        pytest.skip("no gsm8k here")
    train, kept = gsm8k.rows("train", folder=SHARED), gsm8k.rows("validation", folder=SHARED)
    assert len(train) + len(kept) == 7473
    assert 650 < len(kept) < 850
    assert not {row["prompt"][0]["content"] for row in train} & {row["prompt"][0]["content"] for row in kept}


@settings(max_examples=EXAMPLES)
@given(st.text() | st.lists(st.sampled_from(["Answer:", "####", "-", ".", ",", "7", " "])).map("".join))
def test_garbage_never_raises_and_scores_nothing(text):
    assert gsm8k.score({"answer": "31415926"}, text) == 0.0
    assert gsm8k.reward([text], answer=["31415926"]) == [0.0]
    assert gsm8k.shaped_reward([text], answer=["31415926"])[0] <= 0.4
