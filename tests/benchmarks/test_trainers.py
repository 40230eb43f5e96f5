"""TRL's other trainers: the table of docs/results/objectives.md is whole, and what it calls supported is."""

from __future__ import annotations

import json

import pytest

from benchmarks.common.trainer_runs import RECIPES, find_habits, find_trainers, train
from benchmarks.trainers import BEGIN, DOCS, END, OUT, SUPPORTED, TESTED, outcome, table


@pytest.fixture(scope="module")
def report() -> dict:
    return json.loads(OUT.read_text())


def test_the_table_has_every_trainer_of_the_installed_trl(report):
    found = find_trainers()
    assert {"SFTTrainer", "orpo.ORPOTrainer", "gkd.GKDTrainer"} <= set(found)
    assert set(report["trainers"]) == set(found) == set(RECIPES), "run benchmarks/trainers.py again"


def test_the_docs_show_the_committed_results(report):
    shown = DOCS.read_text().partition(BEGIN)[2].partition(END)[0].strip()
    assert shown == table(report), "run benchmarks/trainers.py --table"


def test_what_the_table_calls_supported_worked_and_every_failure_says_why(report):
    for name, record in report["trainers"].items():
        said = outcome(record, report["before"])
        assert said == "works" if name in SUPPORTED else RECIPES[name].why, name
        assert record.get("base_unchanged", "error" in record), name


@pytest.fixture(scope="module")
def habits(bundled) -> dict:
    return find_habits()


@pytest.mark.parametrize("name", TESTED)
def test_a_supported_trainer_lifts_the_held_out_score(habits, name, tmp_path):
    """Pixels moved, base weights did not, and the PNG's score is far outside what the start picture gets."""
    record = train(name, habits, str(tmp_path))
    assert record["pixels_moved"] > 1
    assert record["base_unchanged"]
    assert record["after"]["n"] >= 40
    assert outcome(record, habits["before"]) == "works"
