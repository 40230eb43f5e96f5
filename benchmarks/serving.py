"""Requests per second and time to the first token of one vLLM: text, an artwork, LoRA, and a soft prompt.

    make .venv-vllm; python benchmarks/serving.py [--models tiny random] [--rounds 3] [--table] [--quick]

Three servers of the same frozen base run side by side (CPU build): one as it is, one with LoRA enabled (rank 16, all
linear layers of the language model), one with prompt embeddings enabled; only one is asked at a time. Six sides take
turns: text alone, text behind an artwork whose bytes go with every request, the same by its name once the server has
it, text to the base of the LoRA server, text to the LoRA, text behind a soft prompt of as many vectors as the artwork
has tokens (bfloat16, a `prompt_embeds` part; it has no name, so it goes with every request). Questions are all
different (held-out sums), every answer has 256 tokens (``ignore_eos``), at concurrency 1, 8 and 64, with the prefix
cache on and off. Artwork, LoRA and vectors are random: what they say does not matter to the clock, but that they
change it is looked at first: log-probs of a side's answer must differ from those without. "random" is a Qwen3-VL of
115 M parameters. Writes benchmarks/results/serving.json and prints the tables of docs/results/performance.md.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
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
from pixeltune.engines.kept_pictures import name_part
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
EMBEDS = ["--enable-prompt-embeds"]
SIDES = ("text", "text + artwork", "artwork by name", "base, LoRA enabled", "LoRA", "soft prompt")
NAME = "pixeltune-benchmark"
IMAGE_TOKENS = 64
LEAST = 1e-3  # nats; less is rounding


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=REQUESTS, default=list(REQUESTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--table", action="store_true", help="only print the tables of what is there")
    parser.add_argument(
        "--quick", action="store_true", help="one round of a few requests, to see that it works"
    )
    arguments = parser.parse_args(argv)
    out, rounds, requests = OUT, arguments.rounds, REQUESTS
    if arguments.quick:
        out, rounds = Path(tempfile.gettempdir(), "pixeltune-serving", OUT.name), 1
        requests = {name: {1: 1, 8: 8} for name in REQUESTS}
    for name in () if arguments.table else arguments.models:
        for cache in CACHES:
            settings = {"rounds": rounds, "requests": requests[name], "seed": SEED, "sides": SIDES}
            work = partial(measure, name, cache, rounds, requests[name])
            made_by = "python benchmarks/serving.py"
            once(out, f"{name}, prefix cache {cache}", settings, work, made_by=made_by)
    print(tables(read(out)["cells"]))


def measure(name: str, cache: str, rounds: int, requests: dict[int, int]) -> dict:
    """By concurrency and side: requests per second of every round, milliseconds to every first token; and bytes."""
    sys.path.insert(0, str(ROOT / "tests"))
    from vllm_server import vllm_server

    with tempfile.TemporaryDirectory() as folder:
        base = str(PATH) if name == "tiny" else f"{folder}/base"
        if name == "random":
            save_random_model(base)
        picture, vectors, lora = adapters(base, f"{folder}/lora")
        # The answer comes in two parts, the first token and the rest: a client that reads 256 parts would
        # take more of the two cores than the engine, the same on all sides, and hide what differs.
        options = [CACHES[cache], f"--stream-interval={TOKENS}", BLOCK]
        log = partial(Path, folder)
        with (
            vllm_server(base, log("plain.log"), *options, name="base") as plain,
            vllm_server(
                base, log("lora.log"), *options, *LORA, f"--lora-modules=lora={lora}", name="base"
            ) as with_lora,
            vllm_server(base, log("embeds.log"), *options, *EMBEDS, name="base") as with_embeds,
        ):
            servers = [(plain, "base")] * 3 + [
                (with_lora, "base"),
                (with_lora, "lora"),
                (with_embeds, "base"),
            ]
            where = dict(zip(SIDES, servers, strict=True))
            asked = {side: partial(dressed, side, picture, vectors) for side in SIDES}
            question = sums.rows("test", 1, SEED)[0]["prompt"]
            check(where, asked, question)
            found: dict = {
                str(at_once): {side: {"per_second": [], "first_ms": []} for side in SIDES}
                for at_once in requests
            }
            for number in range(rounds + 1):
                for at_once, count in requests.items():
                    # New questions in every round, or the cache would know them; a short first one warms up.
                    rows = sums.rows("test", count if number else at_once, SEED + 100 * number + at_once)
                    shift = number % len(SIDES)
                    for side in SIDES[shift:] + SIDES[:shift]:
                        talks = [asked[side](row["prompt"]) for row in rows]
                        per_second, firsts = asyncio.run(ask_all(*where[side], talks, at_once))
                        if number:
                            found[str(at_once)][side]["per_second"].append(round(per_second, 3))
                            found[str(at_once)][side]["first_ms"] += firsts
                    print(name, cache, number, at_once, flush=True)
    found["bytes"] = {side: len(json.dumps(asked[side](question))) for side in SIDES}
    return found


def adapters(base: str, lora: str) -> tuple[str, str, str]:
    """An artwork of noise as a data URL; a soft prompt of as many vectors; the folder of a LoRA none of whose matrices
    is zero.

    The vectors are embeddings of tokens drawn from the vocabulary, as training would begin with, in bfloat16.
    """
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(SEED)
    model = load_model(base)
    embeddings = model.get_input_embeddings().weight.detach()
    drawn = embeddings[torch.randint(len(embeddings), (IMAGE_TOKENS,))]
    held = io.BytesIO()
    torch.save(drawn.to(torch.bfloat16), held)
    wearing = get_peft_model(model, ArtConfig(image_tokens=IMAGE_TOKENS, start="noise"))
    config = LoraConfig(r=16, lora_alpha=32, target_modules=LINEAR, init_lora_weights=False)
    get_peft_model(load_model(base), config).save_pretrained(lora)
    picture = data_url(encode_png(wearing.get_artwork_image(), {}))
    return picture, base64.b64encode(held.getvalue()).decode(), lora


def dressed(side: str, picture: str, vectors: str, prompt: list[dict]) -> list[dict]:
    """A conversation as a side asks it."""
    if side == "text + artwork":
        return place_image(prompt, picture)
    if side == "artwork by name":
        return named(place_image(prompt, picture), keep_bytes=False)
    if side == "soft prompt":
        (first, *others) = prompt
        parts = [{"type": "prompt_embeds", "data": vectors}, {"type": "text", "text": first["content"]}]
        return [{**first, "content": parts}, *others]
    return prompt


def named(messages: list[dict], keep_bytes: bool) -> list[dict]:
    """With a name for the picture, without its bytes if the server has it already."""
    for message in messages:
        for part in message["content"] if isinstance(message["content"], list) else ():
            if part["type"] == "image_url":
                name_part(part, NAME, with_bytes=keep_bytes)
    return messages


def check(where: dict, asked: dict, question: list[dict]) -> None:
    """Send the picture once, under its name, and look whether every side changes what is said.

    Raises:
        RuntimeError: one says what it says without, so its time is not that of an adaptation.
    """
    url, model = where["text"]
    likely(url, model, named(asked["text + artwork"](question), keep_bytes=True))
    for side, without in (
        ("text + artwork", "text"),
        ("artwork by name", "text"),
        ("LoRA", "base, LoRA enabled"),
        ("soft prompt", "text"),
    ):
        ours, theirs = (likely(*where[one], asked[one](question)) for one in (side, without))
        if max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) < LEAST:
            raise RuntimeError(f"{side}: the answer is that of {without}, to the log-probs")


def likely(url: str, model: str, messages: list[dict]) -> list[float]:
    """Log-probs of the first tokens of the greedy answer."""
    with openai.OpenAI(base_url=url, api_key="x", max_retries=0, timeout=600) as client:
        answer = client.chat.completions.create(
            model=model,
            messages=messages,
            temperature=0.0,
            max_tokens=8,
            logprobs=True,
            extra_body={"ignore_eos": True, "skip_special_tokens": False},
        )
    return [token.logprob for token in answer.choices[0].logprobs.content]


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
    """Markdown: requests per second relative to text alone, milliseconds to the first token, and bytes."""
    others = SIDES[1:]
    lines = [
        f"| model | prefix cache | at once | text, requests/s | {' | '.join(others)} |",
        "|" + "---|" * (4 + len(others)),
    ]
    waits = [
        f"| first token, ms | prefix cache | at once | {' | '.join(SIDES)} |",
        "|" + "---|" * (3 + len(SIDES)),
    ]
    for name, cell in cells.items():
        model, cache = name.split(", prefix cache ")
        for at_once in (key for key in cell if key.isdigit()):
            sides = cell[at_once]
            reference = sides["text"]["per_second"]
            columns = [model, cache, at_once, f"{statistics.median(reference):.2f}"]
            columns += [ratio(sides[side]["per_second"], reference) for side in others]
            lines.append(f"| {' | '.join(columns)} |")
            first = [f"{statistics.median(sides[side]['first_ms']):,.0f}" for side in SIDES]
            waits.append(f"| {' | '.join([model, cache, at_once, *first])} |")
    sizes = next(iter(cells.values()), {}).get("bytes")
    said = ", ".join(f"{side} {sizes[side]:,}" for side in SIDES) if sizes else "not measured"
    return "\n".join([*lines, "", *waits, "", f"Bytes of a request's messages: {said}"])


if __name__ == "__main__":
    main()
