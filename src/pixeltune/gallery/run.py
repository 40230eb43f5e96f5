"""Reading a run: the folder that a training verb wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from pixeltune.artwork.artwork import Artwork
from pixeltune.artwork.folder import ARTWORK, HISTORY, SAMPLES, SCORE, SNAPSHOTS, STATE, checkpoints
from pixeltune.artwork.ledger import ledger_of, said
from pixeltune.artwork.png import MAX_FILE_BYTES, decode_png
from pixeltune.errors import UserError
from pixeltune.gallery.evaluations import Evaluation, read_evaluation
from pixeltune.gallery.samples import Sample, read_samples
from pixeltune.gallery.untrusted import by_step, number, read_bytes, read_json

FRAMES = 24
"""Most snapshots that are looked at."""

FRAME_SIDE = 256
"""Longest side of a snapshot in memory and on a page, pixels; larger ones are scaled down."""

SERIES = {
    "loss": "Loss",
    "reward": "Reward",
    SCORE: "Held-out score",
    "completions/mean_length": "Completion length, tokens",
    "kl": "KL to the start, nats",
}
"""What of the log history a page draws: keys as the trainers write them, with titles."""

T = TypeVar("T")


@dataclass(frozen=True)
class Point:
    """One logged value; ``seconds`` since the run began, None where the run did not log them."""

    step: int
    seconds: float | None
    value: float


@dataclass(frozen=True)
class Frame:
    """The picture after a step, at most `FRAME_SIDE` pixels a side."""

    step: int
    image: Image.Image


@dataclass
class Run:
    """What there is of one run. ``absent`` says for each part that is missing or was not used, why."""

    folder: Path
    artwork: Artwork
    png: bytes
    """The artwork's file as it is."""
    frames: list[Frame] = field(default_factory=list)
    start: np.ndarray | None = None
    """The start picture, uint8 (H, W, 3)."""
    series: dict[str, list[Point]] = field(default_factory=dict)
    """By key of `SERIES`, those that were logged, by step."""
    samples: list[Sample] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the folder."""
        return self.folder.resolve().name or "run"

    @property
    def score(self) -> float | None:
        """The last held-out score, 0 to 1."""
        scores = self.series.get(SCORE)
        return scores[-1].value if scores else None

    @property
    def seconds(self) -> float | None:
        """How long the run took, as far as it logged."""
        known = [p.seconds for points in self.series.values() for p in points if p.seconds is not None]
        return max(known, default=None)


def read_run(folder: str | Path) -> Run:
    """Read what a training verb left in its ``output_dir``.

    Raises:
        ValueError: there is no such folder, or no sound ``artwork.png`` in it. Whatever else is missing or
            broken is left out, and named in ``absent``.
    """
    folder = Path(folder)
    path = folder / ARTWORK
    if not path.is_file():
        raise UserError(no_run(folder))
    try:
        png = read_bytes(path, MAX_FILE_BYTES)
        run = Run(folder, Artwork.load(png), png)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    _read_snapshots(run)
    _read_history(run)
    try:
        run.samples = read_samples(folder / SAMPLES, run.artwork.provenance.steps)
    except ValueError as error:
        run.absent["samples"] = str(error)
    for report in sorted(folder.glob("*/report.json")):
        try:
            run.evaluations.append(read_evaluation(report.parent))
        except ValueError as error:
            run.absent["evaluation"] = f"{report.parent.name}/{error}"
    if not run.evaluations:
        run.absent.setdefault("evaluation", "there is no report of pixeltune eval in the run's folder")
    return run


def ledger_in(folder: str | Path) -> list[tuple[str, str]]:
    """What a finished run took, in a line with its label; none of anything else, and of a log that cannot be read."""
    try:
        history = read_json(Path(folder) / HISTORY)
    except ValueError:
        return []
    books = ledger_of(history) if isinstance(history, list) else None
    return [("ledger", said(books))] if books else []


def no_run(folder: Path) -> str:
    """What to say of a folder without an ``artwork.png``."""
    hint = "is its training finished?" if folder.is_dir() else "there is no such folder"
    if found := list(checkpoints(folder).values()):
        hint += (
            f" {found[-1].name} holds the picture that it began with"
            if _is_start(found[-1])
            else f" A PNG from a checkpoint: pixeltune export {found[-1]} --output {folder / ARTWORK}"
        )
    return f"{folder} has no {ARTWORK} and is no run: {hint}"


def _is_start(checkpoint: Path) -> bool:
    """Whether a checkpoint's picture is known to be the one that its run began with, which is not exported."""
    first = by_step(checkpoint.parent / SNAPSHOTS, ".png", 0)
    try:
        begun, now = (_pixels(path) for path in (first[0], checkpoint / ARTWORK))
    except (KeyError, ValueError):  # nobody knows
        return False
    return np.array_equal(begun, now)


