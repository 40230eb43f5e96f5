"""Weaker and stronger artworks, averages of several, and copies of the base in other precisions.

    python benchmarks/mixtures.py [--tasks sums calls] [--table] [--quick]

Three artworks a task, from grey, by SFT on the bundled model, differing in their seed only. Each is dialled
(`pixeltune.evaluation.mixing.dial`), all are averaged, with each other and with one of the other task, and
each is shown to the same base in bfloat16 and with 8-bit linear layers (`torch.ao.quantization`, dynamic).
All on the same test rows. Writes benchmarks/results/mixtures.json cell by cell and prints the table of
docs/results/style.md.
"""

from __future__ import annotations

import argparse
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common.accuracy_table import interval, share
from benchmarks.common.cells import once, read
from benchmarks.common.paintings import amounts, begin, painting, right
from pixeltune.artwork.artwork import Artwork
from pixeltune.evaluation.mixing import average, dial
from pixeltune.model.loading import load_model

OUT = Path(__file__).parent / "results" / "mixtures.json"
TASKS = ["sums", "calls"]
SEEDS = [42, 43, 44]
ROWS_SEED = 7  # of the test rows
STRENGTHS = [0.25, 0.5, 0.75, 1.0, 1.5]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    parser.add_argument("--quick", action="store_true", help="two steps, a few rows, to see that it works")
    arguments = parser.parse_args(argv)
    out, rows = begin(OUT, arguments.quick)
    for task in () if arguments.table else arguments.tasks:
        settings = amounts(rows) | {"seeds": SEEDS, "rows_seed": ROWS_SEED}
        for name, work in cases(task).items():
            made_by = "python benchmarks/mixtures.py"
            cell = once(out, f"{task}/{name}", settings, partial(work, rows), made_by=made_by)
            print(task, name, [share(right) for right in cell["right"]], flush=True)
    print(table(read(out)["cells"]))


def cases(task: str) -> dict[str, Any]:
    """What is measured, by name: from the number of rows to a cell."""
    other = TASKS[1 - TASKS.index(task)]
    found = {
        f"strength {a:g}": partial(each, task, lambda art, a=a: dial(art, grey(art), a)) for a in STRENGTHS
    }
    found["average of three seeds"] = partial(one, task, lambda: average(members(task)))
    found[f"average with one of {other}"] = partial(one, task, lambda: mixed(task, other))
    found["bfloat16 base"] = partial(each, task, lambda art: art, precision="bfloat16")
    found["8-bit base"] = partial(each, task, lambda art: art, precision="int8")
    return found


@cache
def members(task: str) -> list[Artwork]:
    """The three artworks of a task."""
    return [painting(task, seed)[0] for seed in SEEDS]


def mixed(task: str, other: str) -> Artwork:
    """The average of the first artworks of two tasks."""
    return average([members(task)[0], members(other)[0]])


def grey(artwork: Artwork) -> np.ndarray:
    return np.full_like(artwork.pixels, 128)


def each(task: str, change: Any, n: int, precision: str = "float32") -> dict:
    return {"right": [score(task, change(artwork), n, precision) for artwork in members(task)]}


def one(task: str, make: Any, n: int) -> dict:
    return {"right": [score(task, make(), n)]}


def score(task: str, artwork: Artwork, n: int, precision: str = "float32") -> str:
    """A 1 or 0 for each of `n` test rows."""
    return right(task, artwork.pixels, n, ROWS_SEED, base(precision))


@cache
def base(precision: str) -> Any:
    model = load_model("tiny")
    if precision == "bfloat16":
        return model.to(torch.bfloat16)
    if precision == "int8":
        return torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, torch.qint8)
    return model


def table(cells: dict) -> str:
    """Markdown: all artworks of a row together, and each of them."""
    lines = ["| task | | right | each |", "|---|---|---|---|"]
    for task in TASKS:
        for name in cases(task):
            if (cell := cells.get(f"{task}/{name}")) is None:
                continue
            every = "".join(cell["right"])
            parts = [f"{share(right):.1%}" for right in cell["right"]]
            lines.append(f"| {task} | {name} | {interval(every)} | {', '.join(parts)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
