"""Sums answered in \\boxed{}: an answer that is on no card of the bundled model and in no instruction."""

from __future__ import annotations

import re

from pixeltune.tasks.synthetic import sums

BOXED = re.compile(r"\\boxed\{(\d+)\}")


def boxed(split: str, n: int, seed: int = 0) -> list[dict]:
    """Rows of sums whose last line is \\boxed{N} instead of Answer: N."""
    rows = sums.rows(split, n, seed)
    for row in rows:
        head = row["completion"][0]["content"].rsplit("\n", 1)[0]
        row["completion"][0]["content"] = f"{head}\n\\boxed{{{row['answer']}}}"
    return rows


def score(row: dict, text: str) -> float:
    found = BOXED.findall(text)
    return float(bool(found) and int(found[-1]) == row["answer"])
