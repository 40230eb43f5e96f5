"""Every trainer of the installed TRL, stable and experimental, tried: a table of docs/results/objectives.md.

    python benchmarks/trainers.py [--only DPOTrainer orpo.ORPOTrainer ...] [--table]

Trainers are found by walking TRL's packages, so that a new one shows up as "not tried". Each trains,
unmodified, in a process of its own (`common/trainer_runs.py`). Writes benchmarks/results/trainers.json
after each, then the table; with --table only the table.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

from benchmarks.common.machine import machine
from benchmarks.common.trainer_runs import (
    HELD_OUT,
    RECIPES,
    ROOT,
    SEED,
    TRAIN_ROWS,
    find_habits,
    find_trainers,
    train,
)
from pixeltune.bundled.tiny import PATH as TINY
from pixeltune.writing import write_atomically

OUT, DOCS = ROOT / "benchmarks/results/trainers.json", ROOT / "docs/results/objectives.md"
BEGIN, END = "<!-- trainers: begin -->", "<!-- trainers: end -->"
VERBS = (
    "SFTTrainer",
    "DPOTrainer",
    "KTOTrainer",
    "GRPOTrainer",
    "RLOOTrainer",
)  # tests/training/test_objectives.py
TESTED = ("orpo.ORPOTrainer", "cpo.CPOTrainer", "gkd.GKDTrainer")  # tests/benchmarks/test_trainers.py
SUPPORTED = VERBS + TESTED  # what the table may call so


def apart(work: Callable[..., dict], *arguments: object, limit: float) -> dict:
    """What `work(*arguments)` returns in a process of its own, which may crash or hang: then {"error": ...}.

    The process is a fork, so that libraries are imported once; this one must not have computed anything.
    """
    fork = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        process = fork.Process(target=_report, args=(work, arguments, result))
        process.start()
        process.join(limit)
        if process.is_alive():
            process.kill()
            process.join()
            return {"error": f"no end after {limit:g} seconds"}
        if not result.exists():
            return {"error": f"the process ended with exit code {process.exitcode}"}
        return json.loads(result.read_text())


def _report(work: Callable[..., dict], arguments: tuple, result: Path) -> None:
    try:
        out = work(*arguments)
    except Exception as error:
        traceback.print_exc()
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        for path, short in ((str(TINY), "tiny"), (f"{ROOT}/", "")):
            said = said.replace(path, short)
        out = {"error": said[:300]}
    result.write_text(json.dumps(out))


def train_in(name: str, habits: dict) -> dict:
    """`train` with a folder that goes away afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        return train(name, habits, folder)


def outcome(record: dict, before: dict) -> str:
    """One word or two for what a record says; everything but "works" is a warning."""
    if not record:
        return "not tried"
    if "error" in record:
        return f"does not run (`{record['error'].partition(':')[0]}`)"
    if not record["base_unchanged"]:
        return "changed the base weights"
    if not record["gradient_seen"] or record["pixels_moved"] == 0:
        return "runs, paints nothing"
    return "works" if record["after"]["ci95"][0] > before["ci95"][1] else "paints, score did not rise"


def table(report: dict) -> str:
    """The markdown table of a report."""

    def percent(score: dict) -> str:
        return "{:.1%} ({:.1%} to {:.1%})".format(score["score"], *score["ci95"])

    lines = ["| trainer | TRL | pixels moved by | before | after | outcome |", "|---|---|---|---|---|---|"]
    for name, record in report["trainers"].items():
        said = outcome(record, report["before"])
        why = RECIPES[name].why if name in RECIPES else "new in TRL, no recipe yet"
        said = "supported" if said == "works" and name in SUPPORTED else said
        said = ": ".join(part for part in (f"**{said}**" if said == "supported" else said, why) if part)
        ran, home = "after" in record, "experimental" if "." in name else "stable"
        moved = f"{record['pixels_moved']:.0f} grey levels" if ran else "-"
        scores = (percent(report["before"]), percent(record["after"])) if ran else ("-", "-")
        lines.append(f"| `{name}` | {home} | {moved} | {scores[0]} | {scores[1]} | {said} |")
    return "\n".join(lines)


def write_table(report: dict) -> None:
    """Put the table between its marks in the docs."""
    head, _, rest = DOCS.read_text().partition(BEGIN)
    write_atomically(DOCS, f"{head}{BEGIN}\n{table(report)}\n{END}{rest.partition(END)[2]}")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="rerun these, keep the others")
    parser.add_argument("--table", action="store_true", help="only write the table again")
    parser.add_argument("--limit", type=float, default=600, help="seconds for one trainer")
    arguments = parser.parse_args(argv)
    report = json.loads(OUT.read_text()) if OUT.exists() else {"trainers": {}}
    if not arguments.table:
        names = sorted(find_trainers(), key=lambda name: ("." in name, name))
        habits = apart(find_habits, limit=arguments.limit)
        report = {
            "made_by": "python benchmarks/trainers.py",
            "machine": machine() | {"threads": os.environ.get("OMP_NUM_THREADS")},
            "task": {"name": "calls", "start": "grey", "seed": SEED, "rows": TRAIN_ROWS, "n": HELD_OUT},
            "before": habits["before"],
            "trainers": {name: report["trainers"].get(name, {}) for name in names},
        }
        for name in arguments.only or names:
            report["trainers"][name] = {}
            if name in RECIPES:
                report["trainers"][name] = apart(train_in, name, habits, limit=arguments.limit)
            print(name, report["trainers"][name], flush=True)
            write_atomically(OUT, json.dumps(report, indent=2) + "\n")
    write_table(report)


if __name__ == "__main__":
    main()
