"""What a lossy way costs artworks that were trained without and with robust transforms, on the bundled model.

    python benchmarks/robustness.py [--tasks sums calls] [--seeds 42 43 44] [--rows 200] [--table] [--quick]

Writes benchmarks/results/robustness.json after every artwork: a killed run goes on where it was. Artworks
that are compared have the same steps, training rows in the same order, seed and bound around the grey start;
every seed has held-out rows of its own, the same for all artworks. Then prints the tables.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

import datasets
import transformers

from benchmarks.common import words
from benchmarks.common.accuracy_table import floats, interval, table
from benchmarks.common.cells import once, read
from pixeltune.evaluation.robustness import DISTORTIONS, measure
from pixeltune.evaluation.statistics import bootstrap
from pixeltune.model.loading import load_model, load_processor, weights_sha256
from pixeltune.tasks.base import find_task
from pixeltune.training.paint import paint

OUT = Path(__file__).parent / "results" / "robustness.json"
FLAGS = "--train_rows 1000 --per_device_train_batch_size 16 --learning_rate 0.03 --score_steps 0"
FLAGS += " --snapshot_steps 0 --save_strategy no --report_to none"
TRAININGS = ("none", "light", "heavy")
BOUNDS = (255, 5)  # grey levels around the start: free pixels, and about the least that still learns


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", choices=("sums", "calls"), default=["sums", "calls"])
    parser.add_argument("--bounds", nargs="+", type=int, default=list(BOUNDS), help="in grey levels")
    parser.add_argument("--trainings", nargs="+", default=list(TRAININGS), help="values of --robust")
    parser.add_argument("--seeds", nargs="+", type=int, default=[42, 43, 44])
    parser.add_argument("--rows", type=int, default=200, help="held-out rows per seed")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--table", action="store_true", help="only print the tables of what is there")
    parser.add_argument("--quick", action="store_true", help="two steps, four rows, to see that it works")
    arguments = parser.parse_args(argv)
    out = OUT
    if arguments.quick:
        arguments.seeds, arguments.rows, arguments.steps = [42], 4, 2
        out = Path(tempfile.gettempdir(), "pixeltune-robustness", "robustness.json")
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    for name in () if arguments.table else arguments.tasks:
        for bound in arguments.bounds:
            for seed in arguments.seeds:
                for robust in arguments.trainings:
                    flags = f"--task {name} {FLAGS} --max_steps {arguments.steps} --bound {bound}"
                    flags += f" --seed {seed} --robust {robust}"
                    settings = {"flags": flags, "rows": arguments.rows, "distortions": list(DISTORTIONS)}
                    work = partial(cell, name, flags, arguments.rows, seed)
                    made_by = "python benchmarks/robustness.py"
                    found = once(
                        out, f"{name}/{bound}/{robust}/{seed}", settings, work, made_by=made_by, flags=FLAGS
                    )
                    print(name, bound, robust, seed, found["right"]["none"].count("1"), flush=True)
    print(tables(read(out)))


def cell(name: str, flags: str, n: int, seed: int) -> dict:
    """Paint one artwork and score it after each distortion; "right" holds 1 or 0 per row."""
    task, model, processor = find_task(name), load_model("tiny"), load_processor("tiny")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        painting = paint("sft", quiet=True, **words.settings(f"{flags} --output_dir {folder}"))
    artwork = painting.artwork
    if not painting.finished:
        raise KeyboardInterrupt  # a painting cut short is no result
    seconds = time.perf_counter() - started
    found = measure(artwork.image, task, task.rows("test", n, seed), model, processor)
    return {
        "right": {
            distortion: "".join(str(int(record["score"])) for record in result.records)
            for distortion, (_, result) in found.items()
        },
        "psnr_db": {
            distortion: None if ratio is None else round(ratio, 2) for distortion, (ratio, _) in found.items()
        },
        "pixels_sha256": artwork.sha256,
        "base_unchanged": weights_sha256(model) == artwork.provenance.base_sha256,
        "seconds": round(seconds, 1),
    }


def tables(report: dict) -> str:
    """For each task and bound: the score after each distortion, seeds together, by training."""
    groups: dict[tuple[str, str], dict[str, dict[str, dict]]] = {}
    for key, found in report["cells"].items():
        name, bound, robust, seed = key.split("/")
        groups.setdefault((name, bound), {}).setdefault(robust, {})[seed] = found
    parts = []
    for (name, bound), trainings in groups.items():
        others = [robust for robust in trainings if robust != "none" and "none" in trainings]
        lines = [
            f"| {distortion} | {decibels(trainings, distortion)} | "
            + " | ".join(interval(marks(cells, distortion)) for cells in trainings.values())
            + "".join(f" | {gain(trainings['none'], trainings[robust], distortion)}" for robust in others)
            + " |"
            for distortion in DISTORTIONS
        ]
        head = ["picture sent", "PSNR, dB", *(f"trained with {robust} (95 %)" for robust in trainings)]
        head += [f"{robust} minus none, points (95 %)" for robust in others]
        parts.append(f"**{name}, bound {bound}**\n\n{table('|'.join(head), lines)}")
    return "\n\n".join(parts)


def marks(cells: dict[str, dict], distortion: str) -> str:
    """A 1 or 0 per row, all seeds together in their order."""
    return "".join(cells[seed]["right"][distortion] for seed in sorted(cells))


def decibels(trainings: dict[str, dict[str, dict]], distortion: str) -> str:
    """Lowest to highest PSNR of all artworks."""
    ratios = [cell["psnr_db"][distortion] for cells in trainings.values() for cell in cells.values()]
    ratios = [ratio for ratio in ratios if ratio is not None]
    return f"{min(ratios):.1f} to {max(ratios):.1f}" if ratios else "equal"


def gain(plain: dict[str, dict], robust: dict[str, dict], distortion: str) -> str:
    """Difference in points on the rows of the seeds that both have, with its paired bootstrap interval."""
    both = plain.keys() & robust.keys()
    if not both:
        return ""
    one, other = (marks({seed: cells[seed] for seed in both}, distortion) for cells in (robust, plain))
    points, low, high = (100 * value for value in bootstrap(floats(one), floats(other))[:3])
    return f"{points:+.1f} ({low:+.1f} to {high:+.1f})"


if __name__ == "__main__":
    main()
