"""Requests per second and time to the first token of one vLLM: text, text with an artwork, and LoRA.

    make .venv-vllm; python benchmarks/serving.py [--models tiny random] [--rounds 3] [--table]

Two servers of the same frozen base run side by side (CPU build), one as it is and one with LoRA enabled
(rank 16, all linear layers of the language model); only one is asked at a time. Four sides take turns: text
alone, text behind an artwork, text to the base of the LoRA server, text to the LoRA. Questions are all
different (held-out sums), every answer has 256 tokens (``ignore_eos``), at concurrency 1, 8 and 64, with the
prefix cache on and off. Artwork and LoRA are random: what they say does not matter to the clock. "random" is
a Qwen3-VL of 115 M parameters. Writes benchmarks/results/serving.json and prints the tables of
docs/results/performance.md.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import openai
import torch

from benchmarks.common.baselines import LINEAR
from benchmarks.common.cells import once, read
from benchmarks.common.random_model import save_random_model
from benchmarks.common.ratios import ratio
from pixeltune.adapter import ArtConfig
from pixeltune.artwork.png import encode_png
from pixeltune.bundled.tiny import PATH
from pixeltune.data.placement import place_image
from pixeltune.model.loading import load_model
from pixeltune.picture.files import data_url
from pixeltune.tasks.synthetic import sums

OUT = Path(__file__).parent / "results" / "serving.json"
ROOT = Path(__file__).parents[1]
SEED, TOKENS = 42, 256
REQUESTS = {  # of a side in a round, by concurrency
    "tiny": {1: 4, 8: 24, 64: 128},
    "random": {1: 1, 8: 8, 64: 64},
}
CACHES = {"on": "--enable-prefix-caching", "off": "--no-enable-prefix-caching"}
BLOCK = "--block-size=32"  # tokens; with the CPU build's 128 no prompt here would fill one: nothing to cache
LORA = "--enable-lora --max-lora-rank=16 --max-loras=1".split()
SIDES = ("text", "text + artwork", "base, LoRA enabled", "LoRA")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=REQUESTS, default=list(REQUESTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--table", action="store_true", help="only print the tables of what is there")
    arguments = parser.parse_args(argv)
    for name in () if arguments.table else arguments.models:
        for cache in CACHES:
            settings = {"rounds": arguments.rounds, "requests": REQUESTS[name], "seed": SEED}
            work = partial(measure, name, cache, arguments.rounds)
            made_by = "python benchmarks/serving.py"
            once(OUT, f"{name}, prefix cache {cache}", settings, work, made_by=made_by)
    print(tables(read(OUT)["cells"]))


def measure(name: str, cache: str, rounds: int) -> dict:
    """By concurrency and side: requests per second of every round, milliseconds to every first token."""
    sys.path.insert(0, str(ROOT / "tests"))
    from vllm_server import vllm_server

    with tempfile.TemporaryDirectory() as folder:
        base = str(PATH) if name == "tiny" else f"{folder}/base"
        if name == "random":
            save_random_model(base)
        picture, lora = adapters(base, f"{folder}/lora")
        # The answer comes in two parts, the first token and the rest: a client that reads 256 parts would
        # take more of the two cores than the engine, the same on all sides, and hide what differs.
        options = [CACHES[cache], f"--stream-interval={TOKENS}", BLOCK]
        with (
            vllm_server(base, Path(folder, "plain.log"), *options, name="base") as plain,
            vllm_server(
                base, Path(folder, "lora.log"), *options, *LORA, f"--lora-modules=lora={lora}", name="base"
            ) as lora_enabled,
        ):
            servers = [(plain, "base")] * 2 + [(lora_enabled, "base"), (lora_enabled, "lora")]
            where = dict(zip(SIDES, servers, strict=True))
            found = {
                str(at_once): {side: {"per_second": [], "first_ms": []} for side in SIDES}
                for at_once in REQUESTS[name]
            }
            for number in range(rounds + 1):
                for at_once, count in REQUESTS[name].items():
                    # New questions in every round, or the cache would know them; a short first one warms up.
                    rows = sums.rows("test", count if number else at_once, SEED + 100 * number + at_once)
                    prompts = [row["prompt"] for row in rows]
                    shift = number % len(SIDES)
                    for side in SIDES[shift:] + SIDES[:shift]:
                        worn = side == "text + artwork"
                        asked = [place_image(prompt, picture) if worn else prompt for prompt in prompts]
                        per_second, firsts = asyncio.run(ask_all(*where[side], asked, at_once))
                        if number:
                            found[str(at_once)][side]["per_second"].append(round(per_second, 3))
                            found[str(at_once)][side]["first_ms"] += firsts
                    print(name, cache, number, at_once, flush=True)
    return found


def adapters(base: str, lora: str) -> tuple[str, str]:
    """A data URL of 64 image tokens of noise; the folder of a LoRA none of whose matrices is zero."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(SEED)
    wearing = get_peft_model(load_model(base), ArtConfig(image_tokens=64, start="noise"))
    config = LoraConfig(r=16, lora_alpha=32, target_modules=LINEAR, init_lora_weights=False)
    get_peft_model(load_model(base), config).save_pretrained(lora)
    return data_url(encode_png(wearing.get_artwork_image(), {})), lora


async def ask_all(url: str, model: str, conversations: list, at_once: int) -> tuple[float, list[float]]:
    """Requests per second, and milliseconds to the first token of each, `at_once` of them at a time."""
    room = asyncio.Semaphore(at_once)
    async with openai.AsyncOpenAI(base_url=url, api_key="x", max_retries=0, timeout=600) as client:

        async def one(messages: list) -> float:
            async with room:
                begin, first, usage = time.perf_counter(), None, None
                stream = await client.chat.completions.create(
                    model=model,
                    messages=messages,
                    stream=True,
                    stream_options={"include_usage": True},
                    temperature=0.0,
                    max_tokens=TOKENS,
                    logprobs=True,  # a random model's tokens need not be text: a part without any is not sent
                    extra_body={"ignore_eos": True, "skip_special_tokens": False},
                )
                async for part in stream:
                    if part.choices and part.choices[0].logprobs and first is None:
                        first = time.perf_counter() - begin
                    usage = part.usage or usage
                if first is None or usage.completion_tokens != TOKENS:
                    raise RuntimeError(f"an answer of {TOKENS} tokens was asked for, not {usage}")
                return round(1e3 * first, 1)

        begin = time.perf_counter()
        firsts = await asyncio.gather(*map(one, conversations))
        return len(conversations) / (time.perf_counter() - begin), list(firsts)


def tables(cells: dict) -> str:
    """Markdown: requests per second relative to text alone, and milliseconds to the first token."""
    lines = [
        "| model | prefix cache | at once | text, requests/s | text + artwork | base, LoRA enabled | LoRA "
        "| first token, ms: text | text + artwork | base, LoRA enabled | LoRA |",
        "|" + "---|" * 11,
    ]
    for name, cell in cells.items():
        model, cache = name.split(", prefix cache ")
        for at_once in (key for key in cell if key.isdigit()):
            sides = cell[at_once]
            reference = sides["text"]["per_second"]
            columns = [model, cache, at_once, f"{statistics.median(reference):.2f}"]
            columns += [ratio(sides[side]["per_second"], reference) for side in SIDES[1:]]
            columns += [f"{statistics.median(sides[side]['first_ms']):,.0f}" for side in SIDES]
            lines.append(f"| {' | '.join(columns)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
