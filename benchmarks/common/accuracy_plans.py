"""How much of everything `accuracy.py` does, for each of its models."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "results"
RELEASED_FOLDER = "accuracy_released"  # folder in it, a file for each model
TUNE_SEED, VALIDATION_SEED = 41, 1000


@dataclass(frozen=True)
class Plan:
    """How much of everything. Only what changes a cell's numbers is part of its settings."""

    verb: str
    steps: int
    batch: int
    group: int  # completions of a question (grpo)
    curve: tuple[int, ...]
    rows: int = 1000
    validation: int = 200
    curve_rows: int = 100
    test: int = 200
    seeds: tuple[int, ...] = (42, 43, 44)
    size_seeds: tuple[int, ...] = (42, 43, 44)
    sizes: tuple[int, ...] = ()
    configurations: int = 3
    onto: Plan | None = None
    """The trainings that these go on from, with the rate that was chosen for them; None: from nothing."""


PLANS = {
    "sft": Plan("sft", 40, 16, 0, (5, 10, 20, 40), sizes=(1, 3, 10, 30, 100, 300)),
    "grpo": Plan("grpo", 20, 64, 8, (5, 10, 20)),
}
_SMOL = Plan("sft", 120, 8, 0, (40, 80, 120), validation=50, curve_rows=50, test=300, seeds=(42, 43))
SMOL = {  # untrained it earns no reward, so there is nothing to learn from before it has seen right answers
    "sft": _SMOL,
    "grpo": replace(_SMOL, verb="grpo", steps=30, batch=16, group=4, curve=(15, 30), onto=_SMOL),
}
RELEASED = {  # test rows: each seed has its half of them, see `accuracy_real.part`
    "sft": Plan("sft", 200, 32, 0, (50, 100, 200), rows=6400, validation=100, test=1000, seeds=(42, 43)),
    "grpo": Plan("grpo", 100, 64, 8, (25, 50, 100), rows=6400, validation=100, test=1000, seeds=(42, 43)),
}
SMOKE = {"steps": 2, "curve": (1, 2), "rows": 16, "validation": 4, "curve_rows": 2, "test": 4, "seeds": (42,)}
SMOKE |= {"sizes": (1, 4), "size_seeds": (42,), "configurations": 1, "batch": 8, "group": 4}
FEW = 3  # training rows: with so many or fewer the other tasks are scored, too
# Of a released model, of which a step takes minutes on a CPU.
SMALLER = {"rows": 8, "validation": 2, "test": 2, "batch": 2, "group": 2}
