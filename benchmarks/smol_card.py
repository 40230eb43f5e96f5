"""The numbers of docs/design/smol.md: what the tower of `smol` sees, as the frozen language model tells it.

    python benchmarks/smol_card.py [--pictures 100] [--tower FILE]

Writes benchmarks/results/smol_card.json. Pictures are of other seeds than those of training.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from pathlib import Path

import torch
from PIL import Image

from benchmarks.common.machine import machine
from pixeltune.bundled.smol import TOWER, naming, pictures, reading
from pixeltune.bundled.smol.assembly import assemble
from pixeltune.bundled.smol.pictures import SIDE, WORDS
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.statistics import wilson
from pixeltune.writing import write_atomically

OUT = Path(__file__).parent / "results" / "smol_card.json"
MADE_BY = "python benchmarks/smol_card.py"
KINDS = {
    "colour": "What colour",
    "shape": "What shape",
    "place": "Where",
    "what is where": "What is at",
    "count": "How many",
}


def share(hits: list[bool]) -> dict:
    return {"score": sum(hits) / len(hits), "n": len(hits), "ci95": wilson(sum(hits), len(hits))}


def ask(model, processor, picture, question: str, tokens: int = 40) -> str:
    chat = [[{"role": "user", "content": question}]]
    (reply,) = InProcess(model, processor, Image.fromarray(picture)).complete(chat, [None], tokens)
    return reply.text.strip()


def read(model, processor, count: int, per_row: int) -> dict:
    """Share of words that are read back at their place in the reply; ``per_row`` words, one a cell."""
    rng, hits = random.Random(f"card words {per_row}"), []
    for _ in range(count):
        words = rng.choices(WORDS, k=per_row)
        said = ask(model, processor, pictures.words(rng, words + [None] * (SIDE**2 - per_row)), reading.SAID)
        told = re.findall(r"\w+", said)
        hits += [told[n : n + 1] == [word] for n, word in enumerate(words)]
    return share(hits)


def read_lines(model, processor, count: int, per_line: int) -> dict:
    """Share of lines of ``per_line`` words that are read to the letter."""
    rng, hits = random.Random(f"card lines {per_line}"), []
    for _ in range(count):
        line = " ".join(rng.choices(WORDS, k=per_line))
        hits.append(ask(model, processor, pictures.lines(rng, [line]), reading.SAID) == line)
    return share(hits)


def tell(model, processor, kind: str, count: int) -> dict:
    """Share of questions of one kind about one to four shapes that are answered to the letter."""
    rng, hits = random.Random(f"card {kind}"), []
    while len(hits) < count:
        shown = pictures.things(rng, rng.randint(1, 4))
        asked = [one for one in reading.questions(shown) if one[0].startswith(KINDS[kind])]
        if asked:
            question, answer = rng.choice(asked)
            hits.append(ask(model, processor, pictures.scene(rng, shown), question, 12) == answer)
    return share(hits)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=100, help="of each kind")
    parser.add_argument("--tower", type=Path, default=TOWER)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args(argv)
    started = time.perf_counter()
    model, processor = assemble(arguments.tower)
    names = naming.Names(model, processor.tokenizer)
    report: dict = {
        "made_by": MADE_BY,
        "machine": machine(),
        "tower_parameters": sum(p.numel() for p in model.model.visual.parameters()),
        "cells named, no language model": naming.right(
            model.model.visual, processor, names, random.Random("card cells"), 20
        ),
    }
    measures = {
        **{
            f"words one a cell, {n} in a row": lambda n=n: read(model, processor, arguments.pictures, n)
            for n in (1, 3, 8)
        },
        **{
            f"line of {n}": lambda n=n: read_lines(model, processor, arguments.pictures, n) for n in (1, 2, 3)
        },
        **{kind: lambda kind=kind: tell(model, processor, kind, arguments.pictures) for kind in KINDS},
    }
    for name, measure in measures.items():
        report[name] = measure()
        print(name, report[name], flush=True)
    report["seconds"] = round(time.perf_counter() - started)
    report["torch"] = torch.__version__
    write_atomically(arguments.out, json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
