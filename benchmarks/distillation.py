"""Distillation, a table of docs/results/objectives.md: words into a picture, on the bundled model, from grey.

    python benchmarks/distillation.py [--runs forward reverse ...] [--tasks calls sums] [--seeds 42 43 44]

Writes benchmarks/results/distillation.json: the teacher's score with exactly the words that were distilled,
the student's with the picture, their ratio, prompt tokens per request with the words and with the artwork.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path
from types import ModuleType

from benchmarks.objectives import OFFLINE, measure, run_each
from pixeltune.bundled.tiny.behaviours import AXES
from pixeltune.tasks.base import find_task

OUT = Path(__file__).parent / "results" / "distillation.json"
FLAGS = f"{OFFLINE} --max_completion_length 96"
STEPS = {"calls": 40, "sums": 24}
EXAMPLES, EXAMPLES_SEED = 4, 99  # questions of the training split with their references
RUNS = {  # name: (what the teacher is told, flags beside `FLAGS`)
    "forward": ("instruction", ""),
    "long": ("long", ""),
    "examples": ("examples", ""),
    "reverse": ("instruction", "--distillation_alpha 1"),
    "reverse-noise": ("instruction", "--distillation_alpha 1 --start noise"),
    "jensen-shannon": ("instruction", "--distillation_alpha 0.5"),
    "on-policy": ("instruction", "--generate_from_teacher false"),
}


def words(kind: str, task: ModuleType) -> list[dict]:
    """What a teacher is told: the task's instruction, a long prompt for both tasks, or examples and no more.

    The bundled model understands its phrases and nothing else, so the long prompt says the useful value of
    every axis in all its wordings, and everything twice.
    """
    if kind == "instruction":
        return [{"role": "system", "content": task.instruction}]
    if kind == "long":
        useful = [next(iter(values.values())).phrases for values in AXES.values()]
        return [
            {"role": "system", "content": " ".join(" ".join(way) for way in [*zip(*useful, strict=True)] * 2)}
        ]
    rows = task.rows("train", EXAMPLES, EXAMPLES_SEED)
    return [message for row in rows for message in [*row["prompt"], *row["completion"]]]


def flags_of(run: str, name: str) -> str:
    """The flags of a painting, beside the words."""
    return f"--max_steps {STEPS[name]} {FLAGS} {RUNS[run][1]}".strip()


def distill(run: str, name: str, seed: int, n: int) -> dict:
    """Distil once; teacher and student on the same held-out rows."""
    told = words(RUNS[run][0], find_task(name))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "words.json"
        path.write_text(json.dumps(told))
        result = measure("distill", name, seed, n, f"{flags_of(run, name)} --instruction {path}", told)
    result["teacher"] = result.pop("ceiling")
    result["ratio"] = round(result["artwork"]["score"] / result["teacher"]["score"], 4)
    return result


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS))
    parser.add_argument("--tasks", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[42])
    parser.add_argument("--rows", type=int, default=200)
    arguments = parser.parse_args(argv)
    both = [(run, name) for run in RUNS for name in STEPS]
    jobs = {
        f"{run} {name} {seed}": partial(distill, run, name, seed, arguments.rows)
        for run in arguments.runs
        for seed in arguments.seeds
        for name in arguments.tasks
    }
    run_each(
        jobs,
        OUT,
        made_by="python benchmarks/distillation.py",
        flags={f"{run} {name}": flags_of(run, name) for run, name in both},
        words={f"{run} {name}": words(RUNS[run][0], find_task(name)) for run, name in both},
    )


if __name__ == "__main__":
    main()
