"""Environments of evaluation harnesses, each of its own (`harnesses.py`)."""

from __future__ import annotations

from pathlib import Path

from benchmarks.common.engine_environments import ROOT, install, python

RUNNERS = ROOT / "benchmarks" / "harness_runners"

PACKAGES = {
    "lm-eval": "lm_eval",
    "lighteval": "lighteval",
    "evalscope": "evalscope",
    "bfcl-eval": "bfcl_eval",
}
"""What is called so on PyPI, by the name of its environment; requirements lie in `harness_runners/`."""


def build(harness: str) -> None:
    """Make a harness's environment, as its requirements say."""
    install(harness, RUNNERS / f"{harness}.txt")
    if harness == "lighteval":
        # At its start it fetches a file of another benchmark from GitHub, unless there is one of that name.
        (_site(harness) / "lighteval" / "tasks" / "tasks" / "tinyBenchmarks.pkl").touch()


def version(harness: str) -> str:
    """Of the harness that is installed there."""
    found = next(_site(harness).glob(f"{PACKAGES[harness]}-*.dist-info"))
    return found.name.removesuffix(".dist-info").partition("-")[2]


def _site(harness: str) -> Path:
    return next((python(harness).parents[1] / "lib").glob("python3*")) / "site-packages"
