"""Tokens a second of greedy answers in this process, against transformers' own `generate`.

    python benchmarks/generation.py [--rows 100] [--repetitions 5] [--table] [--quick]

The bundled model's answers to rows behind the drawing `tools`, four ways in turn in one process, after one unmeasured
turn: the model shown the PNG, by transformers' `generate`; the same with its static cache; the model that wears it
(its tokens computed once); and as pixeltune does, rows that have ended left out besides. Sums, calls, and sums of
which every tenth is kept from ending, as rows do that ramble. The report says how many passes rows took after the
first and how many rows say the same. Writes benchmarks/results/generation.json and prints the table of
docs/results/performance.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from PIL import Image

from benchmarks.common.cells import once, read
from benchmarks.common.paintings import quiet
from benchmarks.common.ratios import ratio
from pixeltune.evaluation import in_process
from pixeltune.evaluation.ends import end_ids
from pixeltune.evaluation.in_process import InProcess, wearing
from pixeltune.evaluation.scoring import opening
from pixeltune.model.loading import load_model, load_processor, weights_sha256
from pixeltune.picture.drawings import draw
from pixeltune.tasks.base import find_task

OUT = Path(__file__).parent / "results" / "generation.json"
SIDE = 256  # of a picture of 64 tokens, in pixels
WAYS = ("stock", "static", "worn", "ours")
CASES = {"sums": ("sums", 0), "calls": ("calls", 0), "sums, one in ten does not end": ("sums", 10)}
SEED, LIMIT = 42, 96  # new tokens at most


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    parser.add_argument("--quick", action="store_true", help="few rows, once, to see that it works")
    arguments = parser.parse_args(argv)
    quiet()
    out = Path(tempfile.gettempdir(), "pixeltune-generation", OUT.name) if arguments.quick else OUT
    rows, repetitions = (4, 1) if arguments.quick else (arguments.rows, arguments.repetitions)
    if not arguments.table:
        model, processor = load_model("tiny"), load_processor("tiny")
        for case, (task, every) in CASES.items():
            settings = {
                "base": weights_sha256(model),
                "rows": rows,
                "repetitions": repetitions,
                "limit": LIMIT,
                "every": every,
            }
            work = partial(measure, model, processor, task, every, rows, repetitions)
            cell = once(out, f"{case}/{rows}", settings, work, made_by="python benchmarks/generation.py")
            print(case, json.dumps(cell), flush=True)
    print(table(read(out)["cells"]))


def measure(model: Any, processor: Any, name: str, every: int, n: int, repetitions: int) -> dict:
    """Seconds of each batch, passes of its rows, and tokens of answers, all ways in turn."""
    picture = Image.fromarray(draw("tools", SIDE, SIDE))
    rows = find_task(name).rows("test", n, SEED)
    talks, tools = zip(*(opening(row, []) for row in rows), strict=True)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    said: dict[str, list[str]] = {}
    passes: dict[str, int] = {}
    lengths: list[int] = []
    for turn in range(repetitions + 1):
        for way in WAYS:
            # As among several processes transformers' own loop is taken.
            loop = (
                nullcontext() if way == "ours" else mock.patch.object(in_process, "_many", return_value=True)
            )
            shown = InProcess(model, processor, picture) if way in ("stock", "static") else None
            with loop, nullcontext(shown) if shown else wearing(model, processor, picture) as backend:
                rambling = Rambling(every, end_ids(model, processor.tokenizer))
                backend.sampling = _sampling(way, rambling)
                begin = time.perf_counter()
                replies = backend.complete(list(talks), list(tools), LIMIT)
                took = time.perf_counter() - begin
            if turn > 0:
                seconds[way].append(round(took, 4))
            said[way] = [reply.text for reply in replies]
            passes[way] = rambling.passes
            lengths = [reply.completion_tokens or 0 for reply in replies]
    same = {way: sum(a == b for a, b in zip(said[way], said["stock"], strict=True)) for way in WAYS}
    return {"seconds": seconds, "row_passes": passes, "tokens": lengths, "rows_that_say_the_same": same}


class Rambling:
    """A processor of logits that keeps some rows from ending, known by their prompts, and counts rows.

    Args:
        every: one row in so many does not end; 0: all end where they will.
        ends: ids of tokens that end an answer.
    """

    def __init__(self, every: int, ends: list[int]) -> None:
        self.every, self.ends, self.passes = every, ends, 0
        self.width, self.kept = 0, set[tuple[int, ...]]()

    def __call__(self, ids: Any, scores: Any) -> Any:
        if not self.passes and self.every:
            self.width, self.kept = ids.shape[1], {tuple(row) for row in ids[:: self.every].tolist()}
        self.passes += len(ids)
        if self.kept:
            on = [i for i, row in enumerate(ids[:, : self.width].tolist()) if tuple(row) in self.kept]
            scores[[[i] for i in on], self.ends] = float("-inf")
        return scores


def _sampling(way: str, processor: Any) -> Mapping[str, Any]:
    kind = {"cache_implementation": "static", "disable_compile": True} if way == "static" else {}
    return {"do_sample": False, "logits_processor": [processor], **kind}


def table(cells: dict) -> str:
    """Markdown: medians of the ratios of seconds, with their range."""
    lines = [
        "| answers | tokens: median, most | static / stock | worn / stock | ours / stock | ours / worn "
        "| passes of rows, ours and others |",
        "|---|---|---|---|---|---|---|",
    ]
    for key, cell in cells.items():
        seconds, passes = cell["seconds"], cell["row_passes"]
        shown = [
            ratio(seconds[over], seconds[way])  # how many times as fast
            for way, over in (("static", "stock"), ("worn", "stock"), ("ours", "stock"), ("ours", "worn"))
        ]
        tokens = f"{statistics.median(cell['tokens']):.0f}, {max(cell['tokens'])}"
        counted = f"{passes['ours']:,}, {passes['stock']:,}"
        lines.append(f"| {key.partition('/')[0]} | {tokens} | {' | '.join(shown)} | {counted} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
