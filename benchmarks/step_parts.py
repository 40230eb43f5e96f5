"""Where the time of an SFT step goes: artwork, artwork without the shared prefix, LoRA.

    python benchmarks/step_parts.py [--models tiny random] [--repetitions 10] [--table]

The steps of `steps.py`, sides in turn, with a stamp where one part ends and the next begins: hooks on the
language model and on the tower's features tell when a pass or its gradient is through. Also how many
operations torch ran in one step, forward and backward, which is what a small model's time mostly is. Writes
benchmarks/results/step_parts.json and prints the table of docs/results/performance.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import pixeltune.adapter.model as adapter
from benchmarks.common.cells import once, read
from benchmarks.common.random_model import save_random_model
from benchmarks.steps import make_step
from pixeltune.model.loading import load_model, load_processor
from pixeltune.model.preprocessing import Preprocessor

OUT = Path(__file__).parent / "results" / "step_parts.json"
SIDES = ("artwork", "artwork, plain", "lora")
GRIDS = {"tiny": [(16, 64, 64, 64), (32, 128, 64, 64)], "random": [(16, 64, 64, 64)]}
PARTS = {
    "processor": "image processor",
    "tower": "tower forward",
    "text": "text layers forward",
    "head": "head and loss forward",
    "head back": "head and loss backward",
    "text back": "text layers backward",
    "tower back": "tower, processor, rounding backward",
    "optimiser": "optimiser",
    "rest": "all else",
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=GRIDS, default=list(GRIDS))
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    arguments = parser.parse_args(argv)
    for name in () if arguments.table else arguments.models:
        for cell in GRIDS[name]:
            settings = {"sides": SIDES, "repetitions": arguments.repetitions}
            work = partial(measure, name, cell, arguments.repetitions)
            made_by = "python benchmarks/step_parts.py"
            once(OUT, f"{name}/{json.dumps(cell)}", settings, work, made_by=made_by)
    print(table(read(OUT)["cells"]))


def measure(name: str, cell: tuple[int, int, int, int], repetitions: int) -> dict:
    """By side: milliseconds of every part in every step, and operations of one step."""
    out: dict[str, Any] = {side: {part: [] for part in PARTS} for side in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        where = "tiny" if name == "tiny" else folder
        if name == "random":
            save_random_model(folder)
        steps: dict[str, Callable[[], dict[str, float]]] = {}
        for side in SIDES:
            model = load_model(where)
            step = make_step(model, load_processor(where), "sft", side, cell, folder)
            steps[side] = partial(timed, step, model.model.language_model)
        for number in range(repetitions + 2):
            for side, step in steps.items():
                if number == 1:
                    with Count() as count:
                        step()
                    out[side]["operations"] = count.operations
                    continue
                for part, seconds in step().items():
                    if number > 1:  # the first warms up
                        out[side][part].append(round(1e3 * seconds, 3))
    return out


class Count(TorchDispatchMode):
    """How many operations torch runs, views included."""

    operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        self.operations += 1
        return func(*args, **(kwargs or {}))


def timed(step: Callable[[], None], language_model: torch.nn.Module) -> dict[str, float]:
    """Seconds by part of one step."""
    at: dict[str, float] = {}
    took = dict.fromkeys(PARTS, 0.0)

    def stamp(name: str, *_: Any) -> None:
        at[name] = time.perf_counter()

    def through(module: Any, args: Any, out: Any) -> None:
        stamp("text end")
        out.last_hidden_state.register_hook(partial(stamp, "head back end"))

    hooks = [
        language_model.register_forward_pre_hook(partial(stamp, "text begin")),
        language_model.register_forward_hook(through),
    ]
    with _watched(took, stamp):
        begin = time.perf_counter()
        step()
        end = time.perf_counter()
    for hook in hooks:
        hook.remove()
    took["text"] = at["text end"] - at["text begin"]
    took["head"] = at["backward begin"] - at["text end"]
    took["head back"] = at["head back end"] - at["backward begin"]
    seen = at.get("text back end", at["backward end"])
    took["text back"] = seen - at["head back end"]
    took["tower back"] = at["backward end"] - seen
    took["optimiser"] = end - at["backward end"]
    took["rest"] = end - begin - sum(took.values())
    return took


@contextmanager
def _watched(took: dict[str, float], stamp: Callable[..., None]) -> Iterator[None]:
    """Processor, tower and backward call the clock while this lasts."""
    backward, encode, pixel_values = Tensor.backward, adapter.encode, Preprocessor.pixel_values

    def timed_backward(self: Tensor, *args: Any, **kwargs: Any) -> None:
        stamp("backward begin")
        backward(self, *args, **kwargs)
        stamp("backward end")

    def timed_encode(*args: Any, **kwargs: Any) -> Any:
        begin = time.perf_counter()
        made = encode(*args, **kwargs)
        took["tower"] += time.perf_counter() - begin
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and tensor.requires_grad:
                tensor.register_hook(partial(stamp, "text back end"))  # the last of them counts
        return made

    def timed_pixel_values(self: Preprocessor, image: Tensor) -> dict[str, Tensor]:
        begin = time.perf_counter()
        made = pixel_values(self, image)
        took["processor"] += time.perf_counter() - begin
        return made

    Tensor.backward, adapter.encode, Preprocessor.pixel_values = (
        timed_backward,
        timed_encode,
        timed_pixel_values,
    )
    try:
        yield
    finally:
        Tensor.backward, adapter.encode, Preprocessor.pixel_values = backward, encode, pixel_values


def table(cells: dict) -> str:
    """Markdown: medians in per cent of LoRA's whole step."""
    columns, whole = {}, {}
    for key, cell in cells.items():
        name, _, numbers = key.partition("/")
        rows, prompt, answer, _ = json.loads(numbers)
        medians = {side: {part: statistics.median(cell[side][part]) for part in PARTS} for side in SIDES}
        for side in SIDES:
            column = f"{name}, {rows} x ({prompt} + {answer}): {side}"
            columns[column], whole[column] = medians[side], sum(medians["lora"].values())
    lines = [f"| part | {' | '.join(columns)} |", "|" + "---|" * (len(columns) + 1)]
    for part, title in PARTS.items():
        shares = [f"{100 * columns[c][part] / whole[c]:.1f}" for c in columns]
        lines.append(f"| {title} | {' | '.join(shares)} |")
    sums = [f"{100 * sum(columns[c].values()) / whole[c]:.1f}" for c in columns]
    counts = [f"{cell[side]['operations']:,}" for cell in cells.values() for side in SIDES]
    return "\n".join([*lines, f"| sum | {' | '.join(sums)} |", f"| operations | {' | '.join(counts)} |"])


if __name__ == "__main__":
    main()
