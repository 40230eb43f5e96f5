"""What lifts an artwork on a real language model? One change of the recipe at a time, on validation rows alone.

    python benchmarks/lifts.py --data FOLDER [--tasks seal_tools:single gsm8k] [--only NAME ...] [--seeds 41]
                               [--table] [--quick]

SFT on `smol` in bfloat16: 120 steps of 8 rows, 64 image tokens, from grey, everything else as `pixeltune sft` has it.
Each line changes one thing of that. Training rows are those of `accuracy.py`, and so are the validation rows, which
say what is right and how likely the reference answers are (nats a token, the finer measure: 50 rows are few). Test
rows are never looked at. Writes benchmarks/results/lifts.json cell by cell (a killed run goes on) and prints the table.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.common import paintings
from benchmarks.common.accuracy_plans import TUNE_SEED, VALIDATION_SEED
from benchmarks.common.accuracy_real import smol
from benchmarks.common.accuracy_table import interval
from benchmarks.common.accuracy_tasks import Suite
from benchmarks.common.bases import base_hash, processor
from benchmarks.common.cells import once, read
from pixeltune.evaluation.in_process import InProcess, wearing
from pixeltune.evaluation.scoring import opening, score_rows
from pixeltune.evaluation.statistics import bootstrap
from pixeltune.model.loading import load_model
from pixeltune.training.paint import paint

OUT = Path(__file__).parent / "results" / "lifts.json"
TASKS = ("seal_tools:single", "gsm8k")
DTYPE = "bfloat16"
USUAL: dict[str, Any] = {
    "model": "smol",
    "dtype": DTYPE,
    "max_steps": 120,
    "per_device_train_batch_size": 8,
    "image_tokens": 64,
    "held_out_rows": 0,
    "score_steps": 0,
    "snapshot_steps": 0,
    "save_strategy": "no",
    "logging_steps": 1,
    "report_to": "none",
}
LIFTS: dict[str, dict[str, Any]] = {
    "the default recipe": {},
    "rate 0.01": {"learning_rate": 0.01},
    "rate 0.04": {"learning_rate": 0.04},
    "rate 0.08": {"learning_rate": 0.08},
    "constant rate": {"lr_scheduler_type": "constant"},
    "momentum 0.5": {"adam_beta1": 0.5},
    "second moment 0.95": {"adam_beta2": 0.95},
    "from noise": {"start": "noise"},
    "from letters": {"start": "letters"},
    "from a drawing": {"start": "tools"},
    "painted in float32": {"dtype": "float32"},
    "144 tokens": {"image_tokens": 144},
    "256 tokens": {"image_tokens": 256},
    "576 tokens": {"image_tokens": 576},
    "240 steps": {"max_steps": 240},
    "batches of 16": {"per_device_train_batch_size": 16},
    "names and arguments weigh 3": {"key_tokens": 3.0},
    "loss dft": {"loss_type": "dft"},
    "waves": {"parametrisation": "fourier"},
    "a coarse grid": {"parametrisation": "grid:32"},
    "smooth": {"style": "0.1 * tv"},
    "robust": {"robust": "light"},
}
"""By name, what differs from `USUAL`."""
ROWS, VALIDATION = 1000, 100


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with seal_tools and gsm8k in it")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--only", nargs="+", choices=LIFTS, default=list(LIFTS), metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=[TUNE_SEED])
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    parser.add_argument("--quick", action="store_true", help="two steps, a few rows, to see that it works")
    arguments = parser.parse_args(argv)
    paintings.quiet()
    if not (arguments.table or arguments.data):
        parser.error("--data is needed: the benchmarks' rows are read from there")
    out, steps, n = OUT, {}, VALIDATION
    if arguments.quick:
        out, steps, n = Path(tempfile.gettempdir(), "pixeltune-lifts", OUT.name), {"max_steps": 2}, 2
    for seed in () if arguments.table else arguments.seeds:
        suite = smol(arguments.data)
        for task in arguments.tasks:
            for name in arguments.only:
                given = USUAL | LIFTS[name] | steps | {"seed": seed}
                settings = given | {"base": base_hash("smol", DTYPE), "rows": ROWS, "validation": n}
                work = partial(measure, suite, task, given, n)
                key, made_by = f"{task}/{name}/{seed}", "python benchmarks/lifts.py --data FOLDER"
                cell = once(out, key, settings, work, made_by=made_by)
                print(key, {k: v for k, v in cell.items() if k not in ("right", "each")}, flush=True)
    print(table(read(out)["cells"]))


def measure(suite: Suite, task: str, given: dict[str, Any], n: int) -> dict:
    """Paint once, and look at the validation rows: right or wrong, and nats a token of each reference."""
    rows = suite.part(task, "validation", n, VALIDATION_SEED)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "rows.jsonl")
        wanted = suite.part(task, "train", ROWS, given["seed"])
        kept = ("prompt", "completion", "tools")
        data.write_text("".join(json.dumps({k: row[k] for k in kept if k in row}) + "\n" for row in wanted))
        painted = paint("sft", quiet=True, data=str(data), output_dir=f"{folder}/run", **given)
        history = painted.trainer.state.log_history
    with wearing(
        load_model("smol", dtype=DTYPE), processor("smol"), Image.fromarray(painted.artwork.pixels)
    ) as backend:
        backend.chunk = suite.batch
        records = score_rows(suite.tasks[task], rows, backend).records
        each = likelihoods(backend, rows)
    losses = [entry["loss"] for entry in history if "loss" in entry]
    return {
        "right": "".join(f"{record['score']:.0f}" for record in records),
        "each": each,
        "nats": round(math.fsum(each) / len(each), 4),
        "loss": [losses[0], losses[-1]],
        "seconds": round(next(e["train_runtime"] for e in reversed(history) if "train_runtime" in e), 1),
    }


def likelihoods(backend: InProcess, rows: list[dict]) -> list[float]:
    """Nats a token of each row's reference answer."""
    talks, tools = zip(*(opening(row, []) for row in rows), strict=True)
    found = backend.losses(list(talks), [row["completion"] for row in rows], list(tools))
    return [round(nats / tokens, 4) for nats, tokens in found]


