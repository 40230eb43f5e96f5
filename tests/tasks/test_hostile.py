"""Hostile completions: every task scores them, none raises, and garbage earns nothing."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pixeltune.tasks.base import BENCHMARKS, find_rows, find_task
from pixeltune.tasks.benchmarks import bfcl
from pixeltune.tasks.synthetic import calls, sums

FIXTURES = Path(__file__).parents[1] / "fixtures"
EXAMPLES = 10_000
MARKS = [
    *[
        "Answer:",
        "#### ",
        "\\boxed{",
        "}",
        "So the answer is",
        "API-Request: [",
        "(key='",
        "')]",
        "<think>",
        "</think>",
    ],
    *[
        "<tool_call>",
        "</tool_call>",
        '{"name": "',
        '", "arguments": {',
        "}}",
        "<function=",
        "<parameter=",
        ">",
        "</",
    ],
    *[
        "null",
        "NaN",
        "1e999",
        "-",
        "9" * 40,
        "[" * 500,
        "{" * 500,
        "\u0000",
        "\ud800",
        "٣",
        "1/0",
        "\\frac{1}{0}",
    ],
]


def _rows() -> list[tuple]:
    """A task and a row with a reference, one for every task and group."""
    out = [(calls.TASK, row) for row in calls.rows("test", 5) if row["call"] != "null"][:1]
    out.append((sums.TASK, next(row for row in sums.rows("test", 50) if row["answer"] > 99)))
    for name in BENCHMARKS:
        task = find_task(name)
        split = "train" if name == "gsm8k" else "test"
        first = {}
        for row in find_rows(name, split, None, 0, FIXTURES):
            if row.get("completion") or "options" in row:
                first.setdefault(row.get("group"), row)
        out += [(task, row) for row in first.values()]
    return out


ROWS = _rows()
LETTERS = "ABCDE"
GRADES = {"calls": calls.grade, "bfcl": bfcl.grade}


def test_there_is_something_to_score():
    """Each of these rows gives its reference full marks, so a score of nothing below means something."""
    assert {task.name for task, _ in ROWS} == {"calls", "sums", *BENCHMARKS}
    for task, row in ROWS:
        if "options" in row:
            said = task.options(row)[row["answer"]]
        else:
            turns = [m["content"] for m in row["completion"] if m["role"] == "assistant"]
            said = turns if task.next_turn else turns[0]
        assert task.score(row, said) == 1.0, (task.name, row["id"])


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(st.one_of(st.text(max_size=30), st.sampled_from(MARKS)), max_size=12).map("".join))
def test_garbage_earns_nothing_and_breaks_nothing(text):
    for task, row in ROWS:
        score = task.score(row, [text] if task.next_turn else text)
        # Chance may say a word of a reply, for which ROUGE gives a part, or the right one of a few letters.
        lucky = str(row.get("group")).endswith("response") or (
            task.name in ("aqua_rat", "bbh")
            and (answer := row["answer"].strip("()")) in text
            and answer in LETTERS
        )
        assert score == 0.0 or (lucky and score <= 1.0), task.name
        if task.name in GRADES:
            assert 0.0 <= GRADES[task.name](row, text) < 1.0
    json.dumps(text)
