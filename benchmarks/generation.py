"""Tokens a second of greedy answers in this process, against transformers' own `generate`.

    python benchmarks/generation.py [--model tiny | smol] [--rows 20] [--repetitions 5] [--table] [--quick]

The same rows of sums and calls behind the drawing `tools`, three ways in turn in one process, after one unmeasured
turn: the stock model shown the PNG by stock `generate`; the model that wears it (its tokens computed once), by stock
`generate`; and as pixeltune does, rows that have ended left out besides. The tokens of an answer count up to its
end; the report says how many rows say the same. Writes benchmarks/results/generation.json and prints the table of
docs/results/performance.md.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import tempfile
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from PIL import Image

from benchmarks.common.cells import once, read
from benchmarks.common.paintings import quiet
from pixeltune.evaluation import in_process
from pixeltune.evaluation.in_process import InProcess, wearing
from pixeltune.evaluation.scoring import opening
from pixeltune.model.loading import load_model, load_processor, weights_sha256
from pixeltune.picture.drawings import draw
from pixeltune.tasks.base import find_task

OUT = Path(__file__).parent / "results" / "generation.json"
SIDES = {"tiny": 256, "smol": 224}  # of a picture of 64 tokens, in pixels
WAYS = ("stock", "worn", "ours")
SEED, LIMIT = 42, 48  # new tokens at most


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=tuple(SIDES), default="tiny")
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    parser.add_argument("--quick", action="store_true", help="few rows, once, to see that it works")
    arguments = parser.parse_args(argv)
    quiet()
    out = Path(tempfile.gettempdir(), "pixeltune-generation", OUT.name) if arguments.quick else OUT
    rows, repetitions = (4, 1) if arguments.quick else (arguments.rows, arguments.repetitions)
    if not arguments.table:
        model, processor = load_model(arguments.model), load_processor(arguments.model)
        for task in ("sums", "calls"):
            settings = {
                "base": weights_sha256(model),
                "rows": rows,
                "repetitions": repetitions,
                "limit": LIMIT,
            }
            work = partial(measure, model, processor, task, rows, repetitions, SIDES[arguments.model])
            made_by = "python benchmarks/generation.py --model tiny, --model smol"
            cell = once(out, f"{arguments.model}/{task}/{rows}", settings, work, made_by=made_by)
            print(arguments.model, task, json.dumps(cell), flush=True)
    print(table(read(out)["cells"]))


def measure(model: Any, processor: Any, name: str, n: int, repetitions: int, side: int) -> dict:
    """Seconds of each batch, those in the kernel, and tokens of answers, all ways in turn."""
    picture = Image.fromarray(draw("tools", side, side))
    rows = find_task(name).rows("test", n, SEED)
    talks, tools = zip(*(opening(row, []) for row in rows), strict=True)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    kernel: dict[str, list[float]] = {way: [] for way in WAYS}
    said: dict[str, list[str]] = {}
    lengths: list[int] = []
    for turn in range(repetitions + 1):
        for way in WAYS:
            # As among several processes transformers' own loop is taken.
            loop = (
                nullcontext() if way == "ours" else mock.patch.object(in_process, "_many", return_value=True)
            )
            shown = nullcontext(InProcess(model, processor, picture))
            with loop, shown if way == "stock" else wearing(model, processor, picture) as backend:
                begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_stime
                replies = backend.complete(list(talks), list(tools), LIMIT)
                took = time.perf_counter() - begin
                system = resource.getrusage(resource.RUSAGE_SELF).ru_stime - before
            if turn > 0:
                seconds[way].append(round(took, 4))
                kernel[way].append(round(system, 4))
            said[way] = [reply.text for reply in replies]
            lengths = [reply.completion_tokens for reply in replies]
    same = {way: sum(a == b for a, b in zip(said[way], said["stock"], strict=True)) for way in WAYS}
    return {"seconds": seconds, "kernel_seconds": kernel, "tokens": lengths, "rows_that_say_the_same": same}


def table(cells: dict) -> str:
    """Markdown: medians of the ratios of tokens a second, with their range."""
    lines = [
        "| model | task | rows | tokens of an answer | worn / stock | ours / stock |",
        "|---|---|---|---|---|---|",
    ]
    for key, cell in cells.items():
        shown = []
        for way in ("worn", "ours"):
            both = zip(cell["seconds"]["stock"], cell["seconds"][way], strict=True)
            ratios = [stock / mine for stock, mine in both]
            shown.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        tokens = f"{min(cell['tokens'])} to {max(cell['tokens'])}"
        lines.append(f"| {' | '.join(key.split('/'))} | {tokens} | {' | '.join(shown)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
