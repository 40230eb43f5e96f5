"""The table of docs/objectives.md: every training verb on the bundled model, from a grey start.

    python benchmarks/objectives.py [--verbs sft dpo kto grpo rloo distill] [--tasks calls sums]

Writes benchmarks/results/objectives.json: right answers on held-out rows with the start picture, with the
artwork and with the best instruction, mean change of a pixel in grey levels, seconds of painting.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import datasets
import numpy as np
from machine import machine
from PIL import Image

from pixeltune.base import load_model, load_processor, weights_sha256
from pixeltune.canvas import Canvas, start_picture
from pixeltune.evaluate import Local, evaluate
from pixeltune.files import write_atomically
from pixeltune.tasks import find_task
from pixeltune.train import paint, parse

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--verbs", nargs="+", choices=FLAGS, default=list(FLAGS))
    parser.add_argument("--tasks", nargs="+", default=["calls", "sums"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[42])
    parser.add_argument("--rows", type=int, default=200)
    arguments = parser.parse_args()
    datasets.disable_progress_bars()
    runs = json.loads(OUT.read_text())["runs"] if OUT.exists() else {}  # other verbs, tasks and seeds stay
    report = {
        "made_by": "python benchmarks/objectives.py",
        "machine": machine(),
        "flags": FLAGS,
        "runs": runs,
    }
    for name in arguments.tasks:
        for verb in arguments.verbs:
            for seed in arguments.seeds:
                runs[f"{verb} {name} {seed}"] = measure(verb, name, seed, arguments.rows)
                print(verb, name, seed, runs[f"{verb} {name} {seed}"], flush=True)
                write_atomically(OUT, json.dumps(report, indent=2) + "\n")


def measure(verb: str, name: str, seed: int, n: int) -> dict:
    """Paint once and score three ways."""
    task, model, processor = find_task(name), load_model("tiny"), load_processor("tiny")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        flags = f"--task {name} {FLAGS[verb]} --seed {seed} --score_steps 0 --snapshot_steps 0 "
        flags += f"--save_strategy no --report_to none --output_dir {folder}"
        artwork, _, _ = paint(verb, *parse(verb, flags.split()))
    seconds = time.perf_counter() - started
    start = Canvas(start_picture("grey", *artwork.size)).to_uint8()
    rows, scores = task.rows("test", n), {}
    for key, picture, instruction in (
        ("start", Image.fromarray(start), ""),
        ("artwork", artwork.image, ""),
        ("ceiling", None, task.INSTRUCTION),
    ):
        scores[key] = evaluate(task, rows, Local(model, processor, picture), instruction).summary()
    return {
        **scores,
        "change": float(np.abs(artwork.pixels.astype(int) - start).mean()),
        "base_unchanged": weights_sha256(model) == artwork.provenance.base_sha256,
        "seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    main()
