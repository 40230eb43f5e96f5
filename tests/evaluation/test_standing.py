"""What the bar of an evaluation says, and in which order rows are asked."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from rich.progress import Progress

from pixeltune.evaluation import bars, scoring
from pixeltune.evaluation.backends import Reply
from pixeltune.evaluation.evaluate import evaluate
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.scoring import score_rows
from pixeltune.tasks.synthetic import calls, refusals


def record(score: float | None, tokens: int | None) -> dict:
    return {"score": score, "completion_tokens": tokens, "error": "gone" if score is None else None}


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(bars, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    return now


def test_after_the_first_batch_it_says_score_speed_and_time(clock):
    standing = bars.Standing(40)
    clock[0] += 1000  # loading
    assert standing.begin("sums, off", 20) == "sums, off"
    clock[0] += 10
    said = standing.after([record(1.0, 30), record(0.0, 70), record(1.0, 100), record(None, None)], 16)
    assert said == "sums, off: 66.7% of 3, 20 tokens/s, 90 s left in all"
    clock[0] += 3590
    assert standing.after([record(1.0, 160)], 15) == "sums, off: 75.0% of 4, 0 tokens/s, 7.0 h left in all"
    clock[0] += 50
    assert standing.begin("sums, [b].png", 20) == r"sums, \[b].png"
    assert standing.during(9, 10, 4) == standing.title
    clock[0] += 400
    assert (
        standing.after([record(0.5, 0)] * 5, 0) == r"sums, \[b].png: 50.0% of 5, 0 tokens/s, 0 s left in all"
    )


def test_after_the_first_tokens_it_says_how_long_everything_may_take(clock):
    standing = bars.Standing(60)
    standing.begin("sums, off", 20)
    said = []
    for tokens in range(1, 5):
        clock[0] += 2 if tokens == 1 else 0.5
        said.append(standing.during(tokens, 17, 10))
    # Ten rows: 2 s until the first token, 16 more of half a second; six times, less what is over.
    assert said == ["sums, off"] * 3 + ["sums, off: 20 tokens/s, up to about 56 s left in all"]


ROWS = [
    {"prompt": [{"role": "user", "content": "x" * size}], "answer": "", "id": size}
    for size in (5, 900, 7, 800, 6, 850, 8, 950)
]
TASK = SimpleNamespace(
    options=None,
    next_turn=None,
    max_new_tokens=1,
    score=lambda row, text: float(text == "850") + row["id"] / 1e3,
)


class Counting(InProcess):
    """Says how long a question is, and keeps what it was asked."""

    def __init__(self) -> None:
        self.chunk, self.asked = 4, []

    def complete(self, conversations, tools, max_new_tokens):
        self.asked.append([len(talk[-1]["content"]) for talk in conversations])
        return [Reply(str(size), 1, 1, 0.0) for size in self.asked[-1]]


def test_rows_of_similar_length_are_asked_together_the_longest_first():
    backend, seen = Counting(), []
    score_rows(TASK, ROWS, backend, onlooker=lambda records, left: seen.append((len(records), left)))
    assert backend.asked == [[950, 900, 850, 800], [8, 7, 6, 5]]
    assert seen == [(4, 4), (4, 0)]
    assert score_rows(calls.TASK, calls.rows("test", 3), Counting()).n == 3


def test_scores_and_files_do_not_depend_on_which_rows_are_asked_together(tmp_path, monkeypatch):
    together, plain = tmp_path / "together.jsonl", tmp_path / "plain.jsonl"
    backend = Counting()
    result = score_rows(TASK, ROWS, backend, journal=together)
    monkeypatch.setattr(scoring, "_size", lambda row: 0)
    other = Counting()
    assert score_rows(TASK, ROWS, other, journal=plain) == result
    assert other.asked == [[5, 900, 7, 800], [6, 850, 8, 950]] != backend.asked
    assert [record["completions"] for record in result.records] == [[str(row["id"])] for row in ROWS]
    assert together.read_text() == plain.read_text() == scoring.lines(result.records)
    # A killed one that goes on leaves the same file.
    monkeypatch.undo()
    together.write_text(scoring.lines([result.records[i] for i in (7, 1, 5)]))
    assert score_rows(TASK, ROWS, backend, journal=together) == result
    assert backend.asked[2:] == [[800, 8, 7, 6], [5]]
    assert together.read_text() == plain.read_text()


def test_eval_says_early_how_long_it_takes_then_the_score_so_far(tmp_path, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(
        Progress, "update", lambda self, line, **what: said.append(what.get("description") or "")
    )
    all_of_them = refusals.rows()
    monkeypatch.setattr(refusals, "rows", lambda: all_of_them[:2])
    evaluate("sums", rows=4, batch_size=2, output_dir=tmp_path, quiet=True)
    told = list(dict.fromkeys(filter(None, said)))
    assert told[0] == "sums, off"
    assert told[1].startswith("sums, off: ")
    assert "up to about " in told[1]
    assert [title.split(":")[1].split(",")[0] for title in told if "% of" in title] == [
        *(" 0.0% of 2", " 0.0% of 4", " 0.0% of 2")
    ]
    assert told[-1].endswith(" 0 s left in all")
