from __future__ import annotations

import pytest

from pixeltune.evaluate import evaluate, wilson
from pixeltune.tasks import calls, sums, turns


class Parrot:
    """Says the reference completion of every row it is asked about, except for the first few."""

    def __init__(self, task, rows, wrong: int = 0):
        self.answers = {row["prompt"][-1]["content"]: row["completion"] for row in rows}
        self.wrong, self.asked = wrong, []

    def complete(self, conversations, tools, max_new_tokens):
        self.asked += conversations
        said = []
        for messages in conversations:
            user = next(m["content"] for m in messages if m["role"] == "user")
            spoken = sum(m["role"] == "assistant" for m in messages)
            said.append([m["content"] for m in self.answers[user] if m["role"] == "assistant"][spoken])
        for i in range(min(self.wrong, len(said))):
            said[i] = "no"
        return said


@pytest.mark.parametrize(
    ("right", "n", "interval"),
    [  # Newcombe (1998), Statistics in Medicine 17, table I, method 3
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0000, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_wilson_gives_the_published_intervals(right, n, interval):
    assert wilson(right, n) == pytest.approx(interval, abs=5e-5)


def test_wilson_of_nothing_says_nothing():
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("task", [sums, calls, turns], ids=lambda task: task.NAME)
def test_reference_answers_score_full_marks(task):
    rows = list({row["prompt"][0]["content"]: row for row in task.rows("test", 130)}.values())
    result = evaluate(task, rows, Parrot(task, rows))
    assert (result.accuracy, result.n) == (1.0, len(rows))
    assert len(result.records) == len(rows)


def test_wrong_answers_count_and_the_instruction_goes_first():
    rows = sums.rows("test", 50)
    parrot = Parrot(sums, rows, wrong=10)
    result = evaluate(sums, rows, parrot, "Be good.")
    assert result.accuracy == 0.8
    assert result.ci95 == wilson(40, 50)
    assert all(messages[0] == {"role": "system", "content": "Be good."} for messages in parrot.asked)
    assert "records" not in result.summary()
