"""The time of a training step: artwork with and without shared prefix, LoRA, soft prompt, full fine-tuning.

    python benchmarks/steps.py [--model tiny | random] [--verb sft | grpo] [--repetitions 5] [--threads 2]

One step of the same unmodified TRL trainer (SFTTrainer; with --verb grpo the update of GRPOTrainer on eight
completions a question) on the same rows of random tokens: forward, backward and optimiser. Sides take turns
in one process, after one unmeasured turn; peak memory is that of a process for each side alone. "random" is a
Qwen3-VL of about 115 M parameters with the tokenizer of the bundled model. Writes
benchmarks/results/steps_<model>_<verb>.json.
"""

from __future__ import annotations

import pixeltune  # noqa: F401  first: it makes torchvision importable beside a CPU torch

# isort: split
import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from benchmarks.common.baselines import adapt
from benchmarks.common.machine import machine
from benchmarks.common.random_model import save_random_model
from pixeltune.model.loading import load_model, load_processor
from pixeltune.model.shared_prefix.prefix import SharedPrefix
from pixeltune.training.compat.trl_insides import score_labelled_only
from pixeltune.writing import write_atomically

RESULTS = Path(__file__).parent / "results"
SEED, GROUP = 42, 8
METHODS = {  # side: what `baselines.adapt` calls it
    "artwork": "artwork",
    "artwork, plain": "artwork",
    "lora": "lora16",
    "prompt tuning": "prompt",
    "full": "full",
}
SIDES = tuple(METHODS)
# Rows, tokens of the prompt, tokens of the answer, image tokens.
GRIDS = {
    ("tiny", "sft"): [(b, p, a, 64) for b in (4, 16, 32) for p, a in ((32, 32), (128, 64))]
    + [(16, 64, 256, 64), (16, 64, 64, 256)],
    ("random", "sft"): [(16, 64, 64, 64), (4, 64, 64, 64), (32, 32, 32, 64), (16, 64, 64, 256)],
    ("tiny", "grpo"): [(16, p, a, 64) for p in (32, 128, 512) for a in (32, 64, 128)],
    ("random", "grpo"): [(16, 128, 64, 64)],
}
HEAD, TAIL = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=("tiny", "random"), default="tiny")
    parser.add_argument("--verb", choices=("sft", "grpo"), default="sft")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", action="store_true", help="also measure the peak memory of every cell")
    parser.add_argument("--cells", type=int, help="only the first of the grid")
    parser.add_argument("--peak", nargs=3, metavar=("MODEL", "SIDE", "CELL"), help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    score_labelled_only()  # for every side, as painting does
    if arguments.peak:
        name, side, cell = arguments.peak
        print(f"peak {peak(name, arguments.verb, side, tuple(json.loads(cell)))}")
        return
    cells = []
    with tempfile.TemporaryDirectory() as folder:
        name, parameters = "tiny", None
        if arguments.model == "random":
            name, parameters = folder, save_random_model(folder)
        for cell in GRIDS[arguments.model, arguments.verb][: arguments.cells]:
            cells.append(measure(name, arguments.verb, cell, arguments.repetitions, folder))
            if arguments.memory:
                cells[-1]["peak_mib"] = {side: peak_alone(name, arguments, side, cell) for side in SIDES}
            print(json.dumps({k: v for k, v in cells[-1].items() if k != "seconds"}), flush=True)
    report = {
        "made_by": f"python benchmarks/steps.py --model {arguments.model} --verb {arguments.verb}",
        "machine": machine(),
        "threads": arguments.threads,
        "repetitions": arguments.repetitions,
        "seed": SEED,
        "parameters": parameters,
        "cells": cells,
    }
    out = RESULTS / f"steps_{arguments.model}_{arguments.verb}.json"
    write_atomically(out, json.dumps(report, indent=2) + "\n")


def measure(name: str, verb: str, cell: tuple[int, int, int, int], repetitions: int, folder: str) -> dict:
    """All sides on one kind of batch: the seconds of every step and medians relative to LoRA's."""
    rows, prompt, answer, image = cell
    steps = {
        side: make_step(load_model(name), load_processor(name), verb, side, cell, folder) for side in SIDES
    }
    cell = {"rows": rows, "prompt": prompt, "answer": answer, "image_tokens": image}
    return cell | compare(take_turns(steps, repetitions))


def take_turns(steps: dict[str, Callable[[], None]], repetitions: int) -> dict[str, list[float]]:
    """The seconds of every step of every side, after one unmeasured turn."""
    seconds: dict[str, list[float]] = {side: [] for side in steps}
    for turn in range(repetitions + 1):
        for side, step in steps.items():
            started = time.perf_counter()
            step()
            if turn > 0:
                seconds[side].append(time.perf_counter() - started)
    return seconds


def compare(seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Medians, relative to LoRA's and to the plain pass, and all times."""
    medians = {side: statistics.median(times) for side, times in seconds.items()}
    return {
        "median_over_lora": {side: round(medians[side] / medians["lora"], 3) for side in SIDES},
        "shared_over_plain": round(medians["artwork"] / medians["artwork, plain"], 3),
        "median_seconds": {side: round(value, 4) for side, value in medians.items()},
        "seconds": {side: [round(value, 4) for value in times] for side, times in seconds.items()},
    }


def peak_alone(name: str, arguments: argparse.Namespace, side: str, cell: tuple) -> float:
    """Peak resident memory of one side's steps in a process of its own, in MiB."""
    words = [sys.executable, __file__, "--verb", arguments.verb, "--threads", str(arguments.threads)]
    words += ["--peak", name, side, json.dumps(cell)]
    return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()[-1])


def peak(name: str, verb: str, side: str, cell: tuple[int, int, int, int]) -> float:
    """Peak resident memory of two steps, in MiB, without that of loading; Linux only."""
    with tempfile.TemporaryDirectory() as folder:
        step = make_step(load_model(name), load_processor(name), verb, side, cell, folder)
        step()
        Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to what is resident now
        step()
        step()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return round(int(status["VmHWM"].split()[0]) / 1024, 1)


def make_step(
    model: Any, processor: Any, verb: str, side: str, cell: tuple[int, int, int, int], folder: str
) -> Any:
    """A function that makes one training step of one side, in the model's precision and on its device."""
    rows, prompt, answer, image = cell
    model, tokenizer = adapt(model, METHODS[side], image_tokens=image), processor.tokenizer
    block = model.art_block if side.startswith("artwork") else ""
    head, tail = tokenizer(HEAD + block)["input_ids"], tokenizer(TAIL)["input_ids"]
    noise = torch.randint(40, 500, (rows, prompt + answer), generator=torch.Generator().manual_seed(SEED))
    if verb == "grpo":  # rows of a group ask the same question
        noise[:, :prompt] = noise[::GROUP, :prompt].repeat_interleave(GROUP, 0)
    prompts = [head + row[:prompt].tolist() + tail for row in noise]
    answers = [row[prompt:].tolist() for row in noise]
    config = {
        "output_dir": f"{folder}/out",
        "per_device_train_batch_size": rows,
        "gradient_checkpointing": False,
        "bf16": False,  # the weights are what precision they are
        "use_cpu": model.device.type == "cpu",
        "report_to": "none",
        "learning_rate": 1e-4,
        "disable_tqdm": True,
    }
    if verb == "sft":
        both = [
            {"input_ids": p + a, "completion_mask": [0] * len(p) + [1] * len(a)}
            for p, a in zip(prompts, answers, strict=True)
        ]
        trainer = SFTTrainer(
            model,
            # As painting has it; with rows of tokens TRL would take the prompts' for answers too.
            args=SFTConfig(**config, max_length=None, completion_only_loss=True),
            train_dataset=Dataset.from_list(both),
            processing_class=tokenizer,
        )
        batch = dict(next(iter(trainer.get_train_dataloader())))
    else:
        trainer = GRPOTrainer(
            model,
            reward_funcs=lambda completions, **_: [0.0] * len(completions),
            args=GRPOConfig(**config, num_generations=GROUP, max_completion_length=answer),
            train_dataset=Dataset.from_list([{"prompt": "x"}] * rows),
            processing_class=tokenizer,
        )
        ids, said = torch.tensor(prompts), torch.tensor(answers)
        batch = {"prompt_ids": ids, "prompt_mask": torch.ones_like(ids), "completion_ids": said}
        batch |= {"completion_mask": torch.ones_like(said), "advantages": torch.linspace(-1, 1, rows)}
        batch["num_items_in_batch"] = torch.tensor(said.numel())
        trainer.current_gradient_accumulation_steps = 1
    batch = {key: value.to(model.device) for key, value in batch.items()}
    optimizer, model = trainer.create_optimizer(), trainer.model.train()

    def step() -> None:
        if side == "artwork, plain":
            shared, SharedPrefix.tree = SharedPrefix.tree, lambda *_: None
        try:
            loss = trainer.compute_loss(
                model, dict(batch), num_items_in_batch=batch.get("num_items_in_batch")
            )
        finally:
            if side == "artwork, plain":
                SharedPrefix.tree = shared
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


if __name__ == "__main__":
    main()