def table(cells: dict[str, dict]) -> str:
    """Markdown: each change beside the default recipe on the same rows, seeds together."""
    lines = [
        "| task | change | right on validation rows (95 %) | nats a token | more than the default (95 %) | seconds "
        "of training, times the default's |",
        "|" + "---|" * 6,
    ]
    for task in TASKS:
        usual = of(cells, task, next(iter(LIFTS)))
        for name in LIFTS:
            found = of(cells, task, name)
            both = [seed for seed in found if seed in usual]
            if not found:
                continue
            each, theirs = ([x for seed in both for x in some[seed]["each"]] for some in (found, usual))
            more, cost = "", ""
            if both and name != next(iter(LIFTS)):
                points, low, high = bootstrap(each, theirs)[:3]
                more = f"{points:+.3f} ({low:+.3f} to {high:+.3f})"
                cost = (
                    f"{sum(found[s]['seconds'] for s in both) / sum(usual[s]['seconds'] for s in both):.2f}"
                )
            right = "".join(cell["right"] for cell in found.values())
            nats = [x for cell in found.values() for x in cell["each"]]
            lines.append(
                f"| {task} | {name} | {interval(right)} | {math.fsum(nats) / len(nats):.3f} | {more} | {cost} |"
            )
    return "\n".join(lines)


def of(cells: dict[str, dict], task: str, name: str) -> dict[str, dict]:
    """The cells of a change by seed."""
    return {
        key.rsplit("/", 1)[1]: cell
        for key, cell in cells.items()
        if key.rsplit("/", 1)[0] == f"{task}/{name}"
    }


if __name__ == "__main__":
    main()
