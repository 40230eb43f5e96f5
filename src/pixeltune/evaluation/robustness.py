"""What an artwork is worth after a lossy way: its score with the PNG recompressed, resized, noisy, ...

The distortions are Pillow's own, as a picture meets them in the world, and not the ones of training.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pixeltune.artwork.artwork import Artwork
from pixeltune.data.placeholders import check_rows, tokens_of
from pixeltune.errors import UserError
from pixeltune.errors.checking import check_arguments
from pixeltune.evaluation.bars import bars, titled
from pixeltune.evaluation.defaults import ROWS
from pixeltune.evaluation.in_process import wearing
from pixeltune.evaluation.scoring import Result, score_rows
from pixeltune.tasks import own
from pixeltune.tasks.base import Task, find_rows, find_task, is_known, name_of, names

SEED = 0  # of the rows, and of noise
Distortion = Callable[[Image.Image], Image.Image]


def recompressed(picture: Image.Image, **settings: Any) -> Image.Image:
    """Saved in a lossy format, with Pillow's settings, and read again."""
    file = io.BytesIO()
    picture.save(file, **settings)
    with Image.open(file) as again:
        return again.convert("RGB")


def resized(picture: Image.Image, factor: float) -> Image.Image:
    """To `factor` of each side and back, bicubic."""
    size = [max(1, round(factor * side)) for side in picture.size]
    return picture.resize(size, Image.Resampling.BICUBIC).resize(picture.size, Image.Resampling.BICUBIC)


def noisy(picture: Image.Image, sigma: float) -> Image.Image:
    """With Gaussian noise of `sigma` grey levels, always the same."""
    noise = np.random.default_rng(SEED).normal(0, sigma, (picture.height, picture.width, 3))
    return Image.fromarray((np.asarray(picture) + noise).round().clip(0, 255).astype(np.uint8))


def shifted(picture: Image.Image) -> Image.Image:
    """One pixel to the right and down, the edge repeated."""
    return Image.fromarray(np.pad(np.asarray(picture), ((1, 0), (1, 0), (0, 0)), mode="edge")[:-1, :-1])


def recoloured(picture: Image.Image, colours: int) -> Image.Image:
    """With a palette of so many colours (median cut), without dithering."""
    return picture.quantize(colours, dither=Image.Dither.NONE).convert("RGB")


DISTORTIONS: dict[str, Distortion] = {
    "none": lambda picture: picture,
    **{
        f"JPEG {quality}, {subsampling}": partial(
            recompressed, format="JPEG", quality=quality, subsampling=subsampling
        )
        for subsampling in ("4:4:4", "4:2:0")
        for quality in (95, 85, 75, 50, 30)
    },
    **{f"WebP {quality}": partial(recompressed, format="WEBP", quality=quality) for quality in (90, 75)},
    **{f"resized to {factor:g} and back": partial(resized, factor=factor) for factor in (2, 0.9, 0.75, 0.5)},
    **{f"noise, sigma {sigma}": partial(noisy, sigma=sigma) for sigma in (2, 4, 8)},
    "shifted by one pixel": shifted,
    "16 colours": partial(recoloured, colours=16),
}
"""By the name that a report uses. Each takes an RGB picture and gives one of the same size."""


def psnr(before: Image.Image, after: Image.Image) -> float | None:
    """Peak signal-to-noise ratio of two RGB pictures in dB, peak 255; None where they are equal."""
    error = np.mean((np.asarray(before, float) - np.asarray(after, float)) ** 2)
    return None if error == 0 else 10 * math.log10(255**2 / error)


def measure(
    picture: Image.Image,
    task: Task,
    rows: list[dict],
    model: Any,
    processor: Any,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, tuple[float | None, Result]]:
    """PSNR and score of a picture after each of `DISTORTIONS`.

    Args:
        picture: an artwork's, RGB.
        task: what it is asked.
        rows: its rows, the same for all.
        model: the stock model, which sees the distorted picture as an engine would.
        processor: its processor.
        progress: called with (distortions done, all of them).
    """
    out = {}
    for done, (name, distort) in enumerate(DISTORTIONS.items(), start=1):
        seen = distort(picture)
        with wearing(model, processor, seen) as backend:
            result = score_rows(task, rows, backend)
        out[name] = psnr(picture, seen), result
        if progress:
            progress(done, len(DISTORTIONS))
    return out


