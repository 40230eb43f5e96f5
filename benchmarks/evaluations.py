"""Evaluating a PNG in this process: its tokens computed once for all rows, against the stock way, row by row.

    python benchmarks/evaluations.py [--rows 100] [--repetitions 5] [--table] [--quick]

The bundled model answers the same held-out rows of sums and calls behind the drawing `tools`, in turn both
ways in one process; texts must be equal. Writes benchmarks/results/evaluations.json and prints the table of
docs/results/performance.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.common.cells import once, read
from benchmarks.common.paintings import base_hash, model, processor, quiet
from pixeltune.evaluation.in_process import InProcess, wearing
from pixeltune.evaluation.scoring import score_rows
from pixeltune.picture.drawings import draw
from pixeltune.tasks.base import find_task

OUT = Path(__file__).parent / "results" / "evaluations.json"
TASKS = ["sums", "calls"]
CHUNKS = [25, 100]
SEED = 42


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    parser.add_argument("--quick", action="store_true", help="few rows, once, to see that it works")
    arguments = parser.parse_args(argv)
    quiet()
    out = Path(tempfile.gettempdir(), "pixeltune-evaluations", OUT.name) if arguments.quick else OUT
    rows, repetitions = (4, 1) if arguments.quick else (arguments.rows, arguments.repetitions)
    for task in () if arguments.table else TASKS:
        for chunk in CHUNKS:
            settings = {"base": base_hash(), "rows": rows, "repetitions": repetitions, "seed": SEED}
            work = partial(measure, task, chunk, rows, repetitions)
            cell = once(out, f"{task}/{chunk}", settings, work, made_by="python benchmarks/evaluations.py")
            print(task, chunk, json.dumps(cell), flush=True)
    print(table(read(out)["cells"]))


def measure(name: str, chunk: int, n: int, repetitions: int) -> dict:
    """Seconds of each evaluation, both ways in turn."""
    task, picture = find_task(name), Image.fromarray(draw("tools", 256, 256))
    rows, seconds = task.rows("test", n, SEED), {"stock": [], "worn": []}
    said: dict[str, Any] = {}
    for _ in range(repetitions):
        for way in seconds:
            begin = time.perf_counter()
            if way == "stock":
                result = score_rows(task, rows, InProcess(model(), processor(), picture, chunk))
            else:
                with wearing(model(), processor(), picture, chunk) as backend:
                    result = score_rows(task, rows, backend)
            seconds[way].append(round(time.perf_counter() - begin, 3))
            said[way] = [record["completions"] for record in result.records]
        if said["stock"] != said["worn"]:
            raise RuntimeError(f"{name}: the two ways say different things")
    return {"seconds": seconds}


def table(cells: dict) -> str:
    """Markdown: medians of the ratios, with their range."""
    lines = ["| task | rows at a time | worn / stock (range) | repetitions |", "|---|---|---|---|"]
    for key, cell in cells.items():
        task, chunk = key.split("/")
        both = zip(cell["seconds"]["worn"], cell["seconds"]["stock"], strict=True)
        ratios = [worn / stock for worn, stock in both]
        shown = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        lines.append(f"| {task} | {chunk} | {shown} | {len(ratios)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
