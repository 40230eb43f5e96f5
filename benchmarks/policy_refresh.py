"""How an engine gets the policy of the next step: the new picture, or a LoRA hot-loaded into the same vLLM.

    make .venv-vllm; python benchmarks/policy_refresh.py [--models tiny random] [--repetitions 20] [--table]

One vLLM server (CPU build, LoRA of rank 16 enabled) serves the frozen base. Both sides in turn: some trained
numbers change, as after an optimiser step; then the clock runs until the first token of a greedy answer under
the new policy. For the artwork that is rounding, PNG, and one request that holds it; for the LoRA (rank 16,
all linear layers of the language model) saving it and `load_lora_adapter` in place, and one request. The same
request is sent once more at once: what an unchanged policy takes. "random" is a Qwen3-VL of 115 M parameters.
Writes benchmarks/results/policy_refresh.json and prints the table of docs/results/performance.md.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import openai
import requests
import torch

from benchmarks.common.baselines import LINEAR
from benchmarks.common.cells import once, read
from benchmarks.common.random_model import save_random_model
from pixeltune.adapter import ArtConfig
from pixeltune.adapter.guard import art_layer
from pixeltune.artwork.png import encode_png
from pixeltune.bundled.tiny import PATH
from pixeltune.data.placement import place_image
from pixeltune.model.loading import load_model
from pixeltune.picture.files import data_url
from pixeltune.tasks.synthetic import sums

OUT = Path(__file__).parent / "results" / "policy_refresh.json"
ROOT = Path(__file__).parents[1]
OPTIONS = "--enable-lora --max-lora-rank=16 --max-loras=1".split()
SEED = 42


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=("tiny", "random"), default=["tiny", "random"])
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    arguments = parser.parse_args(argv)
    for name in () if arguments.table else arguments.models:
        settings = {"repetitions": arguments.repetitions, "seed": SEED}
        made_by = "python benchmarks/policy_refresh.py"
        once(OUT, name, settings, partial(measure, name, arguments.repetitions), made_by=made_by)
    print(table(read(OUT)["cells"]))


def measure(name: str, repetitions: int) -> dict:
    """Milliseconds and bytes of every refresh, by side."""
    sys.path.insert(0, str(ROOT / "tests"))
    from peft import LoraConfig, get_peft_model

    import vllm_server

    torch.manual_seed(SEED)
    vllm_server.ENVIRONMENT["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        base = str(PATH) if name == "tiny" else f"{folder}/base"
        if name == "random":
            save_random_model(base)
        wearing = get_peft_model(load_model(base), ArtConfig(image_tokens=64, start="noise"))
        lora = get_peft_model(load_model(base), LoraConfig(r=16, lora_alpha=32, target_modules=LINEAR))
        sides = {"artwork": Artworks(wearing), "LoRA": Loras(lora, f"{folder}/lora")}
        out: dict[str, Any] = {side: {"ms": [], "again_ms": [], "bytes": []} for side in sides}
        seen: dict[str, set[float]] = {side: set() for side in sides}
        log = Path(folder, "vllm.log")
        with (
            vllm_server.vllm_server(base, log, *OPTIONS, name="base") as url,
            openai.OpenAI(base_url=url, api_key="x", max_retries=0) as client,
        ):
            prompt = sums.rows("test", 1, SEED)[0]["prompt"]
            for number in range(repetitions + 2):
                for side, refresh in sides.items():
                    refresh.step()
                    begin = time.perf_counter()
                    model, messages, moved = refresh.send(url, prompt)
                    said, first = ask(client, model, messages)
                    took = first - begin
                    begin = time.perf_counter()
                    _, first = ask(client, model, messages)
                    seen[side].add(said)
                    if number >= 2:  # the first two warm up
                        out[side]["ms"].append(round(1e3 * took, 2))
                        out[side]["again_ms"].append(round(1e3 * (first - begin), 2))
                        out[side]["bytes"].append(moved)
    if min(map(len, seen.values())) < repetitions:
        raise RuntimeError("log-probs do not change: the engine does not see the new policy")
    return out


class Artworks:
    """The picture travels in the request."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def step(self) -> None:
        with torch.no_grad():
            pixels = art_layer(self.model).canvas().pixels
            pixels.add_(0.2 * torch.randn_like(pixels)).clamp_(0, 1)

    def send(self, url: str, prompt: list[dict]) -> tuple[str, list[dict], int]:
        picture = data_url(encode_png(self.model.get_artwork_image(), {}))
        return "base", place_image(prompt, picture), len(picture)


class Loras:
    """The weights go through a file, and the engine is told."""

    def __init__(self, model: Any, folder: str) -> None:
        self.model, self.folder = model, folder
        self.trained = [p for p in model.parameters() if p.requires_grad]

    def step(self) -> None:
        with torch.no_grad():
            for parameter in self.trained:
                parameter.add_(0.02 * torch.randn_like(parameter))

    def send(self, url: str, prompt: list[dict]) -> tuple[str, list[dict], int]:
        self.model.save_pretrained(self.folder)
        order = {"lora_name": "policy", "lora_path": self.folder, "load_inplace": True}
        requests.post(f"{url}/load_lora_adapter", json=order, timeout=120).raise_for_status()
        return "policy", prompt, sum(file.stat().st_size for file in Path(self.folder).glob("adapter_*"))


def ask(client: openai.OpenAI, model: str, messages: list[dict]) -> tuple[float, float]:
    """The log-probability of the first token of a short greedy answer, and when it was there."""
    said, first = None, None
    stream = client.chat.completions.create(
        model=model,
        messages=messages,
        stream=True,
        temperature=0.0,
        max_tokens=8,
        logprobs=True,
        extra_body={"ignore_eos": True, "skip_special_tokens": False},  # a random model says anything
    )
    for part in stream:
        if part.choices and part.choices[0].logprobs and first is None:
            first, said = time.perf_counter(), part.choices[0].logprobs.content[0].logprob
    return said, first


def table(cells: dict) -> str:
    """Markdown: medians with their quartiles, and the ratios of medians."""
    lines = ["| model | side | bytes | ms until the first token | ms, policy unchanged |", "|" + "---|" * 5]
    for name, cell in cells.items():
        middle = {}
        for side in ("artwork", "LoRA"):
            middle[side] = [statistics.median(cell[side][key]) for key in ("bytes", "ms")]
            shown = [quartiles(cell[side][key]) for key in ("ms", "again_ms")]
            lines.append(f"| {name} | {side} | {middle[side][0]:,.0f} | {' | '.join(shown)} |")
        ratios = [ours / theirs for ours, theirs in zip(*middle.values(), strict=True)]
        lines.append(f"| {name} | artwork / LoRA | {ratios[0]:.2f} | {ratios[1]:.2f} | |")
    return "\n".join(lines)


def quartiles(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.0f} ({low:.0f} to {high:.0f})"


if __name__ == "__main__":
    main()
