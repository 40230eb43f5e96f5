"""What may lift an artwork: every change is a setting that painting knows, and is compared on the same rows."""

from __future__ import annotations

import pytest

from benchmarks.lifts import LIFTS, TASKS, USUAL, table
from pixeltune.training.arguments import read_settings


@pytest.mark.parametrize("name", LIFTS)
def test_every_change_is_a_setting_of_painting_and_changes_something(name, tmp_path):
    given = {"data": "rows.jsonl", "output_dir": str(tmp_path), **USUAL}
    said = [dict(vars(part)) for part in read_settings("sft", given | LIFTS[name])]
    usual = [dict(vars(part)) for part in read_settings("sft", given)]
    pairs = [(k, one[k], other[k]) for one, other in zip(said, usual, strict=True) for k in one]
    changed = {k for k, value, before in pairs if k != "distributed_state" and value != before}
    assert set(LIFTS[name]) <= changed
    assert bool(changed) == bool(LIFTS[name])


def test_a_change_is_compared_with_the_default_on_the_seeds_that_both_have():
    task, usual = TASKS[0], next(iter(LIFTS))
    cells = {
        f"{task}/{usual}/41": {"right": "10", "each": [1.0, 2.0], "seconds": 10.0},
        f"{task}/144 tokens/41": {"right": "11", "each": [0.5, 1.0], "seconds": 15.0},
        f"{task}/144 tokens/42": {"right": "00", "each": [9.0, 9.0], "seconds": 99.0},
    }
    lines = table(cells).splitlines()
    assert len(lines) == 4
    assert lines[2].endswith("| 1.500 |  |  |")
    assert "| 144 tokens | 50.0%" in lines[3]
    assert "| -0.750 (" in lines[3]
    assert lines[3].endswith("| 1.50 |")
