"""What `pixeltune sample` is good for on the bundled model: pools, rounds, fresh pairs, and what own answers keep.

    python benchmarks/samples.py [--seeds 42 43 44] [--parts pool rounds pairs own] [--table] [--quick]

Pool: five right answers to each of 200 prompts of sums. One is written as the model can write, four are not (`POOL`):
80 % of the targets are unsayable. SFT on what `--keep likeliest` keeps, on as many answers drawn from the pool, one a
prompt, and on those alone that can be said.

Rounds: three times `--keep right` and `sft`, without references, each round asked and painted on with the last picture
(the first one without any, from grey), and GRPO from grey, both with 1,152 completions.

Pairs: DPO on `tiles`, from a picture of 10 steps of SFT, three rounds of 8 steps, each on the pairs of 120 other
prompts. Fresh: each round's pairs are made with the picture that it begins with; stale: with the first picture. All
else is the same, and so is the reference of each round, the picture that it begins with.

Own: SFT on the model's own right answers, drawn without a picture or words, and on the references of the same
prompts. What a right answer to other tasks, told in words, then costs in nats a token, and how many are right.

Paintings begin at grey but for the named ones, at a rate of 0.06; all answer the same 200 test rows of a seed. Writes
benchmarks/results/samples.json cell by cell (a killed run goes on) and prints tables.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.common import boxed, paintings
from benchmarks.common.accuracy_table import share
from benchmarks.common.cells import once, read
from benchmarks.common.paintings import amounts, begin, marks, model, processor, right
from benchmarks.common.sample_table import OTHERS, OWN, PAIRS, POOL_WAYS, said, table
from pixeltune.artwork.artwork import Artwork
from pixeltune.data.turns import each_turn
from pixeltune.errors import RunError
from pixeltune.evaluation.in_process import InProcess, wearing
from pixeltune.evaluation.picking import question
from pixeltune.evaluation.sampling import sample
from pixeltune.evaluation.scoring import opening
from pixeltune.tasks.base import find_task
from pixeltune.tasks.synthetic import sums, tiles
from pixeltune.training.paint import paint

OUT = Path(__file__).parent / "results" / "samples.json"
SEEDS = [42, 43, 44]  # of rows, of answers and of paintings
PARTS = ("pool", "rounds", "pairs", "own")
RATE = 0.06
POOL = ("can be said", "\\boxed{N}", '{"result": N}', "words shuffled", "words joined by _")
ROUNDS, ROUND_STEPS, SAMPLES = 3, 8, 4
GRPO_STEPS, COMPLETIONS = 18, 64
ROUND_PROMPTS = GRPO_STEPS * COMPLETIONS // ROUNDS // SAMPLES
TILES_STEPS, TILES_PROMPTS = 10, 120
TASKS = ["calls", "sums"]
few = 0
"""Prompts in place of each number above, in a quick run."""


def main(argv: list[str] | None = None) -> None:
    global few
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--table", action="store_true", help="only print the tables of what is there")
    parser.add_argument("--quick", action="store_true", help="two steps, a few rows, to see that it works")
    arguments = parser.parse_args(argv)
    out, n = begin(OUT, arguments.quick)
    few = 48 if arguments.quick else 0
    for seed in () if arguments.table else arguments.seeds[: 1 if few else None]:
        for name, (work, settings) in cases(arguments.parts, seed, n).items():
            settings = amounts(n) | {"seed": seed, "rate": RATE, "few": few} | settings
            cell = once(out, f"{name}/{seed}", settings, work, made_by="python benchmarks/samples.py")
            print(name, seed, said(cell), flush=True)
    print(table(read(out)["cells"]))


def cases(parts: Sequence[str], seed: int, n: int) -> dict[str, tuple[Callable[[], dict], dict]]:
    """What is measured, by name: what makes a cell, and what that depends on."""
    found: dict[str, tuple[Callable[[], dict], dict]] = {}
    if "pool" in parts:
        for way in POOL_WAYS:
            found[f"pool/{way}"] = partial(from_pool, way, seed, n), {"prompts": 200}
    if "rounds" in parts:
        budget, grpo = [ROUNDS, ROUND_STEPS, ROUND_PROMPTS, SAMPLES], [GRPO_STEPS, COMPLETIONS]
        for task in TASKS:
            found[f"rounds/{task}/rounds"] = partial(self_training, task, seed, n), {"budget": budget}
            found[f"rounds/{task}/grpo"] = partial(rewarded, task, seed, n), {"budget": grpo}
    if "pairs" in parts:
        for way in PAIRS:
            budget = [ROUNDS, ROUND_STEPS, TILES_PROMPTS, SAMPLES, TILES_STEPS]
            found[f"pairs/{way}"] = partial(preferences, way, seed, n), {"budget": budget}
    if "own" in parts:
        for task in TASKS:
            for way in OWN:
                found[f"own/{task}/{way}"] = partial(forgetting, task, way, seed, n), {"prompts": [200, 8]}
    return found


def from_pool(way: str, seed: int, n: int) -> dict:
    """SFT on one answer a prompt; `kept` counts the kinds of answers by `POOL`."""
    rows = pool(few or 200, seed)
    with tempfile.TemporaryDirectory() as folder:
        if way == "likeliest":
            lines = [{"prompt": row["prompt"], "completion": text} for row in rows for text in row["shown"]]
            source = written(lines, Path(folder, "pool.jsonl"))
            made = sample(data=source, output=Path(folder, "kept"), keep=way, rows=None, quiet=True)
            chosen = [row["completion"][0]["content"] for row in lines_of(made.path)]
        else:
            rng = random.Random(f"drawn {seed}")
            chosen = [row["texts"][0] if way == "sayable" else rng.choice(row["texts"]) for row in rows]
        lines = [{"prompt": row["prompt"], "completion": one} for row, one in zip(rows, chosen, strict=True)]
        artwork = painted("sft", seed, paintings.STEPS, data=written(lines, Path(folder, "rows.jsonl")))
    kinds = [row["texts"].index(text) for row, text in zip(rows, chosen, strict=True)]
    return {
        "right": right("sums", artwork.pixels, n, seed),
        "kept": {kind: kinds.count(number) for number, kind in enumerate(POOL)},
    }


def pool(n: int, seed: int) -> list[dict]:
    """Prompts of sums with an answer of each kind of `POOL` in `texts`, and the same in any order in `shown`.

    Only the first is written as the bundled model was taught. The two endings were never shown to it and cannot be
    painted (docs/results/accuracy.md), and neither shuffled nor joined words does it ever write. All hold the right
    number, so nothing but the writing tells them apart; the task's score is for the first alone.
    """
    rng, out = random.Random(f"pool {seed}"), {}
    endings = (sums.rows, boxed.boxed, boxed.field)
    for same in zip(*(rows("train", 2 * n, seed) for rows in endings), strict=True):
        texts = [row["completion"][0]["content"] for row in same]
        words = texts[0].split()
        shuffled = texts[0]
        while sums.score(same[0], shuffled):  # by chance the answer may stand where it belongs
            shuffled = " ".join(rng.sample(words, len(words)))
        texts += [shuffled, "_".join(words)]
        prompt = same[0]["prompt"]  # which may be drawn twice
        out[json.dumps(prompt)] = {"prompt": prompt, "texts": texts, "shown": rng.sample(texts, len(texts))}
    return list(out.values())[:n]


def self_training(task: str, seed: int, n: int) -> dict:
    """Rounds of own right answers; `rows` of each, and the score behind each."""
    picture, rows, scores = None, [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(ROUNDS):
            made = sample(
                task, output=Path(folder, f"{number}.jsonl"), rows=few or ROUND_PROMPTS, samples=SAMPLES,
                seed=ROUNDS * seed + number, artwork=picture, quiet=True,
            )  # fmt: skip
            given = {"start": picture, "licence": "CC0-1.0"} if picture else {}
            picture = saved(
                painted("sft", seed, steps(ROUND_STEPS), data=str(made.path), **given), folder, number
            )
            rows.append(made.counts["rows"])
            scores.append(right(task, Artwork.load(picture).pixels, n, seed))
    return {"right": scores[-1], "rows": rows, "after": [share(one) for one in scores]}


def rewarded(task: str, seed: int, n: int) -> dict:
    """GRPO; where no answer was ever rewarded nothing is learned, and the picture stays grey."""
    groups = {"per_device_train_batch_size": 16 if few else COMPLETIONS, "num_generations": 8}
    try:
        made = painted("grpo", seed, steps(GRPO_STEPS), task=task, max_completion_length=96, **groups)
    except RunError as error:
        if "no gradient" not in str(error):
            raise
        return {"right": right(task, np.full((256, 256, 3), 128, np.uint8), n, seed), "learned": False}
    return {"right": right(task, made.pixels, n, seed), "learned": True}


def preferences(way: str, seed: int, n: int) -> dict:
    """DPO in rounds; `pairs` of each. The same prompts either way."""
    first, pairs = first_tiles(seed), []
    picture = first
    with tempfile.TemporaryDirectory() as folder:
        for number in range(0 if way == "start" else ROUNDS):
            made = sample(
                data=asked_tiles(seed, number), reward="pixeltune.tasks.synthetic.tiles:reward", max_new_tokens=32,
                output=Path(folder, f"{number}.jsonl"), keep="pairs", rows=None, samples=SAMPLES,
                seed=ROUNDS * seed + number, artwork=picture if way == "fresh" else first, quiet=True,
            )  # fmt: skip
            given = {"start": picture, "licence": "CC0-1.0", "data": str(made.path)}
            picture = saved(painted("dpo", seed, steps(ROUND_STEPS), **given), folder, number)
            pairs.append(made.counts["rows"])
        return {"right": right("tiles", Artwork.load(picture).pixels, n, seed), "pairs": pairs}


@cache
def first_tiles(seed: int) -> str:
    """A picture that leaves room for preferences; other rows than the pairs are made from."""
    made = painted("sft", seed, steps(TILES_STEPS), task="tiles", train_rows=160)
    return saved(made, home().name, f"tiles-{seed}")


@cache
def asked_tiles(seed: int, number: int) -> str:
    """The prompts of a round as a file: a row of one needs its board as a file, too."""
    n = few or TILES_PROMPTS
    rows = tiles.rows("train", 160 + ROUNDS * n, seed)[160 + number * n :][:n]
    folder = Path(home().name, f"tiles-{seed}-{number}")
    folder.mkdir()
    lines = []
    for place, row in enumerate(rows):
        row["images"][0].save(folder / f"{place}.png")
        images = [str(folder / f"{place}.png")]
        lines.append({"prompt": row["prompt"], "answer": row["answer"], "images": images})
    return str(written(lines, folder / "rows.jsonl"))


def forgetting(task: str, way: str, seed: int, n: int) -> dict:
    """Right answers to the task, and to others that are told in words with their losses: nats and tokens a row."""
    pixels = None
    if way != "none":
        made = painted("sft", seed, paintings.STEPS, data=own_answers(task, seed)[way])
        pixels = made.pixels
    out: dict[str, Any] = {"right": right(task, pixels, n, seed) if pixels is not None else "", "others": {}}
    for other in OTHERS[task]:
        kind = find_task(other)
        rows = kind.rows("test", n, seed)
        with looking(pixels) as backend:
            out["others"][other] = {
                "right": marks(other, rows, backend, kind.instruction),
                "losses": losses(each_turn(rows), kind.instruction, backend),
            }
    return out


@cache
def own_answers(task: str, seed: int) -> dict[str, str]:
    """Files of the model's own right answers, and of the references of the same prompts."""
    folder = Path(home().name)
    made = sample(
        task, output=folder / f"own-{task}-{seed}.jsonl", rows=few or 200, samples=8, seed=seed, quiet=True
    )  # fmt: skip
    rows = {json.dumps(question(row)): row for row in find_task(task).rows("train", few or 200, seed)}
    asked = [json.dumps({k: v for k, v in row.items() if k != "completion"}) for row in lines_of(made.path)]
    lines = [json.loads(one) | {"completion": rows[one]["completion"]} for one in asked]
    return {"own": str(made.path), "references": written(lines, folder / f"references-{task}-{seed}.jsonl")}


