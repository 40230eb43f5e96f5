"""Sums with an answer written as the bundled model never saw one: on no card, in no instruction."""

from __future__ import annotations

import re

from pixeltune.tasks.synthetic import sums

BOXED = re.compile(r"\\boxed\{(\d+)\}")
FIELD = re.compile(r'\{"result": (\d+)\}')


def boxed(split: str, n: int, seed: int = 0) -> list[dict]:
    """Rows of sums whose last line is \\boxed{N} instead of Answer: N."""
    return _ending(split, n, seed, "\\boxed{%d}")


def score(row: dict, text: str) -> float:
    return _right(row, BOXED.findall(text))


def field(split: str, n: int, seed: int = 0) -> list[dict]:
    """Rows of sums whose last line is {"result": N}; chosen before anything was painted for it."""
    return _ending(split, n, seed, '{"result": %d}')


def field_score(row: dict, text: str) -> float:
    return _right(row, FIELD.findall(text))


def _ending(split: str, n: int, seed: int, last: str) -> list[dict]:
    rows = sums.rows(split, n, seed)
    for row in rows:
        head = row["completion"][0]["content"].rsplit("\n", 1)[0]
        row["completion"][0]["content"] = f"{head}\n{last % row['answer']}"
    return rows


def _right(row: dict, found: list[str]) -> float:
    return float(bool(found) and int(found[-1]) == row["answer"])
