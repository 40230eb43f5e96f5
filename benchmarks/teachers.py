"""Artworks distilled from a LoRA, beside the LoRA itself and artworks painted from answers to the same rows.

    python benchmarks/teachers.py [--tasks calls sums turns] [--seeds 42 43 44] [--table] [--quick]

For each task and seed a LoRA of rank 16 is trained on the bundled model (`common/baselines.py`: 40 steps of 16 rows
at 3e-3). One artwork is distilled from it (`pixeltune distill --teacher adapter:FOLDER`, which sees prompts alone),
one painted from the reference answers (`pixeltune sft`), both with 40 steps of 16 of the same rows (of turns each
turn is one) at a rate of 0.06, from grey. Each answers the same 200 test rows of its seed. Writes
benchmarks/results/teachers.json cell by cell and prints the table of docs/results/objectives.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from functools import cache, partial
from pathlib import Path

from benchmarks.common.accuracy_table import interval, share
from benchmarks.common.accuracy_tasks import part
from benchmarks.common.baselines import train
from benchmarks.common.cells import once, read
from benchmarks.common.paintings import base_hash, begin, marks, processor, right
from pixeltune.data.turns import each_turn
from pixeltune.evaluation.in_process import InProcess
from pixeltune.model.loading import load_model
from pixeltune.training.paint import paint

OUT = Path(__file__).parent / "results" / "teachers.json"
TASKS = ["calls", "sums", "turns"]
SEEDS = [42, 43, 44]  # of rows, of the LoRA and of the paintings
WAYS = {"teacher": "the LoRA", "distill": "artwork distilled from it", "sft": "artwork by SFT"}
ROWS, BATCH, RATE, LORA_RATE = 1000, 16, 0.06, 3e-3


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    parser.add_argument("--quick", action="store_true", help="two steps, a few rows, to see that it works")
    arguments = parser.parse_args(argv)
    out, n = begin(OUT, arguments.quick)
    steps, rows = (2, 32) if arguments.quick else (40, ROWS)
    amounts = {"base": base_hash(), "test": n, "steps": steps, "rows": rows, "batch": BATCH}
    amounts |= {"rate": RATE, "lora_rate": LORA_RATE}
    wanted = [(task, seed, way) for task in arguments.tasks for seed in arguments.seeds for way in WAYS]
    for task, seed, way in () if arguments.table else wanted:
        settings = amounts | {"task": task, "seed": seed, "way": way}
        work = partial(measure, task, seed, way, n, steps, rows)
        cell = once(out, f"{task}/{way}/{seed}", settings, work, made_by="python benchmarks/teachers.py")
        print(task, way, seed, share(cell["right"]), flush=True)
    print(table(read(out)["cells"]))


@cache
def home() -> tempfile.TemporaryDirectory:
    """Where LoRAs and rows lie until this process ends."""
    return tempfile.TemporaryDirectory()


@cache
def teacher(task: str, seed: int, steps: int, rows: int) -> Path:
    """The folder of a LoRA; the same seed gives the same."""
    settings = {"max_steps": steps, "per_device_train_batch_size": BATCH}
    trained = train("sft", "lora16", LORA_RATE, seed, part(task, "train", rows, seed), settings)
    folder = Path(home().name) / f"{task}-{seed}"
    trained.model.save_pretrained(folder)
    return folder


@cache
def data(task: str, seed: int, rows: int) -> Path:
    """The rows of both paintings as a file; distilling reads no `completion`."""
    path = Path(home().name) / f"{task}-{seed}.jsonl"
    given = [
        {"prompt": row["prompt"], "completion": row["completion"]}
        | ({"tools": json.loads(row["tools"])} if row.get("tools") else {})
        for row in each_turn(part(task, "train", rows, seed))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in given))
    return path


def measure(task: str, seed: int, way: str, n: int, steps: int, rows: int) -> dict:
    """A 1 or 0 for each test row by the LoRA, or by the base that sees an artwork."""
    if way == "teacher":
        from peft import PeftModel  # behind pixeltune, which mends what it imports

        worn = PeftModel.from_pretrained(load_model("tiny"), teacher(task, seed, steps, rows)).eval()
        return {"right": marks(task, part(task, "test", n, seed), InProcess(worn, processor()))}
    given = {"data": data(task, seed, rows), "seed": seed, "max_steps": steps, "learning_rate": RATE}
    given |= {"per_device_train_batch_size": BATCH, "held_out_rows": 0, "snapshot_steps": 0, "score_steps": 0}
    if way == "distill":
        given |= {"teacher": f"adapter:{teacher(task, seed, steps, rows)}", "max_completion_length": 96}
    with tempfile.TemporaryDirectory() as folder:
        painting = paint(way, quiet=True, save_strategy="no", report_to="none", output_dir=folder, **given)
    if not painting.finished:
        raise KeyboardInterrupt  # a painting cut short is no result
    return {"right": right(task, painting.artwork.pixels, n, seed)}


def table(cells: dict) -> str:
    """Markdown: a row for each task, all its seeds together."""
    lines = [f"| task | {' | '.join(WAYS.values())} | seeds |", "|" + "---|" * (len(WAYS) + 2)]
    for task in TASKS:
        found = {way: [c for key, c in cells.items() if key.startswith(f"{task}/{way}/")] for way in WAYS}
        if all(found.values()):
            pooled = [interval("".join(cell["right"] for cell in found[way])) for way in WAYS]
            lines.append(f"| {task} | {' | '.join(pooled)} | {min(map(len, found.values()))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
