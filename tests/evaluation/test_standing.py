"""What the bar of an evaluation says, and in which order rows are asked."""

from __future__ import annotations

from types import SimpleNamespace

from pixeltune.evaluation import bars
from pixeltune.evaluation.backends import Reply
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.scoring import score_rows
from pixeltune.tasks.synthetic import calls


def record(score: float | None, tokens: int | None) -> dict:
    return {"score": score, "completion_tokens": tokens, "error": "gone" if score is None else None}


def test_after_the_first_batch_it_says_score_speed_and_time(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(bars, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    standing = bars.Standing("sums, off")
    now[0] += 10
    said = standing.after([record(1.0, 30), record(0.0, 70), record(1.0, 100), record(None, None)], 16)
    assert said == "sums, off: 66.7% of 3, 20 tokens/s, 40 s left"
    now[0] += 3590
    assert standing.after([record(1.0, 160)], 15) == "sums, off: 75.0% of 4, 0 tokens/s, 3.0 h left"


class Counting(InProcess):
    """Says nothing, and keeps what it was asked."""

    def __init__(self) -> None:
        self.chunk, self.asked = 4, []

    def complete(self, conversations, tools, max_new_tokens):
        sizes = [len(str(talk)) for talk in conversations]
        self.asked.append(sizes)
        return [Reply("", 1, 1, 0.0) for _ in conversations]


def test_rows_of_similar_length_are_asked_together_and_their_records_keep_their_places():
    rows = [
        {"prompt": [{"role": "user", "content": "x" * size}], "answer": "", "id": size}
        for size in (5, 900, 7, 800, 6, 850, 8, 950)
    ]
    backend, seen = Counting(), []
    task = SimpleNamespace(
        options=None, next_turn=None, max_new_tokens=1, score=lambda row, text: float(row["id"] > 100)
    )
    result = score_rows(task, rows, backend, onlooker=lambda records, left: seen.append((len(records), left)))
    long, short = backend.asked
    assert min(long) > max(short)
    assert [record["row"] for record in result.records] == list(range(8))
    assert [record["score"] for record in result.records] == [0, 1, 0, 1, 0, 1, 0, 1]
    assert seen == [(4, 4), (4, 0)]
    assert score_rows(calls.TASK, calls.rows("test", 3), Counting()).n == 3
