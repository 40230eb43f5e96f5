"""Learning, not eliciting: an artwork for an answer in \\boxed{}, which is on no card and in no instruction.

    python benchmarks/new_behaviour.py [--steps 200] [--rows 200]

Writes benchmarks/results/new_behaviour.json: share of held-out sums answered with the right \\boxed{N}.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from PIL import Image

from benchmarks.common.boxed import boxed, score
from benchmarks.common.machine import machine
from benchmarks.common.words import settings
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.scoring import score_rows
from pixeltune.model.loading import load_model, load_processor
from pixeltune.picture.canvas import Canvas, start_picture
from pixeltune.tasks.base import Task
from pixeltune.tasks.synthetic import sums
from pixeltune.training.paint import paint
from pixeltune.writing import write_atomically

OUT = Path(__file__).parent / "results" / "new_behaviour.json"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rows", type=int, default=200)
    arguments = parser.parse_args(argv)
    task = Task(name="boxed", score=score, max_new_tokens=sums.TASK.max_new_tokens)
    model, processor = load_model("tiny"), load_processor("tiny")
    rows = boxed("test", arguments.rows)
    told = f"{sums.TASK.instruction} Put the answer in \\boxed{{}}."
    report = {"made_by": "python benchmarks/new_behaviour.py", "machine": machine(), "steps": arguments.steps}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "boxed.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in boxed("train", 4000)))
        flags = f"--data {data} --max_steps {arguments.steps} --save_strategy no --output_dir {folder}/run "
        flags += "--learning_rate 0.06 --per_device_train_batch_size 16"  # as in the demo
        artwork = paint("sft", **settings(flags)).artwork
    start = Image.fromarray(Canvas(start_picture("grey", *artwork.size)).to_uint8())
    for name, picture, instruction in (
        ("no picture", None, ""),
        ("start picture", start, ""),
        ("best attempt at an instruction", None, told),
        ("artwork", artwork.image, ""),
    ):
        result = score_rows(task, rows, InProcess(model, processor, picture), instruction)
        report[name] = result.summary()
        print(name, report[name], result.records[0]["completions"], flush=True)
    write_atomically(OUT, json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
