"""Learning, not eliciting: artworks for two ways to write an answer that the bundled model was never taught.

    python benchmarks/new_behaviour.py [--model FOLDER --out FILE] [--steps 40] [--seeds 42 43 44] [--table]

Sums whose last line is ``\\boxed{N}`` or ``{"result": N}`` in place of ``Answer: N``: neither is on a card or in
an instruction. SFT from grey, rate 0.06, 16 rows a step; 200 held-out rows a seed, right where the number is
written so. Writes benchmarks/results/new_behaviour.json cell by cell, for the weights in FOLDER another file.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.common.accuracy_table import interval, share
from benchmarks.common.boxed import boxed, field, field_score, score
from benchmarks.common.cells import once, read
from benchmarks.common.paintings import quiet
from benchmarks.common.words import settings
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.scoring import score_rows
from pixeltune.model.loading import load_model, load_processor, weights_sha256
from pixeltune.tasks.base import Task
from pixeltune.tasks.synthetic import sums
from pixeltune.training.paint import paint

OUT = Path(__file__).parent / "results" / "new_behaviour.json"
LENGTH = sums.TASK.max_new_tokens
BEHAVIOURS = {
    "boxed": Task(name="boxed", rows=boxed, score=score, max_new_tokens=LENGTH),
    "field": Task(name="field", rows=field, score=field_score, max_new_tokens=LENGTH),
}
WORDS = {  # the best attempts at an instruction
    "boxed": f"{sums.TASK.instruction} Put the answer in \\boxed{{}}.",
    "field": f'{sums.TASK.instruction} Write the answer as {{"result": N}}.',
}
SIDES = ("no picture", "start picture", "words", "artwork")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--behaviours", nargs="+", choices=BEHAVIOURS, default=list(BEHAVIOURS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    arguments = parser.parse_args(argv)
    quiet()
    base = weights_sha256(load_model(arguments.model))
    for name in () if arguments.table else arguments.behaviours:
        for seed in arguments.seeds:
            given = {"base": base, "steps": arguments.steps, "rows": arguments.rows, "seed": seed}
            work = partial(measure, arguments.model, name, arguments.steps, arguments.rows, seed)
            made_by = "python benchmarks/new_behaviour.py"
            cell = once(arguments.out, f"{name}/{seed}", given, work, made_by=made_by)
            print(name, seed, {side: share(cell[side]) for side in SIDES}, flush=True)
    print(table(read(arguments.out)["cells"]))


def measure(model: str, name: str, steps: int, n: int, seed: int) -> dict[str, Any]:
    """Paint one artwork; a 1 or 0 for each row, by what the model is shown or told."""
    task = BEHAVIOURS[name]
    with tempfile.TemporaryDirectory() as folder:
        flags = f"--seed {seed} --max_steps {steps} --learning_rate 0.06 --per_device_train_batch_size 16 "
        flags += f"--model {model} --held_out_rows 0 --train_rows 1000 --score_steps 0 --snapshot_steps 0 "
        flags += f"--save_strategy no --report_to none --output_dir {folder}"
        painting = paint(
            "sft", quiet=True, task=f"benchmarks.new_behaviour:{name.upper()}", **settings(flags)
        )
    base, processor = load_model(model), load_processor(model)
    grey = Image.fromarray(np.full_like(painting.artwork.pixels, 128))
    asked = {
        "no picture": (InProcess(base, processor), ""),
        "start picture": (InProcess(base, processor, grey), ""),
        "words": (InProcess(base, processor), WORDS[name]),
        "artwork": (InProcess(base, processor, painting.artwork.image), ""),
    }
    rows = task.rows("test", n, seed)
    found = {side: score_rows(task, rows, backend, words).records for side, (backend, words) in asked.items()}
    losses = [entry["loss"] for entry in painting.history if "loss" in entry]
    return {side: "".join(f"{one['score']:.0f}" for one in records) for side, records in found.items()} | {
        "losses": losses
    }


BOXED, FIELD = BEHAVIOURS.values()  # by which paint finds them


def table(cells: dict[str, dict]) -> str:
    """Markdown: right of all rows, by behaviour and side, and the artwork's by seed."""
    lines = ["| last line | " + " | ".join(SIDES) + " | artwork by seed |", "|---" * (len(SIDES) + 2) + "|"]
    for name in BEHAVIOURS:
        found = [cell for key, cell in cells.items() if key.startswith(f"{name}/")]
        if not found:
            continue
        sides = (interval("".join(cell[side] for cell in found)) for side in SIDES)
        each = ", ".join(f"{share(cell['artwork']):.1%}" for cell in found)
        lines.append(f"| {name} | {' | '.join(sides)} | {each} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
