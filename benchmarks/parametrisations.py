"""Free pixels, waves, low rank, a coarse grid, random subspaces: what each reaches, how few numbers suffice.

    python benchmarks/parametrisations.py [--tasks sums calls] [--seeds 42 43 44] [--table] [--quick]

The same SFT on the bundled model from grey, the same rows, steps and rate; each seed has test rows of its
own. Writes benchmarks/results/parametrisations.json cell by cell (a killed run goes on) and prints the table
of docs/results/style.md.
d90 is the smallest dimension of a random subspace that reaches 90 % of the score of free pixels.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.common import paintings
from benchmarks.common.accuracy_table import interval, share
from benchmarks.common.cells import once, read
from benchmarks.common.paintings import amounts, begin, painting, right

OUT = Path(__file__).parent / "results" / "parametrisations.json"
SPECS = ["pixels", "fourier", "fourier:0", "low-rank:4", "low-rank:16", "grid:8", "grid:32"]
DIMENSIONS = [10, 30, 100, 300, 1000, 3000, 10000]
TASKS = ["sums", "calls"]
ROWS_ON_THE_WAY = 100
NEAR = 0.95  # of the score of free pixels


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[42, 43, 44])
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    parser.add_argument("--quick", action="store_true", help="two steps, a few rows, to see that it works")
    arguments = parser.parse_args(argv)
    out, rows = begin(OUT, arguments.quick)
    for seed in () if arguments.table else arguments.seeds:
        for spec in [*SPECS, *(f"subspace:{d}" for d in DIMENSIONS)]:
            for task in arguments.tasks:
                settings = amounts(rows) | {"spec": spec, "seed": seed}
                work = partial(measure, task, spec, seed, rows)
                made_by = "python benchmarks/parametrisations.py"
                cell = once(out, f"{task}/{spec}/{seed}", settings, work, made_by=made_by)
                print(task, spec, seed, {k: v for k, v in cell.items() if k != "right"}, flush=True)
    print(table(read(out)["cells"]))


def measure(task: str, spec: str, seed: int, rows: int) -> dict:
    """Paint with one parametrisation, score on the way and at the end, and describe the change."""
    artwork, pictures = painting(task, seed, "--parametrisation", spec)
    change = artwork.pixels.astype(float) - pictures[0]
    neighbours = np.abs(np.diff(change, axis=0)).mean() + np.abs(np.diff(change, axis=1)).mean()
    few = min(rows, ROWS_ON_THE_WAY)
    return {
        "right": right(task, artwork.pixels, rows, seed),
        "curve": {step: share(right(task, pixels, few, seed)) for step, pixels in pictures.items() if step},
        "mean_change": round(float(np.abs(change).mean()), 2),
        "roughness": round(float(neighbours / max(np.abs(change).mean(), 1e-9)), 3),
        "png_bytes": len(artwork.png()),
    }


def table(cells: dict) -> str:
    """Markdown, seeds together, and d90 of each task."""
    lines = [
        "| task | parametrisation | right | steps to 95 % of free | change, levels | roughness | PNG, kB |",
        "|---|---|---|---|---|---|---|",
    ]
    ends = []
    for task in TASKS:
        free, enough = 0.0, None
        for spec in [*SPECS, *(f"subspace:{d}" for d in DIMENSIONS)]:
            found = [cell for key, cell in cells.items() if key.startswith(f"{task}/{spec}/")]
            if not found:
                continue
            every = "".join(cell["right"] for cell in found)
            score = share(every)
            free = score if spec == "pixels" else free
            if spec.startswith("subspace") and score >= 0.9 * free:
                enough = enough or spec.partition(":")[2]
            curve = {step: np.mean([cell["curve"][step] for cell in found]) for step in found[0]["curve"]}
            curve[str(paintings.STEPS)] = score
            fields = [
                task,
                f"`{spec}`",
                interval(every),
                next((step for step, value in curve.items() if value >= NEAR * free), "not reached"),
                f"{np.mean([cell['mean_change'] for cell in found]):.1f}",
                f"{np.mean([cell['roughness'] for cell in found]):.2f}",
                f"{np.mean([cell['png_bytes'] for cell in found]) / 1000:.0f}",
            ]
            lines.append(f"| {' | '.join(fields)} |")
        ends.append(f"d90 of {task}: {enough or 'above the largest tried'}")
    return "\n".join([*lines, "", *ends])


if __name__ == "__main__":
    main()
