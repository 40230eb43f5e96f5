"""Is the bundled model able enough: the skills that are learned last, on held-out rows."""

from __future__ import annotations

import copy
from typing import Any

import torch

from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.scoring import score_rows
from pixeltune.tasks.synthetic import calls, sums, turns

GOALS = {sums.TASK: 0.90, calls.TASK: 0.95, turns.TASK: 0.90}
ROWS, SEED = 400, 7  # of the held-out split; `benchmarks/tiny_card.py` reports on those of seed 1


def scores(model: Any, processor: Any) -> dict[str, float]:
    """The share of `ROWS` held-out rows of each task answered rightly under its best instruction.

    Args:
        model: left as it is; what answers is a copy whose weights are rounded to bfloat16, as when exported.
        processor: the model's.
    """
    shipped = copy.deepcopy(model).eval()
    with torch.no_grad():
        for weight in shipped.parameters():  # not the whole model: positions' frequencies stay float32
            weight.copy_(weight.to(torch.bfloat16))
    backend = InProcess(shipped, processor)
    return {
        task.name: score_rows(task, task.rows("test", ROWS, SEED), backend, task.instruction).score
        for task in GOALS
    }


def missed(found: dict[str, float]) -> list[str]:
    """The tasks whose score is below its goal."""
    return [task.name for task, goal in GOALS.items() if found[task.name] < goal]
