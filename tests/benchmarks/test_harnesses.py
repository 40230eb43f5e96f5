"""What is said of harnesses: the page holds the table, versions are those that are installed, rows are those asked."""

from __future__ import annotations

import json

import pytest

from benchmarks import harnesses
from benchmarks.common import harness_files, harness_runs
from benchmarks.common.harness_environments import PACKAGES, RUNNERS
from benchmarks.common.harness_runs import HARNESSES
from documents import GUIDE

CELLS = json.loads(harnesses.OUT.read_text())["cells"]
PAGE = (GUIDE / "harnesses.md").read_text()
RECORDED = json.loads(harnesses.RECORDED.read_text())


def test_the_page_holds_the_table_of_the_results():
    assert harnesses.table(CELLS) in PAGE


@pytest.mark.parametrize("name", HARNESSES)
def test_a_harness_says_of_every_row_what_our_own_evaluation_says(name):
    for side in harnesses.SIDES:
        theirs = CELLS[f"{name}, {side}"]["right"]
        assert theirs == CELLS[f"pixeltune, {HARNESSES[name].task}, {side}"]["right"]
        assert len(theirs) == 100


@pytest.mark.parametrize("name", HARNESSES)
def test_versions_are_those_of_the_requirements(name):
    environment = HARNESSES[name].environment
    first = (RUNNERS / f"{environment}.txt").read_text().splitlines()[0]
    version = first.partition("==")[2]
    assert {CELLS[f"{name}, {side}"]["version"] for side in harnesses.SIDES} == {version}
    assert RECORDED[name]["version"] == version
    assert f"| {version}" in PAGE
    assert set(PACKAGES) == {path.stem for path in RUNNERS.glob("*.txt")}


@pytest.mark.parametrize("task", ["sums", "sums, 2 shots", "calls", "calls, hint"])
def test_our_rows_are_those_of_the_files_and_their_references_are_right(task, tmp_path):
    harness_files.write(tmp_path, 20)
    known, rows = harness_files.ours(task, tmp_path, 20)
    assert len(rows) == 20
    for row in rows:
        said = row["completion"][0]["content"] if "completion" in row else "No tool fits."
        assert known.score(row, said) == 1.0
    if "calls" in task:
        assert [row["id"] for row in rows] == harness_files.ids(tmp_path)
        assert all((harness_files.HINT in row["tools"]) == ("hint" in task) for row in rows)
    else:
        lines = (tmp_path / "sums" / "test.jsonl").read_text().splitlines()
        assert [row["prompt"][-1]["content"] for row in rows] == [
            json.loads(line)["question"] for line in lines
        ]
        assert {len(row["prompt"]) for row in rows} == {5 if "shots" in task else 1}


def test_the_sentence_behind_descriptions_is_bfcl_eval_s(tmp_path, monkeypatch):
    monkeypatch.setenv("BFCL_PROJECT_ROOT", str(tmp_path))  # it makes folders there when it is imported
    utils = pytest.importorskip("bfcl_eval.utils")
    harness_files.write(tmp_path, 12)
    file = tmp_path / "bfcl" / "BFCL_v4_multiple.json"
    question = json.loads(file.read_text().splitlines()[0])
    (row,) = [r for r in harness_files.ours("calls, hint", tmp_path, 12)[1] if r["id"] == question["id"]]
    (worded,) = utils.add_language_specific_hint_to_function_doc([question])
    told = [tool["function"]["description"] for tool in json.loads(row["tools"])]
    assert told == [function["description"] for function in worded["function"]]


def test_rows_that_bfcl_eval_does_not_call_wrong_are_right_if_it_counted_them_all(tmp_path):
    harness_files.write(tmp_path, 12)
    names = harness_files.ids(tmp_path)
    file = tmp_path / "out" / "score" / "model" / "non_live" / "BFCL_v4_multiple_score.json"
    file.parent.mkdir(parents=True)
    file.write_text(f'{{"total_count": {len(names)}}}\n{{"id": "{names[1]}"}}\n')
    assert HARNESSES["bfcl-eval, calls"].marks(tmp_path) == [1.0, 0.0] + [1.0] * 10
    file.write_text('{"total_count": 11}\n')
    with pytest.raises(RuntimeError, match="did not score all rows"):
        HARNESSES["bfcl-eval, calls"].marks(tmp_path)


def test_commands_are_shown_as_a_reader_types_them():
    for name, harness in HARNESSES.items():
        for command in harness_runs.shown(harness, harness.model[1]):
            assert str(RUNNERS.parent) not in command
            assert command in CELLS[f"{name}, artwork"]["commands"]