@dataclass(frozen=True)
class Robustness:
    """An artwork's score after each of `DISTORTIONS`. Printed, it is a table."""

    artwork_sha256: str
    task: str
    rows: int
    measured: dict[str, tuple[float | None, Result]]
    """By distortion: PSNR in dB (None: equal) and score."""

    def as_dict(self) -> dict:
        """As JSON."""
        return {
            "artwork_sha256": self.artwork_sha256,
            "task": self.task,
            "rows": self.rows,
            "seed": SEED,
            "distortions": {
                distortion: {"psnr_db": ratio, **result.summary()}
                for distortion, (ratio, result) in self.measured.items()
            },
        }

    def __str__(self) -> str:
        from rich.console import Console
        from rich.table import Table

        table = Table(title=titled(f"{self.task}, {self.rows} rows"))
        table.add_column("picture sent")
        for title in ("PSNR", "score", "95 %"):
            table.add_column(title, justify="right")
        for distortion, (ratio, result) in self.measured.items():
            low, high = result.ci95
            db = "equal" if ratio is None else f"{ratio:.1f} dB"
            table.add_row(distortion, db, f"{result.score:.1%}", f"{low:.1%} to {high:.1%}")
        text = io.StringIO()
        Console(file=text, width=100).print(table)
        return text.getvalue().rstrip()


def robustness(
    artwork: str | Path | Artwork,
    *,
    model: str = "tiny",
    revision: str | None = None,
    task: str | Task | None = None,
    data: str | Path | None = None,
    rows: int = ROWS,
    quiet: bool = False,
) -> Robustness:
    """An artwork's score on held-out rows after JPEG, resizing, noise, ...

    Args:
        artwork: a PNG, a run's folder, or one that was read.
        model: "tiny" or "smol" (bundled), a hub name or a folder.
        revision: commit or tag of the model on the hub.
        task: to score on; None: the one it was painted on.
        data: folder of a benchmark's files (None: the hub), or without a task your own rows' file, which are
            scored against their completions.
        rows: how many.
        quiet: no progress bar.

    Raises:
        UserError: the PNG, the task or the model cannot be used.
    """
    from pixeltune.model.compat.bars import without_bars
    from pixeltune.model.loading import load_model, load_processor

    check_arguments(robustness, locals())
    if rows < 1:
        raise UserError("rows must be at least 1")
    artwork = artwork if isinstance(artwork, Artwork) else Artwork.load(artwork)
    chosen, held_out = task_and_rows(artwork, task, data, rows)
    processor = load_processor(model, revision)
    with without_bars(downloads=quiet):
        loaded = load_model(model, revision)
    return measure_artwork(artwork, chosen, held_out, loaded, processor, quiet)


def task_and_rows(
    artwork: Artwork, task: str | Task | None, data: str | Path | None, rows: int
) -> tuple[str | Task, list[dict]]:
    """The task to score on, the one given, your own rows' or what the artwork was painted on, and its rows.

    Raises:
        UserError: there is no such task, or its rows cannot be had.
    """
    made = artwork.provenance
    if task is None and data is not None and not Path(data).is_dir():
        mine, found = own.read(data)
        check_rows(found, tokens_of(made.image_processor, *made.also))
        return mine, found[:rows]
    painted_on = made.data
    if task is None and not is_known(painted_on):
        raise UserError(
            f"the artwork was painted on {painted_on or 'unknown data'}, which is no task: say what to score it "
            f"on with --task ({', '.join(names())}), or with --data rows.jsonl"
        )
    chosen = task or painted_on or ""
    return chosen, find_rows(chosen, "test", rows, SEED, data)


def measure_artwork(
    artwork: Artwork, task: str | Task, rows: list[dict], model: Any, processor: Any, quiet: bool = False
) -> Robustness:
    """`measure` with a progress bar, on a task or one by its name."""
    name = name_of(task)
    with bars(quiet) as bar:
        line = bar.add_task(titled(f"{name}, {len(rows)} rows"), total=len(DISTORTIONS))
        progress = partial(_advance, bar, line)
        measured = measure(artwork.image, find_task(task), rows, model, processor, progress)
    return Robustness(artwork.sha256, name, len(rows), measured)


def _advance(bar: Any, line: Any, done: int, _: int) -> None:
    bar.update(line, completed=done)
