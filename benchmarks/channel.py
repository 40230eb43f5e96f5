"""What a model's vision tower spans: can anything new be painted for it?

    python benchmarks/channel.py [--model tiny] [--untrained]

Writes benchmarks/results/channel.json, one entry a model: ranks of the Jacobian from a cell's pixels to its
token and of features, sizes of features beside text embeddings, and how exactly given features can be reached
by pixels. `--untrained` also measures the same architecture with random weights (seed 0), which is what a
tower starts from.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from pixeltune.model.channel import channel
from pixeltune.model.finding import public_name
from pixeltune.model.loading import load_model, load_processor
from pixeltune.writing import write_atomically

OUT = Path(__file__).parent / "results" / "channel.json"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--revision")
    parser.add_argument("--image_tokens", type=int, default=64)
    parser.add_argument("--untrained", action="store_true")
    arguments = parser.parse_args(argv)
    processor = load_processor(arguments.model, arguments.revision)
    models = {public_name(arguments.model): load_model(arguments.model, arguments.revision)}
    if arguments.untrained:
        torch.manual_seed(0)
        (name, model), *_ = models.items()
        models[f"{name}, untrained"] = type(model)(model.config).eval()
    found = json.loads(OUT.read_text()) if OUT.exists() else {}
    for name, model in models.items():
        begin = time.perf_counter()
        measured = channel(model, processor, arguments.image_tokens)
        found[name] = {**measured.as_dict(), "torch": torch.__version__}
        print(f"{name} ({time.perf_counter() - begin:.0f} s)\n{measured}\n")
        write_atomically(OUT, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
