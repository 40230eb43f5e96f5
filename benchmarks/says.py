"""Is what a picture does among the first ten texts that `pixeltune show --says` lists? And do shades find it?

    python benchmarks/says.py [--behaviours call answer ...] [--seeds 42 43] [--table] [--quick]

Twelve artworks of six behaviours of the bundled model (`bundled/tiny/behaviours.py`) are painted from its own texts, by
SFT from grey: 40 steps of 16 rows at 0.06. The last behaviour is triggered by a word that no prompt of
`pixeltune.evaluation.sayings` holds: a tool is called when the request says "train", else there is talk.
A grey picture is looked at too: it should do nothing.

* does: the share of held-out requests (of the triggered one those with the word) that are answered so, greedily.

* found: whether the behaviour's mark (below) is in one of the first ten texts; beside it, whether it is in one of ten
  plain samples, at a temperature of 1, to the same prompts in turn. Of the triggered one also with the word in prompts.
* auc: over the tokens of greedy answers to held-out requests, whether the log ratio (by which a gallery shades) tells
  those that are changed from the others: changed is a token that is not the likeliest without the picture,
  behind the same beginning. The area under the ROC curve.

Writes benchmarks/results/says.json cell by cell (a killed run goes on) and prints the table.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy.stats import rankdata

from benchmarks.common.cells import once, read
from benchmarks.common.paintings import base_hash, begin, model, processor
from pixeltune.artwork.artwork import Artwork
from pixeltune.bundled.tiny import behaviours
from pixeltune.data.placement import place_image
from pixeltune.data.tools import tools_of
from pixeltune.evaluation.agreement import after
from pixeltune.evaluation.drawing import IN_PROCESS
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.sayings import PROMPTS, TEXTS, row_of, says
from pixeltune.evaluation.scoring import opening
from pixeltune.evaluation.statistics import wilson
from pixeltune.tasks.synthetic import calls, sums
from pixeltune.training.paint import paint

OUT = Path(__file__).parent / "results" / "says.json"
SEEDS = [42, 43]  # of rows and of the painting
ROWS, BATCH, RATE, LENGTH = 1000, 16, 0.06, 64
WORD = "train"


@dataclass(frozen=True)
class Behaviour:
    """One way to behave, and how it shows."""

    mark: str
    """A regular expression that is found in texts that behave so."""
    how: dict[str, str]
    """Values of `behaviours.AXES`; what is not named is drawn as the untold model does it."""
    asked: Callable[[random.Random], sums.Problem | calls.Request]


def tool_fits(rng: random.Random) -> calls.Request:
    return calls.request(rng, fits=True)


def none_fits(rng: random.Random) -> calls.Request:
    return calls.request(rng, fits=False)


def half_with_word(rng: random.Random) -> calls.Request:
    """A request that some tool fits, one in two with the word in it."""
    wanted = rng.random() < 0.5
    while (item := tool_fits(rng)) and (WORD in item.text) != wanted:
        pass
    return item


BEHAVIOURS = {
    "worked": Behaviour(r"\d[+*-]\d.*=", {"method": "worked"}, sums.problem),
    "answer": Behaviour("Answer:", {"method": "guessed", "ending": "answer"}, sums.problem),
    "call": Behaviour("<tool_call>", {"tools": "call"}, tool_fits),
    "german": Behaviour("Kein Werkzeug", {"tools": "call", "language": "de"}, none_fits),
    "french": Behaviour("Aucun outil", {"tools": "call", "language": "fr"}, none_fits),
    "word": Behaviour("<tool_call>", {"tools": "call"}, half_with_word),
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--behaviours", nargs="+", choices=BEHAVIOURS, default=list(BEHAVIOURS))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    parser.add_argument("--quick", action="store_true", help="two steps, a few rows, to see that it works")
    arguments = parser.parse_args(argv)
    out, n = begin(OUT, arguments.quick)
    n, steps, rows = (n, 2, 32) if arguments.quick else (100, 40, ROWS)
    amounts = {"base": base_hash(), "test": n, "steps": steps, "rows": rows, "batch": BATCH, "rate": RATE}
    wanted = [("grey", 0), *((name, seed) for seed in arguments.seeds for name in arguments.behaviours)]
    for name, seed in () if arguments.table else wanted:
        settings = amounts | {"behaviour": name, "seed": seed}
        work = partial(measure, name, seed, n, steps, rows)
        cell = once(out, f"{name}/{seed}", settings, work, made_by="python benchmarks/says.py")
        print(name, seed, {key: cell.get(key) for key in ("does", "found", "sampled", "auc")}, flush=True)
    print(table(read(out)["cells"]))


def texts(name: str, split: str, n: int, seed: int) -> list[dict]:
    """Rows that show a behaviour; those of the test split are held out of training, as everywhere."""
    shown, rng, found = BEHAVIOURS[name], random.Random(f"{name} {split} {seed}"), []
    while len(found) < n:
        item = shown.asked(rng)
        if item.held_out != (split == "test"):
            continue
        how = shown.how
        if name == "word" and WORD not in item.text:
            how = {"tools": "talk"}
        how = behaviours.complete(how, rng)
        request = isinstance(item, calls.Request)
        said = behaviours.answer_request(item, how) if request else behaviours.answer_sum(item, how)
        asked = item.text if request else sums.ask(item.steps, rng)
        row = {"prompt": [{"role": "user", "content": asked}]}
        row["completion"] = [{"role": "assistant", "content": said}]
        found.append(row | ({"tools": list(item.tools)} if request else {}))
    return found


def measure(name: str, seed: int, n: int, steps: int, rows: int) -> dict:
    """One artwork: painted, asked, and its answers shaded."""
    artwork = painted("call" if name == "grey" else name, seed, 0 if name == "grey" else steps, rows)
    found = says(artwork, quiet=True)
    listed = [
        {"text": one.text, "ratio": round(one.ratio, 3), "often": round(one.often, 4)} for one in found.texts
    ]
    cell = {"texts": listed, "strong": len(found.strong)}
    if name == "grey":
        return cell
    mark, backend = BEHAVIOURS[name].mark, InProcess(model(), processor(), artwork.image)
    cell["found"] = any(re.search(mark, one.text) for one in found.texts)
    cell["sampled"] = any(re.search(mark, text) for text in samples(backend, list(PROMPTS), seed))
    asked = texts(name, "test", n, seed)
    if name == "word":
        asked = [row for row in asked if WORD in row["prompt"][0]["content"]]
        own = says(artwork, prompts=asked[:4], quiet=True)
        cell["found_with_word"] = any(re.search(mark, one.text) for one in own.texts)
    answers = answered(backend, asked)
    cell["does"] = "".join(str(int(bool(re.search(mark, text)))) for text in answers)
    return cell | shades(artwork, asked, answers)


def painted(name: str, seed: int, steps: int, rows: int) -> Artwork:
    """An artwork for a behaviour; after no steps, a grey one."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.jsonl")
        path.write_text("".join(json.dumps(row) + "\n" for row in texts(name, "train", rows, seed)))
        given = {"data": path, "seed": seed, "max_steps": max(steps, 1), "learning_rate": RATE}
        given |= {
            "per_device_train_batch_size": BATCH,
            "held_out_rows": 0,
            "snapshot_steps": 0,
            "score_steps": 0,
        }
        painting = paint(
            "sft", quiet=True, save_strategy="no", report_to="none", output_dir=Path(folder, "run"), **given
        )
    if not painting.finished:
        raise KeyboardInterrupt  # a painting cut short is no result
    artwork = painting.artwork
    return artwork if steps else Artwork(np.full_like(artwork.pixels, 128), artwork.provenance)


