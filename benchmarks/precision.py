"""Bases in other precisions: the gradients they give pixels, and how artworks get from one to another.

    python benchmarks/precision.py [--table] [--quick]

For each precision the gradient of the pixels from the same 16 rows of sums and calls, beside that of the
float32 base, at the start picture and at a painted one; for quantised bases also beside that of the quantised
weights computed with in float32. Then artworks are painted on one base and shown to all. The bundled model,
without a GPU. Writes benchmarks/results/precision.json cell by cell, prints the tables of
docs/results/precision.md.
"""

from __future__ import annotations

import pixeltune  # noqa: F401  first: it makes torchvision importable beside a CPU torch

# isort: split
import argparse
import json
import logging
import math
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import get_peft_model
from torch.nn.functional import cosine_similarity

from benchmarks.common.accuracy_table import interval, share
from benchmarks.common.cells import once, read
from benchmarks.common.paintings import amounts, begin, painting, processor, right
from pixeltune.adapter import ArtConfig
from pixeltune.artwork.artwork import Artwork
from pixeltune.data.placement import place_row
from pixeltune.model.loading import load_model
from pixeltune.tasks.base import find_task

OUT = Path(__file__).parent / "results" / "precision.json"
TASKS = ["sums", "calls"]
PRECISIONS = {  # arguments of `load_model`
    "float32": {"dtype": "float32"},
    "bfloat16": {"dtype": "bfloat16"},
    "float16": {"dtype": "float16"},
    "8-bit, float32": {"dtype": "float32", "bits": 8},
    "4-bit, float32": {"dtype": "float32", "bits": 4},
    "8-bit, bfloat16": {"dtype": "bfloat16", "bits": 8},
    "4-bit, bfloat16": {"dtype": "bfloat16", "bits": 4},
}
COPIES = ["float32", "bfloat16", "float16", "8-bit, float32", "4-bit, float32"]
BASES = {  # flags of `pixeltune sft`
    "float32": [],
    "bfloat16": ["--dtype", "bfloat16"],
    "8-bit, float32": ["--load_in_8bit", "true"],
    "4-bit, float32": ["--load_in_4bit", "true"],
}
SCALE = 2.0**16  # of the loss: where torch's GradScaler begins
PICTURES = {"start": "grey start", "sums": "painted for sums"}
BATCH_SEEDS = [1, 2, 3]
ROWS_SEED, SEED = 7, 42


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", action="store_true", help="only print the tables of what is there")
    parser.add_argument("--quick", action="store_true", help="two steps, a few rows, to see that it works")
    arguments = parser.parse_args(argv)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it tells of a cast in every pass
    out, rows = begin(OUT, arguments.quick)
    rows = min(rows, 100)
    for key, work in () if arguments.table else cases(rows).items():
        settings = amounts(rows) | {"batches": BATCH_SEEDS, "rows_seed": ROWS_SEED, "seed": SEED}
        cell = once(out, key, settings, work, made_by="python benchmarks/precision.py")
        print(key, share(cell["right"]) if "right" in cell else cell, flush=True)
    print(tables(read(out)["cells"]))


def cases(rows: int) -> dict[str, Any]:
    """What is measured, by name; scores in float16, which takes a processor longest, at the end."""
    found, late = {}, {}
    for picture in PICTURES:
        for name in PRECISIONS:
            if name != "float32":
                found[f"gradient/{picture}/{name}"] = partial(gradients, name, picture)
    for base in BASES:
        for task in TASKS:
            for copy in COPIES:
                work = partial(score, task, base, copy, rows)
                (late if copy == "float16" else found)[f"score/{task}/{base}/{copy}"] = work
    return found | late


@cache
def painted(task: str, base: str) -> Artwork:
    """An artwork painted on a base in that precision."""
    return painting(task, SEED, *BASES[base])[0]


@cache
def copy_of_base(precision: str) -> Any:
    return load_model("tiny", **PRECISIONS[precision])


def score(task: str, base: str, precision: str, rows: int) -> dict:
    """A 1 or 0 for each test row, of an artwork painted on `base`, shown to a copy in `precision`."""
    pixels = painted(task, base).pixels
    return {"right": right(task, pixels, rows, ROWS_SEED, copy_of_base(precision))}