def evenly(items: Sequence[T], count: int) -> list[T]:
    """At most `count` of the items, evenly chosen, the first and the last among them."""
    if len(items) <= count:
        return list(items)
    return [items[round(i)] for i in np.linspace(0, len(items) - 1, count)]


def _read_snapshots(run: Run) -> None:
    paths = by_step(run.folder / SNAPSHOTS, ".png", run.artwork.provenance.steps)
    if not paths:
        run.absent["frames"] = "the run kept no snapshots (--snapshot_steps 0)"
    bad = []
    for step in evenly(list(paths), FRAMES):
        try:
            pixels = _pixels(paths[step])
            if pixels.shape != run.artwork.pixels.shape:
                raise UserError("it has another size than the artwork")
        except ValueError as error:
            bad.append(f"{paths[step].name} ({error})")
            continue
        if step == 0:
            run.start = pixels
        image = Image.fromarray(pixels)
        image.thumbnail((FRAME_SIDE, FRAME_SIDE))
        run.frames.append(Frame(step, image))
    if bad:
        run.absent["frames"] = f"not used: {'; '.join(bad[:3])}" + (f"; {len(bad)} in all" if bad[3:] else "")
    if run.start is None and run.artwork.provenance.start == "grey":
        run.start = np.full_like(run.artwork.pixels, 128)
    if run.start is None:
        run.absent["start"] = "the start picture is not known: there is no snapshot of step 0"


def _read_history(run: Run) -> None:
    """The values of `SERIES`; where a step has several, the last."""
    try:
        history = _history(run.folder)
    except ValueError as error:
        run.absent["series"] = str(error)
        return
    run.series = series_of(history, run.artwork.provenance.steps)
    if not run.series:
        run.absent["series"] = "the run's log holds nothing to draw"


def series_of(history: list, last: int | None = None) -> dict[str, list[Point]]:
    """What a page draws of a trainer's log, up to the step `last`: by key of `SERIES`, each by step."""
    series: dict[str, dict[int, Point]] = {}
    for entry in history:
        step = entry.get("step") if isinstance(entry, dict) else None
        if type(step) is not int or step < 0 or (last is not None and step > last):
            continue
        for key in SERIES:
            if (value := number(entry.get(key))) is not None:
                series.setdefault(key, {})[step] = Point(step, number(entry.get("seconds")), value)
    return {key: [points[s] for s in sorted(points)] for key, points in series.items()}


def _history(folder: Path) -> list:
    """The log of the whole run; where it was killed and its artwork exported, that of its newest checkpoint."""
    whole, newest = folder / HISTORY, list(checkpoints(folder).values())
    if whole.exists():
        history = read_json(whole)
    elif newest:
        state = read_json(newest[-1] / STATE)
        history = state.get("log_history") if isinstance(state, dict) else None
    else:
        raise UserError(f"the run's folder holds neither {HISTORY} nor a checkpoint")
    if not isinstance(history, list):
        raise UserError("the run's log is no list of entries")
    return history


def _pixels(path: Path) -> np.ndarray:
    """uint8 (H, W, 3) of a picture's file.

    Raises:
        ValueError: it cannot be used.
    """
    return decode_png(read_bytes(path, MAX_FILE_BYTES))[0]
