from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pixeltune.rows import read
from pixeltune.tasks import benchmarks
from pixeltune.tasks.answers import right_answer

FIXTURES = Path(__file__).parents[1] / "fixtures"
SHARED = Path(__file__).parents[3] / "shared" / "data"  # whole files, where somebody has put them


@pytest.mark.parametrize(
    ("name", "answers", "first"),
    [
        ("gsm8k", ["72", "10", "5", "1080", "-7"], "Natalia sold clips to 48 of her friends"),
        ("svamp", ["51", "1", "17", "22", "2"], "Each pack of dvds costs 76 dollars."),
    ],
)
def test_records_become_rows_that_train_reads(name, answers, first, tmp_path, capsys):
    out = tmp_path / "new" / "rows.jsonl"
    assert benchmarks.main([name, "all", str(out), "--data", str(FIXTURES)]) == 0
    assert capsys.readouterr().out == f"{out}: 5 rows\n"
    rows = read(out, ("prompt",))
    assert [row["answer"] for row in rows] == answers
    (message,) = rows[0]["prompt"]
    assert message["role"] == "user"
    assert message["content"].startswith(first)
    assert message["content"].endswith("?\n\nEnd your response with: Answer: <number>")


def test_hub_names_and_their_columns(monkeypatch):
    """The hub's SVAMP has answers as texts, and more columns."""
    asked = []

    def load_dataset(*arguments, **options):
        asked.append((*arguments, options["split"]))
        return [{"Body": "Two pens.", "Question": "How many?", "Answer": "2.5", "Type": "Addition"}]

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    (row,) = benchmarks.rows("svamp", "train")
    assert row["answer"] == "2.5"
    assert row["prompt"][0]["content"].startswith("Two pens. How many?\n")
    with pytest.raises(ValueError, match="gsm8k test, record 1: not a record of gsm8k"):
        benchmarks.rows("gsm8k", "test")
    assert asked == [("ChilleD/SVAMP", None, "train"), ("openai/gsm8k", "main", "test")]


def test_what_goes_wrong_is_one_line_and_writes_nothing(tmp_path, monkeypatch, capsys):
    def gone(*_, **__):
        raise ConnectionError("no network\nat all")

    monkeypatch.setattr("datasets.load_dataset", gone)
    out = tmp_path / "out.jsonl"

    def fails(*words: str) -> str:
        assert benchmarks.main([*words[:2], str(out), *words[2:]]) == 1
        assert not list(tmp_path.glob("*out*"))
        return capsys.readouterr().err

    assert "cannot read openai/gsm8k from the hub (no network): give a folder" in fails("gsm8k", "train")
    assert "has none of train.jsonl, train.json" in fails("svamp", "train", "--data", str(FIXTURES))
    for text, message in [
        ("{", "neither JSON Lines nor a JSON list"),
        ("[" * 100_000, "neither JSON Lines nor a JSON list"),
        ("[1]", "gsm8k train, record 1: not a record"),
        ('{"question": "How many?", "answer": "#### many"}', "record 1: no question, or no number in"),
        ('{"question": " ", "answer": "#### 1"}', "record 1: no question"),
    ]:
        (tmp_path / "train.jsonl").write_text(text)
        assert message in fails("gsm8k", "train", "--data", str(tmp_path))
    with pytest.raises(ValueError, match="not 'mmlu' in 'train'"):
        benchmarks.rows("mmlu", "train")


def test_splits_have_their_own_files(tmp_path):
    shutil.copy(FIXTURES / "gsm8k.jsonl", tmp_path / "test.jsonl")
    shutil.copy(FIXTURES / "svamp.json", tmp_path / "SVAMP.json")  # the original's name
    assert len(benchmarks.rows("gsm8k", "test", tmp_path)) == 5
    assert len(benchmarks.rows("svamp", "all", tmp_path)) == 5


@pytest.mark.parametrize(
    ("name", "split", "file", "count"),
    [("gsm8k", "train", "train", 7473), ("gsm8k", "test", "test", 1055), ("svamp", "all", "svamp", 1000)],
)
def test_no_answer_of_the_whole_files_is_lost(name, split, file, count):
    path = SHARED / name / f"{file}.jsonl"
    if not path.is_file():
        pytest.skip(f"no {name} here")
    rows = benchmarks.rows(name, split, path.parent)
    records = [json.loads(line) for line in path.read_text().split("\n") if line]
    assert len(rows) == len(records) == count
    for row, record in zip(rows, records, strict=True):
        wanted = record["answer"].split("#### ")[1] if name == "gsm8k" else record["Answer"]
        assert right_answer(row) == float(str(wanted).replace(",", ""))
        question = record["question"] if name == "gsm8k" else record["Question"]
        assert question.strip() in row["prompt"][0]["content"]
