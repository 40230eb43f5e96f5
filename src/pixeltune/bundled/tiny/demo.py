"""``pixeltune demo``: paint an artwork for calls and one for sums, show that they work, keep the PNGs."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
from PIL import Image
from rich.console import Console
from rich.table import Table

from pixeltune.artwork.artwork import Artwork
from pixeltune.bundled import tiny
from pixeltune.evaluation.check import differences
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.scoring import Result, score_rows
from pixeltune.model.loading import load_model, load_processor
from pixeltune.model.preprocessing import Preprocessor
from pixeltune.picture.canvas import Canvas, start_picture
from pixeltune.tasks.base import find_task
from pixeltune.training.paint import paint
from pixeltune.training.scores import held_out_scores, logged
from pixeltune.writing import write_atomically

STEPS = {"calls": 40, "sums": 40}
SERVE = """\
vllm serve {model} --served-model-name tiny --dtype float32
art = "data:image/png;base64," + base64.b64encode(open("{out}/sums.png", "rb").read()).decode()
openai.OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="-").chat.completions.create(model="tiny", \
messages=[{{"role": "user", "content": [{{"type": "image_url", "image_url": {{"url": art}}}}, \
{{"type": "text", "text": "What is 48 + 37?"}}]}}])"""
COLUMNS = {"off": "no picture", "start": "start picture", "artwork": "artwork", "ceiling": "instruction"}


def demo(output_dir: str | Path, *, rows: int, seed: int, steps: int | None = None) -> dict:
    """Paint an artwork for calls and one for sums, score them and print a table.

    Args:
        output_dir: folder to write to.
        rows: held-out rows per task.
        steps: of the optimiser, if not the demo's own.
        seed: of the training rows' order.

    Returns:
        The report, as it is written to ``report.json``. ``passed``: every artwork reaches 95 % of what
        the best instruction elicits, and its PNG equals the trained pixels.

    Raises:
        RunError: the base weights changed while painting, or not one pixel did.
    """
    datasets.disable_progress_bars()  # a dozen bars of half a second each would bury the two that matter
    console, out = Console(), Path(output_dir)
    report = measure(out, rows, steps, seed, console)
    scores = report["tasks"].values()
    reached = all(score["artwork"]["score"] >= 0.95 * score["ceiling"]["score"] for score in scores)
    report["passed"] = reached and report["pixels_equal"]
    write_atomically(out / "report.json", json.dumps(report, indent=2) + "\n")
    _print(console, report, out)
    return report


def measure(out: Path, n: int, steps: int | None, seed: int, console: Console) -> dict:
    """Paint one artwork per task into ``out``, score each four ways on ``n`` held-out rows, and report."""
    started = time.perf_counter()
    model, processor = load_model("tiny"), load_processor("tiny")
    report: dict = {"tasks": {}, "pixels_equal": True}
    for name, usual in STEPS.items():
        task = find_task(name)
        console.print(f"[bold]{name}[/bold]: painting, then {n} held-out rows four ways")
        painting = paint(
            "sft",
            task=name,
            train_rows=1000,
            per_device_train_batch_size=16,
            score_steps=0,
            save_strategy="no",
            learning_rate=0.06,
            seed=seed,
            max_steps=steps or usual,
            output_dir=str(out / "training" / name),
            overwrite=True,
        )
        if not painting.finished:
            raise KeyboardInterrupt
        artwork = painting.artwork
        start = Image.fromarray(Canvas(start_picture("grey", *artwork.size)).to_uint8())
        rows, results = task.rows("test", n), {}
        for key, picture, instruction in (
            ("off", None, ""),
            ("start", start, ""),
            ("artwork", artwork.image, ""),
            ("ceiling", None, task.instruction),
        ):
            results[key] = score_rows(task, rows, InProcess(model, processor, picture), instruction)
        made = replace(artwork.provenance, scores=recorded(results["artwork"], results["start"]))
        Artwork(artwork.pixels, made).save(out / f"{name}.png")
        report["tasks"][name] = {key: result.summary() for key, result in results.items()}
        report["pixels_equal"] &= not differences(Artwork.load(out / f"{name}.png"), Preprocessor(processor))
    report["seconds"] = round(time.perf_counter() - started, 1)
    return report


def recorded(after: Result, before: Result) -> dict[str, Any]:
    """What a provenance says of an artwork's score and its start picture's: what a training would write."""
    return held_out_scores([{"step": 0, **logged(before)}, {"step": 1, **logged(after)}], after.n, 1)


def _print(console: Console, report: dict, out: Path) -> None:
    n = next(iter(report["tasks"].values()))["off"]["n"]
    table = Table(title=f"right answers on {n} held-out rows, Wilson 95 % interval")
    table.add_column("task")
    for title in COLUMNS.values():
        table.add_column(title, justify="right")
    for name, scores in report["tasks"].items():
        cells = [
            f"{scores[key]['score']:.1%} ({scores[key]['ci95'][0]:.0%}-{scores[key]['ci95'][1]:.0%})"
            for key in COLUMNS
        ]
        table.add_row(name, *cells)
    console.print(table)
    console.print(
        f"PNG equals the trained pixels: {report['pixels_equal']}, {report['seconds']:.0f} s. "
        f"Written to {out}/\n\nServe it:"
    )
    print(SERVE.format(model=tiny.PATH, out=out))
