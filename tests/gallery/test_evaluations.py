"""Reports of ``pixeltune eval`` on a page: real ones, broken ones."""

from __future__ import annotations

import json
import os

import pytest

from pixeltune.evaluation import journal
from pixeltune.evaluation.report import summary
from pixeltune.evaluation.scoring import result
from pixeltune.gallery.evaluations import ROWS_SHOWN, read_evaluation
from pixeltune.tasks.base import Task
from runs import make_evaluation, sample


def test_tables_intervals_and_answers(tmp_path):
    one = read_evaluation(make_evaluation(tmp_path / "eval"))
    table = one.tables[0]
    assert (one.name, one.model, table.task, table.rows) == ("eval", "tiny", "calls", 10)
    assert [(cells[0], span) for cells, span in table.lines] == [
        ("off", (0.0, 0.0, 0.28)),
        ("a.png", (0.9, 0.6, 0.98)),
    ]
    assert table.lines[1][0][1:3] == ["90.0%", "60.0% to 98.0%"]
    assert "50% of 40" in one.refusals
    assert len(table.answers) == ROWS_SHOWN
    assert table.answers[1].asked == "Question 1"
    assert table.answers[1].answers == [("off", "Good question!", 1.0), ("a.png", "dial(Emma)", 1.0)]


def test_what_the_evaluation_itself_writes_is_read(tmp_path):
    """A summary by `pixeltune.evaluation.report`, with groups, a metric, failures and nothing answered."""

    task = Task(name="any", max_new_tokens=1, score=lambda *_: 0.0, metrics=lambda rows, answers: {"f1": 0.5})

    def got(scores):
        return result([
            {"row": i, "id": str(i), "prompt": [], "completions": ["x"], "score": s, "prompt_tokens": 1,
             "completion_tokens": 1, "latency": 1.0, "error": "gone" if s is None else None}
            for i, s in enumerate(scores)
        ])  # fmt: skip

    rows = [{"group": "a"}, {"group": "b"}]
    results = {"off": got([0.0, 1.0]), "lost": got([None, None]), "a.png": got([1.0, 0.5])}
    part = summary(results, rows, task, "a.png")
    report = {"model": "m", "tasks": {"t": part}, "refusals": {}, "about": "."}
    (tmp_path / "report.json").write_text(json.dumps(report))
    lines = read_evaluation(tmp_path).tables[0].lines
    assert [cells[0] for cells, _ in lines if not cells[0].startswith(" ")] == ["off", "lost", "a.png"]
    spans = {cells[0]: span for cells, span in lines}
    assert spans["a.png"][0] == 0.75
    assert spans["lost"] is None
    assert spans["  f1"] is None


@pytest.mark.parametrize(
    "change",
    [
        {"tasks": 7},
        {"tasks": {"calls": {}}},
        {"tasks": {"calls": {"rows": 1, "candidates": {"off": {}}, "tests": [], "verdict": ""}}},
        {"tasks": {"calls": {"rows": "x", "candidates": [], "tests": [], "verdict": ""}}},
        {"refusals": {"off": {"harmful": "x"}}},
        {"refusals": [1]},
    ],
)
def test_other_reports_are_refused_in_one_line(change, tmp_path):
    path = make_evaluation(tmp_path) / "report.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match="no report of pixeltune eval"):
        read_evaluation(tmp_path)
    path.write_text("[" * 50_000)
    with pytest.raises(ValueError, match="is not JSON"):
        read_evaluation(tmp_path)


def test_an_interval_that_is_none_is_not_drawn(tmp_path):
    path = make_evaluation(tmp_path) / "report.json"
    report = json.loads(path.read_text())
    report["tasks"]["calls"]["candidates"]["off"]["ci95"] = [0.5, -3.0]
    path.write_text(json.dumps(report))
    lines = read_evaluation(tmp_path).tables[0].lines
    assert [span is None for _, span in lines] == [True, False]


def test_the_newest_journal_of_a_candidate_is_read_by_the_name_that_evaluations_give_it(tmp_path):
    make_evaluation(tmp_path)
    path = tmp_path / "report.json"
    path.write_text(path.read_text().replace("a.png", "few shot:2"))
    for settings, said in (({"seed": 1}, "old"), ({"seed": 2}, "new")):
        file = journal.file(tmp_path / "rows", "calls-few shot:2", settings)
        journal.append(file, [{"row": 1, "error": None, **sample("1", "Question 1", said, 1.0)}])
        os.utime(file, (settings["seed"], settings["seed"]))
    (answers,) = read_evaluation(tmp_path).tables[0].answers
    assert answers.answers == [("off", "Good question!", 1.0), ("few shot:2", "new", 1.0)]
    assert journal.newest(tmp_path / "rows", "calls-few") is None


def test_damaged_records_are_skipped(tmp_path):
    make_evaluation(tmp_path)
    file = tmp_path / "rows" / "calls-off-0123456789ab.jsonl"
    file.write_text('7\n{"row": "x"}\n[\n{"row": 1, "error": "gone"}\n' + file.read_text().split("\n")[2])
    answers = read_evaluation(tmp_path).tables[0].answers
    assert [answer.asked for answer in answers] == ["Question 2"]
