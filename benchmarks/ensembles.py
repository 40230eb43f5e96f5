"""One artwork painted for several models at once, beside artworks painted for each of them alone.

    python benchmarks/ensembles.py [--tasks sums calls] [--seeds 42 43 44] [--table] [--quick]

The models are the bundled one and two copies of it, all weights fine-tuned for 40 steps of 16 rows at 1e-3
(as in `transfer.py`): one on turns, one on the other task. Every artwork has 40 steps of the same rows; that
for all three is painted by the sum of their losses (`pixeltune sft --also`), at three times the cost. Each is
then shown to all three. Writes benchmarks/results/ensembles.json artwork by artwork and prints the table of
docs/results/style.md.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import cache, partial
from pathlib import Path
from typing import Any

from benchmarks import transfer
from benchmarks.common.accuracy_table import interval, share
from benchmarks.common.cells import once, read
from benchmarks.common.paintings import amounts, begin, model, painting, processor, right
from pixeltune.model.loading import load_model

OUT = Path(__file__).parent / "results" / "ensembles.json"
TASKS = ["sums", "calls"]
SEEDS = [42, 43, 44]  # of paintings; rows and copies are those of transfer.SEED
ALL = "all three"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    parser.add_argument("--quick", action="store_true", help="two steps, a few rows, to see that it works")
    arguments = parser.parse_args(argv)
    out, rows = begin(OUT, arguments.quick)
    steps = 2 if arguments.quick else 40
    wanted = [(s, t, one) for s in arguments.seeds for t in arguments.tasks for one in (*models(t), ALL)]
    for seed, task, one in () if arguments.table else wanted:
        settings = amounts(rows) | {"seed": seed, "copies": steps}
        work = partial(measure, task, one, seed, rows, steps)
        cell = once(out, f"{task}/{one}/{seed}", settings, work, made_by="python benchmarks/ensembles.py")
        print(task, one, seed, {name: share(cell[name]) for name in models(task)}, flush=True)
    print(table(read(out)["cells"]))


def models(task: str) -> list[str]:
    """What a task's artworks are painted for and shown to."""
    other = TASKS[1 - TASKS.index(task)]
    return ["base", "fine-tuned on turns at 1e-3", f"fine-tuned on {other} at 1e-3"]


@cache
def home() -> tempfile.TemporaryDirectory:
    """Where the copies lie until this process ends."""
    return tempfile.TemporaryDirectory()


@cache
def folder(name: str, steps: int) -> str:
    """Where a model of `transfer.py` lies, under its own name."""
    if name == "base":
        return "tiny"
    path = Path(home().name) / name
    transfer.copy(name, steps).save_pretrained(path)
    processor().save_pretrained(path)
    return str(path)


@cache
def loaded(name: str, steps: int) -> Any:
    return model() if name == "base" else load_model(folder(name, steps))


def measure(task: str, one: str, seed: int, rows: int, steps: int) -> dict:
    """A 1 or 0 for each test row, by the model that saw the artwork painted for `one` of them, or for all."""
    first, *also = [folder(name, steps) for name in (models(task) if one == ALL else [one])]
    flags = ["--model", first, *(["--also", *also] if also else [])]
    artwork, _ = painting(task, seed, *flags)
    seen = {name: loaded(name, steps) for name in models(task)}
    return {name: right(task, artwork.pixels, rows, transfer.SEED, base) for name, base in seen.items()}


def table(cells: dict) -> str:
    """Markdown: a row for what an artwork was painted for, all seeds together; a column for who saw it."""
    lines = ["| task | painted for | base | copy: turns | copy: the other task | seeds |", "|" + "---|" * 6]
    for task in TASKS:
        for one in (*models(task), ALL):
            found = [cells[key] for key in (f"{task}/{one}/{seed}" for seed in SEEDS) if key in cells]
            if found:
                pooled = [interval("".join(cell[name] for cell in found)) for name in models(task)]
                lines.append(f"| {task} | {one} | {' | '.join(pooled)} | {len(found)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