def losses(rows: list[dict], words: str, backend: InProcess) -> list[list[float]]:
    """Nats and tokens of each reference, told in words."""
    talks, tools = zip(*(opening(row, [{"role": "system", "content": words}]) for row in rows), strict=True)
    found = backend.losses(list(talks), [row["completion"] for row in rows], list(tools))
    return [[round(nats, 4), tokens] for nats, tokens in found]


def painted(verb: str, seed: int, max_steps: int, **given: Any) -> Artwork:
    usual: dict[str, Any] = {"per_device_train_batch_size": paintings.BATCH, "learning_rate": RATE}
    usual |= {"held_out_rows": 0, "snapshot_steps": 0, "score_steps": 0, "train_rows": 1000}
    usual |= {"save_strategy": "no", "report_to": "none"}
    with tempfile.TemporaryDirectory() as folder:
        made = paint(verb, quiet=True, seed=seed, max_steps=max_steps, output_dir=folder, **usual | given)
    if not made.finished:
        raise KeyboardInterrupt  # a painting cut short is no result
    return made.artwork


def steps(number: int) -> int:
    return min(number, paintings.STEPS)


def saved(artwork: Artwork, folder: str, name: object) -> str:
    return str(artwork.save(Path(folder, f"{name}.png")))


def written(lines: list[dict], path: Path) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return str(path)


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def looking(pixels: Any) -> Any:
    """A context with the model that sees a picture, or none."""
    if pixels is None:
        return nullcontext(InProcess(model(), processor()))
    return wearing(model(), processor(), Image.fromarray(pixels))


@cache
def home() -> tempfile.TemporaryDirectory:
    """Where rows and pictures lie until this process ends."""
    return tempfile.TemporaryDirectory()


if __name__ == "__main__":
    main()
