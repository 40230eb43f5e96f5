"""Artworks on copies of their base that were fine-tuned, or wear a LoRA: not what they were painted for.

    python benchmarks/transfer.py [--table] [--quick]

The artworks are the two called `free` in docs/images/beauty (by `beauty.py`, seed 42). A copy is fine-tuned
as `common/baselines.py` does it, 40 steps of 16 rows of one task: all weights, or a LoRA of rank 16. Each
answers the same 200 test rows of both tasks without a picture, told the task's instruction, behind the start
picture, and behind each artwork. Writes benchmarks/results/transfer.json copy by copy and prints the table of
docs/results/style.md. Copies in other precisions are in `mixtures.py`.
"""

from __future__ import annotations

import argparse
import hashlib
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.common.accuracy_table import interval, share
from benchmarks.common.accuracy_tasks import part
from benchmarks.common.baselines import train
from benchmarks.common.cells import once, read
from benchmarks.common.paintings import base_hash, begin, marks, model, processor
from pixeltune.evaluation.in_process import InProcess
from pixeltune.picture.drawings import draw
from pixeltune.tasks.base import find_task

OUT = Path(__file__).parent / "results" / "transfer.json"
PICTURES = Path(__file__).parents[1] / "docs" / "images" / "beauty"
TASKS = ["sums", "calls"]
SEED = 42  # of the artworks, of fine-tuning, and of the test rows
RATES = {"1e-4": 1e-4, "1e-3": 1e-3}
COPIES = ["base", *(f"fine-tuned on {task} at {rate}" for rate in RATES for task in (*TASKS, "turns"))]
COPIES += [f"LoRA for {task}" for task in (*TASKS, "turns")]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    parser.add_argument("--quick", action="store_true", help="two steps, a few rows, to see that it works")
    arguments = parser.parse_args(argv)
    out, rows = begin(OUT, arguments.quick)
    steps = 2 if arguments.quick else 40
    for name in () if arguments.table else COPIES:
        settings = {"base": base_hash(), "rows": rows, "steps": steps, "seed": SEED}
        settings["artworks"] = [hashlib.sha256(artwork(task).tobytes()).hexdigest() for task in TASKS]
        work = partial(measure, name, rows, steps)
        cell = once(out, name, settings, work, made_by="python benchmarks/transfer.py")
        print(name, {key: share(right) for key, right in cell.items() if "/" in key}, flush=True)
    print(table(read(out)["cells"]))


def artwork(task: str) -> Image.Image:
    return Image.open(PICTURES / f"{task}-free.png").convert("RGB")


def copy(name: str, steps: int) -> Any:
    """A copy of the bundled model, as its name says."""
    if name == "base":
        return model()
    method, rate = "lora16", 3e-3
    task = name.removeprefix("LoRA for ")
    if task == name:
        task, _, rate = name.removeprefix("fine-tuned on ").partition(" at ")
        method, rate = "full", RATES[rate]
    settings = {"max_steps": steps, "per_device_train_batch_size": 16}
    return train("sft", method, rate, SEED, part(task, "train", 1000, SEED), settings).model


def measure(name: str, n: int, steps: int) -> dict:
    """A 1 or 0 for each of `n` test rows, by task and by what stands in front."""
    changed, cell = copy(name, steps), {}
    plain = InProcess(changed, processor())
    backends = {"off": plain, "told": plain}
    backends["start"] = InProcess(changed, processor(), Image.fromarray(draw("tools", 256, 256)))
    backends |= {f"artwork of {task}": InProcess(changed, processor(), artwork(task)) for task in TASKS}
    for task in TASKS:
        found = find_task(task)
        rows = found.rows("test", n, SEED)
        for key, backend in backends.items():
            words = found.instruction if key == "told" else ""
            cell[f"{task}/{key}"] = marks(task, rows, backend, words)
    return cell


def table(cells: dict) -> str:
    """Markdown: a row for each copy and task."""
    lines = ["| copy | task | nothing | told | start picture | its artwork | the other artwork |"]
    lines.append("|---|---|---|---|---|---|---|")
    for name in COPIES:
        for task in TASKS if name in cells else ():
            other = TASKS[1 - TASKS.index(task)]
            keys = ["off", "told", "start", f"artwork of {task}", f"artwork of {other}"]
            right = [cells[name][f"{task}/{key}"] for key in keys]
            shown = [interval(marks) if i == 3 else f"{share(marks):.1%}" for i, marks in enumerate(right)]
            lines.append(f"| {name} | {task} | {' | '.join(shown)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
