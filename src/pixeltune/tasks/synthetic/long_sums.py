"""long_sums: sums of two to four steps, scored as `sums`.

The bundled model was raised on one step or two and ends after the second, however well it is told: a task
with room above the best words.
"""

from __future__ import annotations

import random

from pixeltune.tasks.base import Task
from pixeltune.tasks.synthetic import sums

NAME = "long_sums"
STEPS = (2, 2, 2, 3, 4)


def problem(rng: random.Random) -> sums.Problem:
    """Numbers to 99 that are added or taken away, no negative results; half of them in words."""
    total = rng.randint(1, 99)
    steps = []
    for _ in range(rng.choice(STEPS)):
        op = rng.choice("+-") if total > 1 else "+"
        b = rng.randint(1, min(total, 99) if op == "-" else 99)
        steps.append((total, op, b))
        total = sums.calculate(*steps[-1])
    return sums.Problem(sums.ask(steps, rng), tuple(steps))


def rows(split: str, n: int, seed: int = 0) -> list[dict]:
    """``n`` rows of ``split`` ("train" or "test") as those of `sums.rows`; no problem is in both.

    Raises:
        ValueError: for another split.
    """
    return sums.rows_of(NAME, problem, split, n, seed)


TASK = Task(
    name=NAME,
    instruction=sums.TASK.instruction,
    max_new_tokens=160,
    rows=rows,
    score=sums.score,
    reward=sums.reward,
)
