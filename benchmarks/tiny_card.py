"""The numbers of docs/design/tiny.md: what the bundled model can do, told and untold, by words and by cards.

    python benchmarks/tiny_card.py [--rows 400] [--model FOLDER --seeds 1 2 --out FILE]

Writes benchmarks/results/tiny_card.json, for the weights in FOLDER, made by `make tiny`, another file.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.common.machine import machine
from pixeltune.bundled.tiny import behaviours, pictures
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.scoring import score_rows
from pixeltune.evaluation.statistics import wilson
from pixeltune.model.loading import load_model, load_processor
from pixeltune.tasks.synthetic import calls, sums, turns
from pixeltune.tasks.synthetic.boards import COLOURS, PLACES, SIZE, tile_question, tiles
from pixeltune.writing import write_atomically

OUT = Path(__file__).parent / "results" / "tiny_card.json"
MADE_BY = "python benchmarks/tiny_card.py"


def proportion(right: int, n: int) -> dict:
    return {"score": right / n, "n": n, "ci95": wilson(right, n)}


def obedience(model, processor, how: str, rows: int) -> dict:
    """Share of replies that show every told value, for 8 ways to reply to sums and 5 to requests."""
    rng, eyes, out = random.Random(1), np.random.default_rng(1), {}
    ways = [
        (sums.TASK, dict(zip(("method", "ending", "tone"), values, strict=True)))
        for values in itertools.product(("worked", "guessed"), ("answer", "sentence"), ("terse", "chatty"))
    ]
    ways += [(calls.TASK, {"tools": "talk", "tone": tone}) for tone in ("terse", "chatty")]
    ways += [(calls.TASK, {"tools": "call", "language": language}) for language in ("en", "de", "fr")]
    for task, told in ways:
        items = task.rows("test", rows, seed=2)
        if "language" in told:
            items = [row for row in task.rows("test", 6 * rows, seed=2) if row["call"] == "null"][:rows]
        picture = Image.fromarray(pictures.card(told, eyes)) if how == "card" else None
        instruction = behaviours.instruct(told, rng) if how == "words" else ""
        result = score_rows(task, items, InProcess(model, processor, picture), instruction)
        shown = [behaviours.shown(record["completions"][0]) for record in result.records]
        right = sum(told.items() <= seen.items() for seen in shown)
        out[f"{task.name}: {', '.join(told.values())}"] = proportion(right, len(items))
    return out


TOLD = {"role": "system", "content": "Reply in English. Be brief."}


def board_colours(model, processor, boards: int = 60, seed: int = 3) -> dict:
    """Share of tiles told rightly, place and colour, on ``boards`` new boards; each is asked about alone."""
    eyes, right = np.random.default_rng(seed), 0
    asked = [[TOLD, {"role": "user", "content": tile_question(p)}] for p in PLACES]
    for _ in range(boards):
        names = eyes.choice(list(COLOURS), (2, 2)).tolist()
        backend = InProcess(model, processor, Image.fromarray(tiles(names, eyes)))
        said = backend.complete(asked, [None] * len(asked), 12)
        places = PLACES.items()
        for reply, (place, (r, c)) in zip(said, places, strict=True):
            right += reply.text == f"{place} {names[r][c]}"
    return proportion(right, boards * len(asked))


def one_tile(name: str, place: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A quarter of the picture, at row and column ``place``, of the named colour; the rest is plain grey."""
    picture, (row, column), half = np.full((SIZE, SIZE, 3), 128, np.uint8), place, SIZE // 2
    quarter = np.s_[row * half : (row + 1) * half, column * half : (column + 1) * half]
    picture[quarter] = tiles([[name]], rng)[quarter]
    return picture


def tile_colours(model, processor, rounds: int = 5, seed: int = 3) -> dict:
    """Share of pictures of one tile on grey told rightly: each colour at each place."""
    eyes, right = np.random.default_rng(seed), 0
    shown = [(name, place) for name in COLOURS for place in PLACES] * rounds
    for name, place in shown:
        picture = Image.fromarray(one_tile(name, PLACES[place], eyes))
        asked = [TOLD, {"role": "user", "content": tile_question(place)}]
        (reply,) = InProcess(model, processor, picture).complete([asked], [None], 12)
        right += reply.text == f"{place} {name}"
    return proportion(right, len(shown))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--model", default="tiny", help="a folder with other weights than the bundled ones")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="of the rows")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args(argv)
    started = time.perf_counter()
    model, processor = load_model(arguments.model), load_processor(arguments.model)
    skills = {}
    for task in (sums.TASK, calls.TASK, turns.TASK):
        rows = [row for seed in arguments.seeds for row in task.rows("test", arguments.rows, seed)]
        for key, instruction in (("untold", ""), ("best instruction", task.instruction)):
            result = score_rows(task, rows, InProcess(model, processor), instruction).summary()
            skills.setdefault(task.name, {})[key] = result
            print(task.name, key, result, flush=True)
    report = {
        "made_by": MADE_BY,
        "machine": machine(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "skills": skills,
        "told by words": obedience(model, processor, "words", arguments.rows // 8),
        "told by a card": obedience(model, processor, "card", arguments.rows // 8),
        "colour of the only tile": tile_colours(model, processor),
        "colour of one of four tiles": board_colours(model, processor),
        "seconds": round(time.perf_counter() - started),
    }
    write_atomically(arguments.out, json.dumps(report, indent=2) + "\n")
    print(json.dumps({k: v for k, v in report.items() if k != "skills"}, indent=1))


if __name__ == "__main__":
    main()
