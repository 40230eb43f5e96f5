"""What the gateway adds in front of a real vLLM server: the same requests by hand and by name, interleaved.

    make .venv-vllm; python benchmarks/gateway_vllm.py

The bundled model on vLLM's CPU build, the artwork for sums, held-out questions, greedy streams. On two cores
the engine, the gateway and this client share what there is; what counts is the difference of the sides.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import openai

from benchmarks.common.machine import machine
from pixeltune.artwork.artwork import Artwork
from pixeltune.bundled.tiny import PATH
from pixeltune.data.placement import place_image
from pixeltune.tasks.synthetic import sums

ROOT = Path(__file__).parents[1]
ROUNDS, REQUESTS = 4, {1: 16, 16: 64}  # requests per side and round, by how many at a time
ART = ROOT / "docs" / "images" / "sums.png"
OUT = Path(__file__).parent / "results" / "gateway_vllm.json"


async def ask(client: openai.AsyncOpenAI, model: str, messages: list) -> tuple[float, float, str]:
    """Seconds to the first word and to the last, and the text."""
    begin, first, said = time.perf_counter(), None, []
    stream = await client.chat.completions.create(
        model=model, messages=messages, stream=True, temperature=0.0, max_tokens=sums.TASK.max_new_tokens
    )
    async for part in stream:
        if part.choices and part.choices[0].delta.content:
            first = first or time.perf_counter() - begin
            said.append(part.choices[0].delta.content)
    return first, time.perf_counter() - begin, "".join(said)


async def side(url: str, model: str, conversations: list, at_once: int) -> dict:
    """All answers of one side, `at_once` requests at a time."""
    room, begin = asyncio.Semaphore(at_once), time.perf_counter()
    async with openai.AsyncOpenAI(base_url=url, api_key="x", max_retries=0) as client:

        async def one(messages: list) -> tuple[float, float, str]:
            async with room:
                return await ask(client, model, messages)

        answers = await asyncio.gather(*map(one, conversations))
    first, last, said = zip(*answers, strict=True)
    return {"first": first, "last": last, "said": said, "seconds": time.perf_counter() - begin}


def main(argv: list[str] | None = None) -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args(argv)
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "serve")]
    from gateways import gateway
    from vllm_server import vllm_server

    url = Artwork.load(ART).data_url()
    result = {
        "made_by": "python benchmarks/gateway_vllm.py",
        "machine": machine(),
        "rounds": ROUNDS,
        "at_once": {},
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "artworks").mkdir()
        (folder / "artworks" / "sums.png").write_bytes(ART.read_bytes())
        with (
            vllm_server(PATH, folder / "vllm.log", name="tiny") as engine,
            gateway(folder / "artworks", "--upstream", engine, log=folder / "log") as served,
        ):
            for at_once, count in REQUESTS.items():
                runs: dict[str, list[dict]] = {"by hand": [], "by name": []}
                for number in range(ROUNDS + 1):
                    prompts = [row["prompt"] for row in sums.rows("test", count, seed=100 + number)]
                    sides = {
                        "by hand": (engine, "tiny", [place_image(prompt, url) for prompt in prompts]),
                        "by name": (served.url, "sums", prompts),
                    }
                    for label in sorted(sides, reverse=number % 2 == 1):  # who is first finds a cold cache
                        where, model, conversations = sides[label]
                        runs[label].append(asyncio.run(side(where, model, conversations, at_once)))
                said = [[text for run in done for text in run["said"]] for done in runs.values()]
                rows = {"same_answers": [sum(map(str.__eq__, *said)), len(said[0])]}
                for label, done in runs.items():
                    done = done[1:]  # the first round warms up
                    rows[label] = {
                        "n": count * ROUNDS,
                        "per_second": round(count / np.median([d["seconds"] for d in done]), 1),
                    }
                    for moment in ("first", "last"):
                        times = np.concatenate([d[moment] for d in done]) * 1e3
                        rows[label][f"{moment}_ms"] = {
                            f"p{q}": round(float(np.percentile(times, q)), 1) for q in (50, 99)
                        }
                result["at_once"][at_once] = rows
                print(at_once, json.dumps(rows, indent=1), flush=True)
    OUT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
