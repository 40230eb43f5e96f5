"""Two artworks in one prompt: does each still do its work beside the other?

    python benchmarks/together.py [--tasks sums calls] [--table] [--quick]

The artworks are those of `beauty.py` that stand in docs/images/beauty (seed 42, from our drawing of tools).
Each goes into the first user message with a second picture behind or in front of it: one of the other task,
another one of its own task, or the drawing they all started from. The model and its processor are untouched,
and the 200 test rows are those on which beauty.py scored each artwork alone. Writes
benchmarks/results/together.json cell by cell (a killed run goes on) and prints the table of
docs/results/style.md.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from PIL import Image

from benchmarks import beauty
from benchmarks.common.accuracy_table import floats, interval, share
from benchmarks.common.cells import once, read
from benchmarks.common.paintings import amounts, begin, marks, model, processor
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.statistics import bootstrap
from pixeltune.tasks.base import find_task

OUT = Path(__file__).parent / "results" / "together.json"
TASKS = ["sums", "calls"]
SEED = 42  # of the artworks and of the test rows
OTHER = {"sums": "calls", "calls": "sums"}
# The artwork's setting in beauty.py, and the picture beside it.
PAIRS = [("free", "{other}-free"), ("free", "start"), ("free", "{task}-l2"), ("l2", "{other}-l2")]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    parser.add_argument("--quick", action="store_true", help="a few rows, to see that it works")
    arguments = parser.parse_args(argv)
    out, rows = begin(OUT, arguments.quick)
    for pair in () if arguments.table else PAIRS:
        for task in arguments.tasks:
            for place in ("behind", "in front"):
                mine, second = names(task, *pair)
                order = [mine, second] if place == "behind" else [second, mine]
                settings = amounts(rows) | {"pictures": order, "seed": SEED}
                made_by = "python benchmarks/together.py"
                work = partial(measure, task, order, rows)
                cell = once(out, f"{task}/{mine}/{second} {place}", settings, work, made_by=made_by)
                print(task, mine, second, place, share(cell["right"]), cell["cell_seconds"], flush=True)
    print(table(read(out)["cells"]))


def names(task: str, setting: str, second: str) -> tuple[str, str]:
    """The files of an artwork and of the picture beside it, without their ending."""
    return f"{task}-{setting}", second.format(task=task, other=OTHER[task])


def measure(task: str, order: list[str], rows: int) -> dict:
    first, second = (Image.open(beauty.PICTURES / f"{name}.png").convert("RGB") for name in order)
    asked = [{**row, "images": [second]} for row in find_task(task).rows("test", rows, SEED)]
    return {"right": marks(task, asked, InProcess(model(), processor(), first))}


def table(cells: dict) -> str:
    """Markdown: each artwork alone and with a second picture, and the difference on the same rows."""
    lines = ["| artwork | beside it | right | difference to alone, points |", "|---|---|---|---|"]
    every = read(beauty.OUT)["cells"]
    for task in TASKS:
        for setting in dict.fromkeys(setting for setting, _ in PAIRS):
            alone = every[f"{task}/{setting}/{SEED}"]["right"]
            found = {key: cell for key, cell in cells.items() if key.startswith(f"{task}/{task}-{setting}/")}
            lines += [f"| {task} {setting} | nothing | {interval(alone)} | |"] if found else []
            for key, cell in found.items():
                right = cell["right"]
                points, low, high = (
                    100 * v for v in bootstrap(floats(right), floats(alone[: len(right)]))[:3]
                )
                difference = f"{points:+.1f} ({low:+.1f} to {high:+.1f})"
                beside = key.rpartition("/")[2]
                lines.append(f"| {task} {setting} | {beside} | {interval(right)} | {difference} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