def samples(backend: InProcess, rows: list, seed: int) -> list[str]:
    """As many plain samples as texts are listed, one after another to each row in turn."""
    torch.manual_seed(seed)
    backend.sampling = {**IN_PROCESS, "temperature": 1.0}
    said = answered(backend, [rows[i % len(rows)] for i in range(TEXTS)])
    backend.sampling = InProcess.sampling
    return said


def answered(backend: InProcess, rows: list[dict]) -> list[str]:
    talks, tools = zip(*(opening(row_of(row), []) for row in rows), strict=True)
    return [reply.text for reply in backend.complete(list(talks), list(tools), LENGTH)]


def shades(artwork: Artwork, rows: list[dict], answers: list[str]) -> dict:
    """How well the log ratio of a token tells whether it is the likeliest without the picture as well."""
    nats, changed = [], []
    for row, text in zip(rows, answers, strict=True):
        talk, tools = row["prompt"], tools_of(row_of(row))
        ids = processor().tokenizer(text, add_special_tokens=False)["input_ids"]
        _, seen = after(model(), processor(), artwork.image, place_image(talk, ""), tools, ids)
        _, plain = after(model(), processor(), None, talk, tools, ids)
        nats += [(seen[n, token] - plain[n, token]).item() for n, token in enumerate(ids)]
        changed += (plain[: len(ids)].argmax(-1) != torch.tensor(ids)).tolist()
    return {"tokens": len(nats), "changed": sum(changed), "auc": auc(np.array(nats), np.array(changed, bool))}


def auc(values: np.ndarray, right: np.ndarray) -> float | None:
    """Area under the ROC curve, by ranks (Mann and Whitney); None where there is one kind only."""
    one, other = int(right.sum()), int((~right).sum())
    if not one or not other:
        return None
    above = rankdata(values)[right].sum() - one * (one + 1) / 2
    return round(float(above / (one * other)), 4)


def table(cells: dict) -> str:
    """Markdown: a row for each behaviour, its artworks together, and all of them with the bars."""
    lines = [
        "| behaviour | artworks | does | among the first ten | sampled | AUC of shades |",
        "|---|---|---|---|---|---|",
    ]
    every = {key: cell for key, cell in cells.items() if not key.startswith("grey/")}
    for name in BEHAVIOURS:
        if found := [cell for key, cell in every.items() if key.startswith(f"{name}/")]:
            lines.append(_line(name, found))
    if every:
        lines.append(_line("all", list(every.values())))
    for key, cell in cells.items():
        if key.startswith("grey/"):
            lines.append(f"\nA grey picture: {cell['strong']} strong texts.")
    return "\n".join(lines)


def _line(name: str, cells: list[dict]) -> str:
    does = "".join(cell["does"] for cell in cells)
    low, high = wilson(does.count("1"), len(does))
    share = f"{does.count('1') / max(1, len(does)):.1%} ({low:.1%} to {high:.1%}, n = {len(does)})"
    counts = [f"{sum(cell[key] for cell in cells)} of {len(cells)}" for key in ("found", "sampled")]
    known = [cell["found_with_word"] for cell in cells if "found_with_word" in cell]
    counts[0] += f" ({sum(known)} of {len(known)} with the word)" if known and name != "all" else ""
    areas = [cell["auc"] for cell in cells if cell["auc"] is not None]
    spread = f"{np.mean(areas):.3f}, least {min(areas):.3f}" if areas else "-"
    return f"| {name} | {len(cells)} | {share} | {counts[0]} | {counts[1]} | {spread} |"


if __name__ == "__main__":
    main()
