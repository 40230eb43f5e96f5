"""Does it help that names and arguments of calls weigh more? SFT with and without `--key_tokens`, on the same rows.

    python benchmarks/key_tokens.py [--tasks calls shop] [--seeds 42 43 44] [--table] [--quick]

On the bundled model, from grey, within a bound of 5 grey levels (without one nearly all rows of calls are answered
rightly): 40 steps of 16 of 1,000 rows at 0.02, with weights of 1 and of 3. Each seed has 200 test rows of its own,
which both ways answer, so that rows are compared in pairs: McNemar's exact test over all seeds of a task, corrected
by Holm's method, and a paired bootstrap for the difference. The flag is worth keeping if it is significantly better
on a task and on none significantly worse. Writes benchmarks/results/key_tokens.json cell by cell and prints the
table.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from benchmarks.common.accuracy_table import interval, share
from benchmarks.common.cells import once, read
from benchmarks.common.paintings import amounts, begin, painting, right
from pixeltune.evaluation.statistics import bootstrap, holm, mcnemar

OUT = Path(__file__).parent / "results" / "key_tokens.json"
TASKS = ["calls", "shop"]
SEEDS = [42, 43, 44]  # of rows and of the paintings
BOUND, WEIGHT = 5, 3
WAYS = {"plain": [], "key": ["--key_tokens", str(WEIGHT)]}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    parser.add_argument("--quick", action="store_true", help="two steps, a few rows, to see that it works")
    arguments = parser.parse_args(argv)
    out, n = begin(OUT, arguments.quick)
    wanted = [(task, seed, way) for task in arguments.tasks for seed in arguments.seeds for way in WAYS]
    for task, seed, way in () if arguments.table else wanted:
        settings = amounts(n) | {"bound": BOUND, "flags": WAYS[way], "seed": seed}
        work = partial(measure, task, seed, way, n)
        cell = once(out, f"{task}/{way}/{seed}", settings, work, made_by="python benchmarks/key_tokens.py")
        print(task, way, seed, share(cell["right"]), flush=True)
    print(table(read(out)["cells"]))


def measure(task: str, seed: int, way: str, n: int) -> dict:
    """Paint once, and a 1 or 0 for each test row."""
    artwork, _ = painting(task, seed, "--bound", str(BOUND), *WAYS[way])
    return {"right": right(task, artwork.pixels, n, seed)}


def table(cells: dict) -> str:
    """Markdown: a row for each task, all seeds that both ways have together."""
    found = {}
    for task in TASKS:
        seeds = [s for s in SEEDS if all(f"{task}/{way}/{s}" in cells for way in WAYS)]
        if seeds:
            found[task] = {way: "".join(cells[f"{task}/{way}/{s}"]["right"] for s in seeds) for way in WAYS}
    pairs = {
        task: [[float(mark) for mark in of[way]] for way in ("key", "plain")] for task, of in found.items()
    }
    corrected = holm([mcnemar(*pair) for pair in pairs.values()])
    lines = [f"| task | weight 1 | weight {WEIGHT} | difference, points (95 %) | p (McNemar, Holm) | rows |"]
    lines.append("|" + "---|" * 6)
    for (task, of), p in zip(found.items(), corrected, strict=True):
        points, low, high = (100 * value for value in bootstrap(*pairs[task])[:3])
        both = f"{interval(of['plain'])} | {interval(of['key'])}"
        lines.append(
            f"| {task} | {both} | {points:+.1f} ({low:+.1f} to {high:+.1f}) | {p:.3f} | {len(of['key'])} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
