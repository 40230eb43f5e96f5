from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest

from pixeltune.evaluation.backends import Reply
from pixeltune.evaluation.scoring import FAILURES, score_rows
from pixeltune.evaluation.statistics import wilson
from pixeltune.tasks.synthetic import calls, sums, turns


class Parrot:
    """Says the reference completion of every row it is asked about, except for the first few."""

    chunk, workers = 100, 1

    def __init__(self, task, rows, wrong: int = 0):
        self.answers = {row["prompt"][-1]["content"]: row["completion"] for row in rows}
        self.wrong, self.asked, self.lock = wrong, [], threading.Lock()

    def complete(self, conversations, tools, max_new_tokens):
        with self.lock:
            self.asked += conversations
        said = []
        for messages in conversations:
            user = next(m["content"] for m in messages if m["role"] == "user")
            spoken = sum(m["role"] == "assistant" for m in messages)
            said.append([m["content"] for m in self.answers[user] if m["role"] == "assistant"][spoken])
        for i in range(min(self.wrong, len(said))):
            said[i] = "no"
        return [Reply(text, 10, len(text), 0.5) for text in said]


class Flaky(Parrot):
    """One request at a time; those whose number `fails` says get no answer."""

    chunk = 1

    def __init__(self, task, rows, fails, workers: int = 1):
        super().__init__(task, rows)
        self.fails, self.workers = fails, workers

    def complete(self, conversations, tools, max_new_tokens):
        (reply,) = super().complete(conversations, tools, max_new_tokens)
        return [Reply("", error="HTTP 500") if self.fails(len(self.asked)) else reply]


def distinct(task, n: int) -> list[dict]:
    """Rows of which no two ask the same, so that a parrot can tell them apart."""
    return list({row["prompt"][0]["content"]: row for row in task.rows("test", 2 * n)}.values())[:n]


@pytest.mark.parametrize("task", [sums.TASK, calls.TASK, turns.TASK], ids=lambda task: task.name)
def test_reference_answers_score_full_marks(task):
    rows = distinct(task, 100)
    result = score_rows(task, rows, Parrot(task, rows))
    assert (result.score, result.n, result.failed) == (1.0, len(rows), 0)
    assert [record["row"] for record in result.records] == list(range(len(rows)))


def test_wrong_answers_count_and_the_instruction_goes_first():
    rows = distinct(sums.TASK, 50)
    parrot = Parrot(sums.TASK, rows, wrong=10)
    result = score_rows(sums.TASK, rows, parrot, "Be good.")
    assert result.score == 0.8
    assert result.ci95 == wilson(40, 50)
    assert all(messages[0] == {"role": "system", "content": "Be good."} for messages in parrot.asked)
    assert "records" not in result.summary()


@pytest.mark.parametrize("workers", [1, 7])
def test_failed_requests_are_not_wrong_answers(workers):
    rows = distinct(sums.TASK, 60)
    result = score_rows(sums.TASK, rows, Flaky(sums.TASK, rows, lambda number: number % 5 == 0, workers))
    assert (result.score, result.n, result.failed) == (1.0, 48, 12)
    failed = [record for record in result.records if record["error"]]
    assert {(record["score"], record["error"]) for record in failed} == {(None, "HTTP 500")}


def test_an_engine_that_is_gone_ends_the_evaluation_and_what_it_said_is_kept(tmp_path):
    rows, journal = distinct(sums.TASK, 90), tmp_path / "rows.jsonl"
    with pytest.raises(
        RuntimeError, match=f"{FAILURES} requests failed one after another .HTTP 500.; what was"
    ):
        score_rows(sums.TASK, rows, Flaky(sums.TASK, rows, lambda number: number > 33), journal=journal)
    parrot = Parrot(sums.TASK, rows)
    result = score_rows(sums.TASK, rows, parrot, journal=journal)
    assert (result.score, result.n, result.failed) == (1.0, 90, 0)
    assert len(parrot.asked) == 90 - 33


def test_a_killed_evaluation_goes_on_where_it_was(tmp_path):
    rows, journal = distinct(calls.TASK, 40), tmp_path / "new" / "rows.jsonl"
    whole = score_rows(calls.TASK, rows, Parrot(calls.TASK, rows), journal=journal)
    lines = journal.read_text().splitlines(keepends=True)
    assert [json.loads(line)["completion_tokens"] for line in lines] == [
        len(row["completion"][0]["content"]) for row in rows
    ]
    journal.write_text("".join(lines[:25]) + lines[25][:30])  # as a kill leaves it
    parrot = Parrot(calls.TASK, rows)
    again = score_rows(calls.TASK, rows, parrot, journal=journal)
    assert again == whole
    assert len(parrot.asked) == 15
    assert journal.read_text() == "".join(lines)


def test_a_journal_of_other_rows_is_refused(tmp_path):
    rows, journal = distinct(sums.TASK, 3), tmp_path / "rows.jsonl"
    score_rows(sums.TASK, rows, Parrot(sums.TASK, rows), journal=journal)
    with pytest.raises(ValueError, match="line 3 is no record of these rows"):
        score_rows(sums.TASK, rows[:2], Parrot(sums.TASK, rows), journal=journal)
    journal.write_text("not json\n")
    with pytest.raises(ValueError, match="line 1 is no record"):
        score_rows(sums.TASK, rows, Parrot(sums.TASK, rows), journal=journal)


def test_answers_of_a_journal_are_scored_as_the_task_scores_now(tmp_path):
    """The journal's name says what was asked, and not how it is scored."""
    rows, journal = distinct(sums.TASK, 4), tmp_path / "rows.jsonl"
    parrot = Parrot(sums.TASK, rows)
    assert score_rows(replace(sums.TASK, score=lambda *_: 0.0), rows, parrot, journal=journal).score == 0.0
    assert score_rows(sums.TASK, rows, parrot, journal=journal).score == 1.0
    assert len(parrot.asked) == len(rows)
    assert {json.loads(line)["score"] for line in journal.read_text().splitlines()} == {1.0}


def test_many_workers_ask_every_row_once():
    rows = distinct(calls.TASK, 100)
    parrot = Flaky(calls.TASK, rows, lambda number: False, workers=9)
    seen = []
    result = score_rows(calls.TASK, rows, parrot, progress=lambda done, n: seen.append((done, n)))
    assert sorted(json.dumps(m) for m in parrot.asked) == sorted(json.dumps(row["prompt"]) for row in rows)
    assert seen == [(done, len(rows)) for done in range(len(rows) + 1)]
    assert result.score == 1.0
