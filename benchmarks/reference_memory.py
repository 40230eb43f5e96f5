"""The memory of a reference policy: GRPO with and without its KL term, artwork and full fine-tuning.

    python benchmarks/reference_memory.py [--repetitions 3]

The artwork's reference is the same model with the adapter disabled; TRL's for full fine-tuning is a second
model. A random Qwen3-VL of about 110 M parameters, 2 steps of 4 completions, one process per run, sides
interleaved. Writes benchmarks/results/reference_memory.json: peak resident memory, median and all runs.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.common.machine import machine
from benchmarks.common.random_model import save_random_model
from benchmarks.common.words import settings
from pixeltune.model.loading import load_model, load_processor
from pixeltune.tasks.synthetic import calls
from pixeltune.training.arguments import read_settings
from pixeltune.training.paint import paint
from pixeltune.writing import write_atomically

OUT = Path(__file__).parent / "results" / "reference_memory.json"
SIDES = [(method, beta) for method in ("artwork", "full") for beta in (0.0, 0.1)]
FLAGS = (
    "--max_steps 2 --per_device_train_batch_size 4 --num_generations 4 --max_completion_length 8 "
    "--learning_rate 0.02 --save_strategy no --report_to none --logging_steps 1"
)
SEED = 42


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--side", nargs=3, metavar=("METHOD", "BETA", "MODEL"), help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.side:
        train(*arguments.side)
        print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}")  # KiB on Linux
        return
    peaks: dict[str, list[float]] = {f"{method}, beta {beta}": [] for method, beta in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        parameters = save_random_model(folder)
        for _ in range(arguments.repetitions):
            for method, beta in SIDES:
                words = [sys.executable, __file__, "--side", method, str(beta), folder]
                said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
                peaks[f"{method}, beta {beta}"].append(round(int(said.split()[-1]) / 1024, 1))
                print(method, beta, peaks[f"{method}, beta {beta}"][-1], "MiB", flush=True)
    medians = {side: statistics.median(values) for side, values in peaks.items()}
    report = {
        "made_by": "python benchmarks/reference_memory.py",
        "machine": machine(),
        "parameters": parameters,
        "model_mib": round(parameters * 4 / 2**20, 1),
        "seed": SEED,
        "peak_mib": {side: {"median": medians[side], "runs": values} for side, values in peaks.items()},
        "reference_mib": {
            method: round(medians[f"{method}, beta 0.1"] - medians[f"{method}, beta 0.0"], 1)
            for method in ("artwork", "full")
        },
    }
    write_atomically(OUT, json.dumps(report, indent=2) + "\n")
    print(json.dumps(report["reference_mib"]), "MiB more with a reference; the model is", report["model_mib"])


def length(completions: list, **_) -> list[float]:
    """A reward that differs between random texts."""
    return [float(len(str(text))) for text in completions]


def train(method: str, beta: str, folder: str) -> None:
    """One side: two steps of GRPO."""
    with tempfile.TemporaryDirectory() as out:
        flags = f"{FLAGS} --beta {beta} --output_dir {out} --seed {SEED} --model {folder} --task calls "
        flags += "--train_rows 8 --snapshot_steps 0 --score_steps 0 "
        flags += "--reward benchmarks.reference_memory:length"
        given = settings(flags)
        if method == "artwork":
            paint("grpo", quiet=True, **given)
            return
        _, config = read_settings("grpo", given)
        from datasets import Dataset
        from trl import GRPOTrainer

        rows = [{"prompt": row["prompt"]} for row in calls.rows("train", 8, SEED)]
        config.learning_rate = 1e-6
        trainer = GRPOTrainer(
            load_model(folder).requires_grad_(True).train(),
            reward_funcs=length,
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=load_processor(folder).tokenizer,
        )
        trainer.train()


if __name__ == "__main__":
    main()
