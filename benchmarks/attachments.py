"""An artwork in front of pictures that users bring along: the task `tiles` on the bundled model.

    python benchmarks/attachments.py [--verbs sft grpo] [--seeds 42 43 44] [--table] [--quick]

Paints from grey, by SFT on reference answers and by GRPO on class equality, and scores the same test rows
without an artwork, untold and told the task's instruction, behind the grey start picture, behind the artwork,
and behind the artwork with another row's picture in place of the row's own: the last score says whether the
artwork hides what stands behind it. Writes benchmarks/results/attachments.json cell by cell and prints the
table of docs/guide/tasks.md.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.common import words
from benchmarks.common.accuracy_table import interval, share
from benchmarks.common.cells import once, read
from benchmarks.common.paintings import base_hash, begin, marks, model, processor
from pixeltune.evaluation.in_process import InProcess
from pixeltune.tasks.synthetic import tiles
from pixeltune.training.paint import paint

OUT = Path(__file__).parent / "results" / "attachments.json"
SEEDS = [42, 43, 44]
STEPS = {"sft": 100, "grpo": 30}
FLAGS = {
    "sft": "--per_device_train_batch_size 16 --learning_rate 0.02 --train_rows 1600",
    "grpo": "--per_device_train_batch_size 64 --num_generations 8 --max_completion_length 32 "
    "--learning_rate 0.02 --train_rows 400",
}
CANDIDATES = {
    "off": "no artwork",
    "told": "no artwork, told the instruction",
    "start": "grey picture",
    "artwork": "artwork",
    "exchanged": "artwork, pictures exchanged",
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--verbs", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    parser.add_argument("--quick", action="store_true", help="two steps, a few rows, to see that it works")
    arguments = parser.parse_args(argv)
    out, rows = begin(OUT, arguments.quick)
    for verb in () if arguments.table else arguments.verbs:
        steps = 2 if arguments.quick else STEPS[verb]
        for seed in arguments.seeds:
            settings = {"base": base_hash(), "rows": rows, "steps": steps, "flags": FLAGS[verb], "seed": seed}
            made_by = "python benchmarks/attachments.py"
            work = partial(measure, verb, steps, seed, rows)
            cell = once(out, f"{verb}/{seed}", settings, work, made_by=made_by)
            print(verb, seed, {name: share(cell[name]) for name in CANDIDATES}, flush=True)
    print(table(read(out)["cells"]))


def measure(verb: str, steps: int, seed: int, n: int) -> dict:
    """A 1 or 0 for each of `n` test rows, by candidate."""
    usual = f"--task tiles --seed {seed} --max_steps {steps} --held_out_rows 0 --snapshot_steps 0"
    with tempfile.TemporaryDirectory() as folder:
        flags = f"{usual} {FLAGS[verb]} --save_strategy no --report_to none --output_dir {folder}"
        artwork = paint(verb, quiet=True, **words.settings(flags)).artwork
    rows = tiles.rows("test", n, seed)
    exchanged = [{**row, "images": rows[i - 1]["images"]} for i, row in enumerate(rows)]
    plain, grey = InProcess(model(), processor()), np.full_like(artwork.pixels, 128)
    worn = InProcess(model(), processor(), artwork.image)
    return {
        "off": marks("tiles", rows, plain),
        "told": marks("tiles", rows, plain, tiles.TASK.instruction),
        "start": marks("tiles", rows, InProcess(model(), processor(), Image.fromarray(grey))),
        "artwork": marks("tiles", rows, worn),
        "exchanged": marks("tiles", exchanged, worn),
    }


def table(cells: dict) -> str:
    """Markdown: all seeds of a verb together, and each of them."""
    lines = ["| painted by | asked with | right | each seed |", "|---|---|---|---|"]
    for verb in STEPS:
        found = [cell for key, cell in cells.items() if key.startswith(f"{verb}/")]
        for name, described in CANDIDATES.items() if found else ():
            each = ", ".join(f"{share(cell[name]):.1%}" for cell in found)
            lines.append(f"| {verb} | {described} | {interval(''.join(c[name] for c in found))} | {each} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
