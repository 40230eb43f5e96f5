"""The table of docs/results/objectives.md: every training verb on the bundled model, from a grey start.

    python benchmarks/objectives.py [--verbs sft dpo kto grpo rloo distill] [--tasks calls sums]

Writes benchmarks/results/objectives.json: right answers on held-out rows with the start picture, with the
artwork and with the best instruction, mean change of a pixel in grey levels, seconds of painting.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from PIL import Image

from benchmarks.common.machine import machine
from benchmarks.common.words import settings
from pixeltune.data.instruction import tell
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.scoring import score_rows
from pixeltune.model.loading import load_model, load_processor, weights_sha256
from pixeltune.picture.canvas import Canvas, start_picture
from pixeltune.tasks.base import find_task
from pixeltune.training.paint import paint
from pixeltune.writing import write_atomically

OUT = Path(__file__).parent / "results" / "objectives.json"
OFFLINE = "--per_device_train_batch_size 16 --learning_rate 0.06 --train_rows 400"
ONLINE = "--max_steps 20 --per_device_train_batch_size 64 --learning_rate 0.06 --max_completion_length 96"
FLAGS = {
    "sft": f"--max_steps 40 {OFFLINE}",
    "dpo": f"--max_steps 40 {OFFLINE}",
    "kto": f"--max_steps 40 {OFFLINE}",
    "grpo": ONLINE,
    "rloo": ONLINE,
    "distill": f"--max_steps 40 {OFFLINE} --max_completion_length 96 --instruction best",
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--verbs", nargs="+", choices=FLAGS, default=list(FLAGS))
    parser.add_argument("--tasks", nargs="+", default=["calls", "sums"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[42])
    parser.add_argument("--rows", type=int, default=200)
    arguments = parser.parse_args(argv)
    jobs = {
        f"{verb} {name} {seed}": partial(measure, verb, name, seed, arguments.rows)
        for name in arguments.tasks
        for verb in arguments.verbs
        for seed in arguments.seeds
    }
    run_each(jobs, OUT, made_by="python benchmarks/objectives.py", flags=FLAGS)


def run_each(jobs: dict[str, Callable[[], dict]], out: Path, made_by: str, **facts: Any) -> None:
    """Do jobs one after another and write all results after each; those of other names in the file stay.

    Args:
        jobs: by name, each returns a JSON object.
        out: the results file.
        made_by: the command.
        facts: what else the file says.
    """
    datasets.disable_progress_bars()
    runs = json.loads(out.read_text())["runs"] if out.exists() else {}
    report = {"made_by": made_by, "machine": machine(), **facts, "runs": runs}
    for name, job in jobs.items():
        runs[name] = job()
        print(name, runs[name], flush=True)
        write_atomically(out, json.dumps(report, indent=2) + "\n")


def measure(
    verb: str, name: str, seed: int, n: int, flags: str | None = None, told: list[dict] | None = None
) -> dict:
    """Paint once and score three ways.

    Args:
        verb: what to paint with.
        name: of the task.
        seed: of the painting.
        n: held-out rows to score.
        flags: of the painting, in place of `FLAGS`.
        told: messages in front of a request that make the ceiling, in place of the task's instruction.
    """
    task, model, processor = find_task(name), load_model("tiny"), load_processor("tiny")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        flags = f"--task {name} {flags or FLAGS[verb]} --seed {seed} --score_steps 0 --snapshot_steps 0 "
        flags += f"--save_strategy no --report_to none --output_dir {folder}"
        painting = paint(verb, **settings(flags))
    artwork = painting.artwork
    if not painting.finished:
        raise KeyboardInterrupt  # a painting cut short is no result
    seconds = time.perf_counter() - started
    first = (artwork.provenance.start, *artwork.size, seed)
    start = Canvas(start_picture(*first)).to_uint8()
    told = told or [{"role": "system", "content": task.instruction}]
    tokens = artwork.provenance.training.get("prompt_tokens")
    return {
        "start": unpainted(name, n, first),
        "artwork": score_rows(
            task, task.rows("test", n), InProcess(model, processor, artwork.image)
        ).summary(),
        "ceiling": unpainted(name, n, told=json.dumps(told)),
        "change": float(np.abs(artwork.pixels.astype(int) - start).mean()),
        "base_unchanged": weights_sha256(model) == artwork.provenance.base_sha256,
        **({"prompt_tokens": tokens} if tokens else {}),
        "seconds": round(seconds, 1),
    }


@cache
def unpainted(name: str, n: int, first: tuple | None = None, told: str = "[]") -> dict:
    """The bundled model's score with a start picture, or told something: the same for many runs.

    Args:
        name: of the task.
        n: held-out rows.
        first: arguments of `start_picture`, None for no picture.
        told: messages in front of every request, as JSON.
    """
    task, messages = find_task(name), json.loads(told)
    picture = Image.fromarray(Canvas(start_picture(*first)).to_uint8()) if first else None
    rows = [
        {**row, "prompt": tell(row["prompt"], messages) if messages else row["prompt"]}
        for row in task.rows("test", n)
    ]
    return score_rows(task, rows, InProcess(load_model("tiny"), load_processor("tiny"), picture)).summary()


if __name__ == "__main__":
    main()
