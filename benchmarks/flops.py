"""How the arithmetic of an artwork's SFT step grows, counted, beside its floor and a LoRA's step.

    python benchmarks/flops.py [--table]

Floating-point operations of the second step (the first also computes what is kept afterwards), counted by
torch's FlopCounterMode with attention as plain matrix products; no clock is involved, so any machine gives
the same numbers. The floor: 4 N per token behind the artwork (forward, and backward through frozen weights; N
are the weights of the text layers' matrices), the same once per token of the artwork, 4 times the tower's
weights per patch (and merged patch), and the head at labels; no attention. Writes
benchmarks/results/flops.json and prints the tables of docs/results/performance.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common.cells import once, read
from benchmarks.common.random_model import save_random_model
from benchmarks.steps import make_step
from pixeltune.model.loading import load_model, load_processor

OUT = Path(__file__).parent / "results" / "flops.json"
SIDES = ("artwork", "artwork, plain", "lora")
GROWING = {  # cells of rows, tokens of the prompt, of the answer, image tokens
    "rows": [(rows, 64, 64, 64) for rows in (4, 8, 16, 32)],
    "answer": [(16, 64, answer, 64) for answer in (32, 64, 128, 256)],
    "image tokens": [(16, 64, 64, tokens) for tokens in (64, 144, 256)],
}
RANDOM = [(16, 64, 64, 64), (32, 128, 64, 64)]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", action="store_true", help="only print the tables of what is there")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        grids = {"tiny": sorted(set(chain(*GROWING.values()))), "random": RANDOM}
        for name, cells in grids.items():
            if name == "random" and not arguments.table:
                save_random_model(folder)
            for cell in () if arguments.table else cells:
                where, key = "tiny" if name == "tiny" else folder, f"{name}/{json.dumps(cell)}"
                work = partial(measure, where, cell, folder)
                print(
                    key,
                    once(OUT, key, {"sides": SIDES}, work, made_by="python benchmarks/flops.py"),
                    flush=True,
                )
    print(tables(read(OUT)["cells"]))


def measure(name: str, cell: tuple[int, int, int, int], folder: str) -> dict:
    """Operations by side: in matrices and convolutions, and in attention; and the floor."""
    out: dict[str, Any] = {}
    for side in SIDES:
        model = load_model(name)
        if side == "artwork":
            out["floor"] = floor(model, cell)
        step = make_step(model, load_processor(name), "sft", side, cell, folder)
        with sdpa_kernel(SDPBackend.MATH):
            step()
            with FlopCounterMode(display=False) as counter:
                step()
        counts = counter.get_flop_counts()["Global"]
        attention = sum(n for op, n in counts.items() if "bmm" in str(op))
        out[side] = {"matrices": sum(counts.values()) - attention, "attention": attention}
    return out


def floor(model: Any, cell: tuple[int, int, int, int]) -> int:
    """What cannot be left out, attention apart."""
    rows, prompt, answer, image = cell
    text, tower = model.model.language_model.layers, model.model.visual
    suffix = rows * (prompt + answer + 5)  # and what ends the question and begins the answer
    merged = weights(tower.merger) + sum(weights(m) for m in tower.deepstack_merger_list)
    patches = weights(tower.blocks) + tower.patch_embed.proj.weight.numel()
    seen = 4 * patches * 4 * image + 4 * merged * image
    return 4 * weights(text) * (suffix + image) + seen + 4 * model.lm_head.weight.numel() * rows * answer


def weights(module: torch.nn.Module) -> int:
    """Numbers in the matrices of linear layers."""
    return sum(m.weight.numel() for m in module.modules() if isinstance(m, torch.nn.Linear))


def tables(cells: dict) -> str:
    """Markdown: counts relative to the floor and to LoRA; how they grow, as straight lines."""
    head = ["model", "rows", "prompt", "answer", "image tokens", "floor, GFLOP", "matrices / floor"]
    head += ["with attention / floor", "artwork / LoRA", "artwork / plain"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for key, cell in cells.items():
        name, _, numbers = key.partition("/")
        whole = {side: sum(cell[side].values()) for side in SIDES}
        ratios = [cell["artwork"]["matrices"] / cell["floor"], whole["artwork"] / cell["floor"]]
        ratios += [whole["artwork"] / whole["lora"], whole["artwork"] / whole["artwork, plain"]]
        shown = [
            name,
            *map(str, json.loads(numbers)),
            f"{cell['floor'] / 1e9:.1f}",
            *(f"{r:.2f}" for r in ratios),
        ]
        lines.append(f"| {' | '.join(shown)} |")
    lines += ["", "| grows with | artwork, GFLOP | LoRA r=16, GFLOP | floor, GFLOP |", "|---|---|---|---|"]
    for what, grid in GROWING.items():
        found = [(c, cells[f"tiny/{json.dumps(c)}"]) for c in grid if f"tiny/{json.dumps(c)}" in cells]
        place = {"rows": 0, "answer": 2, "image tokens": 3}[what]
        sizes = [cell[place] for cell, _ in found]
        fits = [[sum(f[side].values()) for _, f in found] for side in ("artwork", "lora")]
        fits.append([f["floor"] for _, f in found])
        shown = [line(sizes, values, what) for values in fits] if len(found) > 1 else []
        lines += [f"| {what} | {' | '.join(shown)} |"] if shown else []
    return "\n".join(lines)


def line(sizes: list[int], values: list[float], what: str) -> str:
    """A straight line by least squares, and how far the worst point is from it."""
    slope, start = np.polyfit(sizes, np.array(values) / 1e9, 1)
    off = max(abs(start + slope * s - v / 1e9) / (v / 1e9) for s, v in zip(sizes, values, strict=True))
    return f"{start:.2f} + {slope:.4f} per {what.rstrip('s')} ({off:.1%} off at most)"


if __name__ == "__main__":
    main()
