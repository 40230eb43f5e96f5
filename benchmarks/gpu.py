"""The step times of benchmarks/steps.py on a GPU: random Qwen3-VL and Qwen3.5 of about 1 B and 4 B, bfloat16.

    python benchmarks/gpu.py [--repetitions 5] [--minutes 8]
    python benchmarks/gpu.py --smoke        # a very small Qwen3-VL and Qwen3.5 on the CPU: does it run?

Sides take turns in one process; a model is left out when the minutes are over. Writes
benchmarks/results/gpu.json with absolute times and, for each side, the peak memory of a step above what was
allocated before it. Not run on a GPU yet.
"""

from __future__ import annotations

import pixeltune  # noqa: F401  first: it makes torchvision importable beside a CPU torch

# isort: split
import argparse
import gc
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, Qwen3_5Config, Qwen3VLConfig

from benchmarks.common.machine import machine
from benchmarks.steps import SEED, SIDES, compare, make_step, take_turns
from pixeltune.bundled import tiny
from pixeltune.model.loading import load_model, load_processor
from pixeltune.writing import write_atomically

OUT = Path(__file__).parent / "results" / "gpu.json"
# Family: text width, layers, heads, key-value heads, width between; of a size with the released ones.
SHAPES = {
    ("qwen3_vl", "1B"): (1536, 20, 12, 4, 4608),
    ("qwen3_5", "1B"): (1536, 20, 12, 4, 4608),
    ("qwen3_vl", "4B"): (2560, 36, 32, 8, 9728),
    ("qwen3_5", "4B"): (2560, 36, 32, 8, 9728),
}
SMOKE = {(family, "smoke"): (64, 4, 2, 1, 96) for family in ("qwen3_vl", "qwen3_5")}
CELLS = {"sft": [(32, 128, 128, 64)], "grpo": [(32, 256, 128, 64)]}  # as in steps.py


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--smoke", action="store_true")
    arguments = parser.parse_args(argv)
    if not (arguments.smoke or torch.cuda.is_available()):
        print("no GPU here, nothing measured; --smoke tries the script on the CPU")
        return
    device = torch.device("cpu" if arguments.smoke else "cuda")
    started, cells, left_out = time.perf_counter(), [], []
    for (family, size), shape in (SMOKE if arguments.smoke else SHAPES).items():
        for verb, (cell,) in CELLS.items():
            if time.perf_counter() - started > 60 * arguments.minutes * 0.75:
                left_out.append(f"{family} {size} {verb}")
                continue
            cell = (8, 8, 8, 64) if arguments.smoke else cell
            cells.append({"family": family, "size": size, "verb": verb, "cell": cell})
            cells[-1] |= measure(family, shape, verb, cell, device, arguments.repetitions)
            print(json.dumps(cells[-1]), flush=True)
    report = {
        "made_by": "python benchmarks/gpu.py",
        "machine": machine() | ({} if arguments.smoke else {"gpu": torch.cuda.get_device_name()}),
        "repetitions": arguments.repetitions,
        "seed": SEED,
        "cells": cells,
        "left_out": left_out,
    }
    if not arguments.smoke:
        write_atomically(OUT, json.dumps(report, indent=2) + "\n")


def random_model(family: str, shape: tuple[int, int, int, int, int], device: torch.device) -> Any:
    """A model of the bundled model's tokens and picture geometry, made on the device in bfloat16."""
    width, layers, heads, shared, between = shape
    known = load_model("tiny").config
    text = {
        "vocab_size": 151_936 if width > 64 else known.text_config.vocab_size,
        "hidden_size": width,
        "intermediate_size": between,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": shared,
        "head_dim": 128 if width > 64 else 64,
        "tie_word_embeddings": True,
        "pad_token_id": known.text_config.pad_token_id,
    }
    vision = known.vision_config.to_dict() | {"out_hidden_size": width}
    ids = {name: getattr(known, name) for name in vars(known) if name.endswith("_token_id")}
    ids = {name: value for name, value in ids.items() if name.split("_")[0] in ("image", "video", "vision")}
    if family == "qwen3_vl":
        text["rope_parameters"] = known.text_config.rope_parameters | {"mrope_section": [24, 20, 20]}
        if width <= 64:
            text["rope_parameters"] = known.text_config.rope_parameters
        config = Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **ids)
    else:
        vision = {name: vision[name] for name in vision if "deepstack" not in name and name != "model_type"}
        config = Qwen3_5Config(text_config=text, vision_config=vision, tie_word_embeddings=True, **ids)
    torch.manual_seed(SEED)
    with device:
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    model.name_or_path = str(tiny.PATH)  # whose processor it uses
    return model


def measure(
    family: str, shape: tuple, verb: str, cell: tuple, device: torch.device, repetitions: int
) -> dict[str, Any]:
    """Seconds and memory of every side's steps."""
    gpu, processor = device.type == "cuda", load_processor("tiny")
    with tempfile.TemporaryDirectory() as folder:
        models = {side: random_model(family, shape, device) for side in SIDES}
        parameters = sum(p.numel() for p in models["full"].parameters())
        steps = {side: make_step(models[side], processor, verb, side, cell, folder) for side in SIDES}
        peak = {}
        if gpu:
            steps = {side: _watched(step, side, peak) for side, step in steps.items()}
        seconds = take_turns(steps, repetitions)
        del models, steps
        gc.collect()
        if gpu:
            torch.cuda.empty_cache()
    return {"parameters": parameters, **compare(seconds), "peak_mib_of_a_step": peak}


def _watched(step: Callable[[], None], side: str, peak: dict[str, int]) -> Callable[[], None]:
    """A step that waits for the GPU to end, and notes the memory it took."""

    def watched() -> None:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        torch.cuda.synchronize()
        peak[side] = round((torch.cuda.max_memory_allocated() - before) / 2**20)

    return watched


if __name__ == "__main__":
    main()