def gradients(precision: str, picture: str) -> dict:
    """For each batch: cosines of pixel gradients, the share of zeros, the ratio of norms."""
    model = load_model("tiny", **PRECISIONS[precision])
    own = load_model("tiny", **PRECISIONS[precision]).dequantize().float() if "bit" in precision else None
    batches = []
    for seed in BATCH_SEEDS:
        exact, found = exact_gradient(picture, seed), gradient(model, picture, seed)
        measured = {"cosine": cosine(found, exact), "norm": float(found.norm() / exact.norm())}
        measured["zeros"] = float((found == 0).double().mean())
        if precision == "float16":
            measured["scaled"] = cosine(gradient(model, picture, seed, SCALE), exact)
        if own is not None:
            measured["own"] = cosine(found, gradient(own, picture, seed))
        batches.append(measured)
    return {"batches": batches}


@cache
def exact_gradient(picture: str, seed: int) -> torch.Tensor:
    return gradient(copy_of_base("float32"), picture, seed)


def gradient(model: Any, picture: str, seed: int, scale: float = 1.0) -> torch.Tensor:
    """The gradient of the pixels, flat, float64, by way of the loss times `scale`."""
    worn = get_peft_model(model, ArtConfig(image_tokens=64)).train()
    try:
        layer = worn.base_model._layer()
        if picture != "start":
            layer.canvas().set_picture(painted(picture, "float32").pixels)
        (parameter,) = [p for p in worn.parameters() if p.requires_grad]
        loss = worn(**batch(worn.art_block, seed)).loss
        (found,) = torch.autograd.grad(loss * scale, parameter)
    finally:
        worn.unload()
        model.eval()
    return found.flatten().double() / scale


@cache
def batch(block: str, seed: int) -> dict[str, torch.Tensor]:
    """Eight rows of each task with the artwork's placeholder; the answers are the labels."""
    rows = [row for task in TASKS for row in find_task(task).rows("train", 8, seed)]
    tokenizer, prompts, texts = processor().tokenizer, [], []
    for row in rows:
        placed = place_row(row, block)
        tools = json.loads(row["tools"]) if row.get("tools") else None
        render = partial(processor().apply_chat_template, tools=tools, tokenize=False)
        prompts.append(render(placed["prompt"], add_generation_prompt=True))
        texts.append(render([*placed["prompt"], *placed["completion"]]))
    out = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt", add_special_tokens=False)
    labels = out["input_ids"].masked_fill(out["attention_mask"] == 0, -100)
    for i, ids in enumerate(tokenizer(prompts, add_special_tokens=False)["input_ids"]):
        labels[i, : len(ids)] = -100
    return {**out, "labels": labels}


def cosine(one: torch.Tensor, two: torch.Tensor) -> float:
    return float(cosine_similarity(one, two, dim=0))


def tables(cells: dict) -> str:
    """Markdown: lowest and highest cosines of gradients over batches, then scores with intervals."""
    lines = ["| base | picture | to float32 | to its own weights in float32 | zeros |", "|" + "---|" * 5]
    for name in PRECISIONS:
        for picture in PICTURES:
            if cell := cells.get(f"gradient/{picture}/{name}"):
                lines += gradient_lines(name, picture, cell["batches"])
    lines += ["", f"| task | painted on | {' | '.join(COPIES)} |", "|" + "---|" * (2 + len(COPIES))]
    for task in TASKS:
        for base in BASES:
            found = [cells.get(f"score/{task}/{base}/{copy}") for copy in COPIES]
            if any(found):
                shown = [interval(cell["right"]) if cell else "" for cell in found]
                lines.append(f"| {task} | {base} | {' | '.join(shown)} |")
    return "\n".join(lines)


def gradient_lines(name: str, picture: str, batches: list[dict]) -> list[str]:
    def over(key: str) -> str:
        values = [math.floor(one[key] * 1e4) / 1e4 for one in batches if key in one]  # never rounded up
        return f"{min(values):.4f} to {max(values):.4f}" if values else ""

    zeros = np.mean([one["zeros"] for one in batches])
    lines = [f"| {name} | {PICTURES[picture]} | {over('cosine')} | {over('own')} | {zeros:.2%} |"]
    if scaled := over("scaled"):
        lines.append(f"| {name}, loss times {SCALE:g} | {PICTURES[picture]} | {scaled} | | |")
    return lines


if __name__ == "__main__":
    main()
