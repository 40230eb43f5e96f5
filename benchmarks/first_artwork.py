"""A table of docs/results/accuracy.md: the demo's two artworks, over three seeds.

    python benchmarks/first_artwork.py [--seeds 42 43 44] [--rows 400]

Writes benchmarks/results/first_artwork.json, and the pictures of the first seed to docs/images/.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from rich.console import Console

from benchmarks.common.machine import machine
from pixeltune.artwork.artwork import Artwork
from pixeltune.bundled.tiny.demo import measure
from pixeltune.writing import write_atomically

HERE = Path(__file__).parent


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--rows", type=int, default=400)
    arguments = parser.parse_args(argv)
    report = {"made_by": "python benchmarks/first_artwork.py", "machine": machine(), "seeds": {}}
    for number, seed in enumerate(arguments.seeds):
        with tempfile.TemporaryDirectory() as folder:
            result = measure(Path(folder), arguments.rows, None, seed, Console())
            for name in result["tasks"] if number == 0 else ():
                Artwork.load(Path(folder) / f"{name}.png").save(
                    HERE.parent / "docs" / "images" / f"{name}.png"
                )
        report["seeds"][seed] = result
        print(seed, json.dumps(result), flush=True)
        write_atomically(HERE / "results" / "first_artwork.json", json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
