"""Painting a part of the token cells: a chosen few of the 64, or one half of them at a time.

    python benchmarks/patches.py [--tasks sums calls] [--seeds 42 43] [--table] [--quick]

SFT on the bundled model from our drawing of tools, as in `beauty.py`, whose paintings of all cells are the
comparison. A cell is the square of 32 x 32 pixels that becomes one image token.

Few: k cells may be painted, the rest stay the start picture. They are drawn at random (`--cells`) or those to
which the loss is most, or least, sensitive at the start: the steepest gradient of the log-likelihood of the
right completions of training rows, root mean square over a cell (as in `pixeltune.gallery.maps`).

Rounds: at any step one half of the cells is painted, and the halves change every so many steps. Under a
bound that costs score, so that there is something to win.

Writes benchmarks/results/patches.json cell by cell (a killed run goes on) and prints the tables of
docs/results/style.md.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from skimage.metrics import structural_similarity

from benchmarks import beauty
from benchmarks.beauty import START
from benchmarks.common.accuracy_table import interval, share
from benchmarks.common.cells import once, read
from benchmarks.common.paintings import amounts, begin, model, painting, processor, right
from pixeltune.adapter.guard import art_layer
from pixeltune.data.placement import place_image
from pixeltune.evaluation.backends import image_parts
from pixeltune.evaluation.robustness import psnr
from pixeltune.evaluation.scoring import opening
from pixeltune.gallery.maps import log_likelihood
from pixeltune.model.preprocessing import Preprocessor
from pixeltune.picture.canvas import cells_mask
from pixeltune.picture.drawings import draw
from pixeltune.tasks.base import find_task

OUT = Path(__file__).parent / "results" / "patches.json"
TASKS = ["sums", "calls"]
SIDE, CELL = 8, 32  # cells a side of the picture, pixels a side of a cell
ROWS = 16  # training rows that sensitivity is measured on
FEW = [(k, how) for k in (8, 4, 16) for how in ("steepest", "random")] + [(16, "flattest")]
ROUNDS = [("none", 0), ("checkerboard", 5), ("random half", 5)]
BOUNDS = {"sums": "16", "calls": "4"}  # grey levels


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[42, 43])
    parser.add_argument("--table", action="store_true", help="only print the tables of what is there")
    parser.add_argument("--quick", action="store_true", help="two steps, a few rows, to see that it works")
    arguments = parser.parse_args(argv)
    out, rows = begin(OUT, arguments.quick)
    for seed in () if arguments.table else arguments.seeds:
        for name in cases(TASKS[0], seed):
            for task in arguments.tasks:
                work, settings = cases(task, seed)[name]
                made_by = "python benchmarks/patches.py"
                settings = amounts(rows) | {"start": START, "seed": seed} | settings
                cell = once(out, f"{task}/{name}/{seed}", settings, partial(work, rows), made_by=made_by)
                print(task, name, seed, share(cell["right"]), cell["cell_seconds"], flush=True)
    free = {key: cell for key, cell in read(beauty.OUT)["cells"].items() if "/free/" in key}
    print(table(read(out)["cells"] | free))


def cases(task: str, seed: int) -> dict[str, tuple[Any, dict]]:
    """What is measured, by name: from the number of rows to a cell, and what that depends on."""
    found = {
        f"{k} {how}": (partial(few, task, seed, k, how), {"cells": k, "how": how, "rows_of_map": ROWS})
        for k, how in FEW
    }
    for halves, length in ROUNDS:
        settings = {"halves": halves, "length": length, "bound": BOUNDS[task]}
        found[rounds_name(halves, length)] = partial(half, task, seed, halves, length), settings
    return found


def rounds_name(halves: str, length: int) -> str:
    return f"{halves}, {length} steps" if length else "all cells under the bound"


def few(task: str, seed: int, k: int, how: str, rows: int) -> dict:
    """Paint only `k` cells."""
    gradient = sensitivity(task, seed)
    order = np.argsort(-gradient, axis=None)
    chosen = np.zeros(gradient.size, bool)
    chosen[order[-k:] if how == "flattest" else order[:k]] = True
    chosen = chosen.reshape(gradient.shape)
    with tempfile.TemporaryDirectory() as folder:
        mask = Path(folder, "mask.png")
        Image.fromarray(enlarged(chosen)).save(mask)
        flags = ["--mask", str(mask)]
        if how == "random":
            height, width = SIDE * CELL, SIDE * CELL
            chosen = cells_mask(k, gradient.size, height, width, seed)[::CELL, ::CELL].numpy()
            flags = ["--cells", str(k)]
        pixels = painting(task, seed, "--start", START, *flags)[0].pixels
    start = draw(START, *pixels.shape[:2])
    assert (pixels == start)[enlarged(chosen) == 0].all()
    of_all = float(gradient[chosen].sum() / gradient.sum())
    return {
        **described(task, seed, pixels, rows),
        "chosen": chosen.astype(int).tolist(),
        "of_gradient": of_all,
    }


def half(task: str, seed: int, halves: str, length: int, rows: int) -> dict:
    """Paint one half of the cells at a time."""
    with rounds(halves, length, seed):
        pixels = painting(task, seed, "--start", START, "--bound", BOUNDS[task])[0].pixels
    return described(task, seed, pixels, rows)


def described(task: str, seed: int, pixels: np.ndarray, rows: int) -> dict:
    start = draw(START, *pixels.shape[:2])
    noise = psnr(Image.fromarray(start), Image.fromarray(pixels))
    return {
        "right": right(task, pixels, rows, seed),
        "psnr": noise and round(noise, 2),
        "ssim": round(float(structural_similarity(start, pixels, channel_axis=2)), 4),
    }


@cache
def sensitivity(task: str, seed: int) -> np.ndarray:
    """How steeply right completions change with each cell of the start picture, `(SIDE, SIDE)` float."""
    start = draw(START, SIDE * CELL, SIDE * CELL)
    picture = torch.tensor(start).permute(2, 0, 1).float() / 255
    preprocessor, total = Preprocessor(processor()), np.zeros((SIDE, SIDE))
    base = model().requires_grad_(False)
    for row in find_task(task).rows("train", ROWS, seed):
        messages, tools = opening(row, [])
        prompt, whole = (
            processor().apply_chat_template(
                image_parts(place_image(turns, "")), tools=tools, tokenize=False, add_generation_prompt=more
            )
            for turns, more in ((messages, True), (messages + row["completion"], False))
        )
        assert whole.startswith(prompt)
        said = processor().tokenizer(whole[len(prompt) :], add_special_tokens=False)["input_ids"]
        batch = processor()(text=[prompt], images=[Image.fromarray(start)], return_tensors="pt")
        seen = picture.clone().requires_grad_(True)
        log_likelihood(base, preprocessor, batch, said, [seen]).sum().backward()
        squares = seen.grad.square().reshape(3, SIDE, CELL, SIDE, CELL)
        total += squares.mean(dim=(0, 2, 4)).sqrt().numpy()
    return total / ROWS


class Rounds(transformers.TrainerCallback):
    """Lets the optimiser move one half of the cells only, another one after every `length` steps."""

    def __init__(self, halves: str, length: int, seed: int) -> None:
        self.halves, self.length, self.seed = halves, length, seed

    def half(self, step: int) -> torch.Tensor:
        """The pixels that a step may move, `(H, W)` bool; from seed and step alone."""
        number = step // self.length
        if self.halves == "checkerboard":
            chosen = np.indices((SIDE, SIDE)).sum(0) % 2 == number % 2
        else:
            order = np.random.default_rng([self.seed, number]).permutation(SIDE * SIDE)
            chosen = (order < SIDE * SIDE // 2).reshape(SIDE, SIDE)
        return torch.from_numpy(enlarged(chosen) > 0)

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs) -> None:
        self.pixels = art_layer(model).canvas().pixels
        self.before, self.now = self.pixels.detach().clone(), self.half(state.global_step)
        self.pixels.grad.mul_(self.now)

    def on_optimizer_step(self, args, state, control, **kwargs) -> None:
        # Adam's momentum moves pixels without a gradient too.
        self.pixels.data.copy_(torch.where(self.now, self.pixels.data, self.before))


@contextmanager
def rounds(halves: str, length: int, seed: int) -> Iterator[None]:
    """Trainers that are made inside paint in rounds; a length of 0 leaves them as they are."""
    everywhere = transformers.trainer.DEFAULT_CALLBACKS
    callbacks = [Rounds(halves, length, seed)] if length else []
    everywhere.extend(callbacks)
    try:
        yield
    finally:
        for callback in callbacks:
            everywhere.remove(callback)


def enlarged(chosen: np.ndarray) -> np.ndarray:
    """Cells as pixels, 255 where they are chosen, `(SIDE * CELL, SIDE * CELL)` uint8."""
    return np.kron(chosen, np.full((CELL, CELL), 255)).astype(np.uint8)


def table(cells: dict) -> str:
    """Markdown: few cells, and rounds; seeds together."""
    lines = ["| task | painted | right | each seed | SSIM |", "|---|---|---|---|---|"]
    few_names = ["free", *(f"{k} {how}" for k, how in sorted(FEW, key=lambda kh: -kh[0]))]
    for names in (few_names, [rounds_name(*r) for r in ROUNDS]):
        for task in TASKS:
            for name in names:
                found = [cell for key, cell in cells.items() if key.startswith(f"{task}/{name}/")]
                if not found:
                    continue
                parts = ", ".join(f"{share(cell['right']):.1%}" for cell in found)
                ssim = np.mean([cell["ssim"] for cell in found])
                every = interval("".join(cell["right"] for cell in found))
                lines.append(f"| {task} | {name} | {every} | {parts} | {ssim:.3f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
