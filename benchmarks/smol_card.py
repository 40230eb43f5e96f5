"""The numbers of docs/design/smol.md: what the tower of `smol` sees, as the frozen language model tells it.

    python benchmarks/smol_card.py [--pictures 100] [--tower FILE]

Writes benchmarks/results/smol_card.json after every measure, so that a killed run goes on where it was.
Pictures are of other seeds than those of training.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import re
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.common.cells import once
from pixeltune.bundled.smol import TOWER, naming, pictures, reading
from pixeltune.bundled.smol.assembly import assemble
from pixeltune.bundled.smol.pictures import SIDE, WORDS
from pixeltune.data.images import attach
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.statistics import wilson

OUT = Path(__file__).parent / "results" / "smol_card.json"
MADE_BY = "python benchmarks/smol_card.py"
AT_ONCE = 10  # pictures in a batch
KINDS = {
    "colour": "What colour",
    "shape": "What shape",
    "place": "Where",
    "what is where": "What is at",
    "count": "How many",
}


def share(hits: list[bool]) -> dict:
    return {"score": sum(hits) / len(hits), "n": len(hits), "ci95": wilson(sum(hits), len(hits))}


def ask(model, processor, asked: list[tuple[Any, str]], tokens: int = 40) -> list[str]:
    """Replies to questions, each about a picture of its own, some at a time."""
    said, backend = [], InProcess(model, processor)
    for at in range(0, len(asked), AT_ONCE):
        chats = [
            attach([{"role": "user", "content": question}], [Image.fromarray(shown)])
            for shown, question in asked[at : at + AT_ONCE]
        ]
        said += [reply.text.strip() for reply in backend.complete(chats, [None] * len(chats), tokens)]
    return said


def read_words(model, processor, count: int, per_row: int) -> dict:
    """Share of words that are read back at their place in the reply; ``per_row`` words, one a cell."""
    rng, hits = random.Random(f"card words {per_row}"), []
    rows = [rng.choices(WORDS, k=per_row) for _ in range(count)]
    shown = [pictures.words(rng, words + [None] * (SIDE**2 - per_row)) for words in rows]
    for words, said in zip(rows, ask(model, processor, [(one, reading.SAID) for one in shown]), strict=True):
        told = re.findall(r"\w+", said)
        hits += [told[n : n + 1] == [word] for n, word in enumerate(words)]
    return share(hits)


def read_lines(model, processor, count: int, per_line: int) -> dict:
    """Share of lines of ``per_line`` words that are read to the letter."""
    rng = random.Random(f"card lines {per_line}")
    written = [" ".join(rng.choices(WORDS, k=per_line)) for _ in range(count)]
    said = ask(model, processor, [(pictures.lines(rng, [line]), reading.SAID) for line in written])
    return share([one == line for one, line in zip(said, written, strict=True)])


def tell(model, processor, kind: str, count: int, most: int = 4) -> dict:
    """Share of questions of one kind about one to ``most`` shapes that are answered to the letter."""
    rng, asked, answers = random.Random(f"card {kind}"), [], []
    while len(asked) < count:
        shown = pictures.things(rng, rng.randint(1, most))
        if found := [one for one in reading.questions(shown) if one[0].startswith(KINDS[kind])]:
            question, answer = rng.choice(found)
            asked.append((pictures.scene(rng, shown), question))
            answers.append(answer)
    said = ask(model, processor, asked, 12)
    return share([one == answer for one, answer in zip(said, answers, strict=True)])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=100, help="of each kind")
    parser.add_argument("--tower", type=Path, default=TOWER)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args(argv)
    model, processor = assemble(arguments.tower)
    tower, count = model.model.visual, arguments.pictures
    names = naming.Names(model, processor.tokenizer)
    measures = {
        "cells named, no language model": lambda: naming.right(
            tower, processor, names, random.Random("card cells"), 20
        ),
        **{
            f"words one a cell, {n} in a row": lambda n=n: read_words(model, processor, count, n)
            for n in (1, 3, 8)
        },
        **{f"line of {n}": lambda n=n: read_lines(model, processor, count, n) for n in (1, 2, 3)},
        **{kind: lambda kind=kind: tell(model, processor, kind, count) for kind in KINDS},
        **{
            f"{kind}, of one shape": lambda kind=kind: tell(model, processor, kind, count, 1)
            for kind in KINDS
        },
    }
    seen = hashlib.sha256(arguments.tower.read_bytes()).hexdigest()
    facts = {"made_by": MADE_BY, "tower_parameters": sum(p.numel() for p in tower.parameters())}
    for name, measure in measures.items():
        print(
            name, once(arguments.out, name, {"tower": seen, "pictures": count}, measure, **facts), flush=True
        )


if __name__ == "__main__":
    main()
