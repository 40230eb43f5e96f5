"""More from painted artworks without painting: a dial for their strength, and averages of several.

Pixels are averaged in grey levels and rounded once. Nothing says that the result works: `greedy` measures it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pixeltune.artwork.artwork import Artwork
from pixeltune.errors import UserError
from pixeltune.evaluation.candidates import start_of
from pixeltune.tasks.base import Task, find_task, held_out_rows, is_known

SEED = 1000  # of the rows that averages are chosen by
OWN = ("data", "seed", "steps", "objective", "start", "bound", "licence")  # in which members may differ


def dial(artwork: Artwork, start: np.ndarray, strength: float) -> Artwork:
    """`start + strength (artwork - start)`: 0 is the start picture, 1 the artwork, above 1 exaggerates it.

    Args:
        artwork: any.
        start: the picture it was painted from, `(H, W, 3)` uint8.
        strength: 0 to 4.

    Raises:
        ValueError: another strength, or pictures of different sizes.
    """
    if not 0 <= strength <= 4:
        raise UserError(f"a strength of {strength} makes no sense: give 0 to 4")
    if start.shape != artwork.pixels.shape:
        raise UserError(f"the start picture is {start.shape}, the artwork {artwork.pixels.shape}")
    levels = start + strength * (artwork.pixels.astype(float) - start)
    return _made(levels, artwork, {"strength": strength})


def average(artworks: Sequence[Artwork]) -> Artwork:
    """The mean picture. Its provenance is that of the first, with the hashes of all members.

    Raises:
        ValueError: fewer than two, or they are not for the same model, size and processor.
    """
    if len(artworks) < 2:
        raise UserError("an average needs at least two artworks")
    first = artworks[0]
    for other in artworks[1:]:
        same = {name: getattr(first.provenance, name) for name in OWN}
        fields = replace(other.provenance, **same, training={}, scores={}, created=None)
        if fields != replace(first.provenance, training={}, scores={}, created=None):
            raise UserError("only artworks for the same model, processor and template can be averaged")
        if other.size != first.size:
            raise UserError(f"artworks of {first.size} and {other.size} pixels cannot be averaged")
    levels = np.mean([artwork.pixels.astype(float) for artwork in artworks], axis=0)
    return _made(levels, first, {"average_of": [artwork.sha256 for artwork in artworks]})


def greedy(
    artworks: Sequence[Artwork], score: Callable[[Artwork], float]
) -> tuple[Artwork, list[float], float]:
    """The greedy soup of Wortsman et al. (2022): best first, each next one stays if the average is no worse.

    Returns:
        The average, the members' scores in the order given, its own score on the same rows.

    Raises:
        ValueError: no average is as good as the best member.
    """
    scores = [score(artwork) for artwork in artworks]
    order = sorted(range(len(artworks)), key=lambda i: -scores[i])
    kept, best, soup = [artworks[order[0]]], scores[order[0]], None
    for i in order[1:]:
        candidate = average([*kept, artworks[i]])
        if (reached := score(candidate)) >= best:
            kept, best, soup = [*kept, artworks[i]], reached, candidate
    if soup is None:
        raise UserError(
            f"no average is as good as the best member ({best:.3f}), number {order[0] + 1}: keep that one"
        )
    return soup, scores, best


@dataclass(frozen=True)
class Mixture:
    """An artwork made from others, with the scores it was chosen by, where it was."""

    artwork: Artwork
    members: tuple[float, ...] = ()
    """Scores of the artworks given, in their order."""
    score: float | None = None
    """Its own, on the same rows."""

    def __str__(self) -> str:
        if self.score is None:
            return f"an artwork at strength {self.artwork.provenance.training['strength']:g}"
        kept = len(self.artwork.provenance.training["average_of"])
        return f"{self.score:.3f}, the average of {kept} of {len(self.members)}"


def mix(
    artworks: Sequence[str | Path | Artwork],
    *,
    strength: float | None = None,
    start: str | None = None,
    task: str | Task | None = None,
    data: str | Path | None = None,
    rows: int = 100,
    model: str = "tiny",
    revision: str | None = None,
) -> Mixture:
    """A weaker or stronger artwork, or the average of several if it is no worse than the best of them.

    Args:
        artworks: PNGs, runs' folders or artworks that were read; one with a strength, several for their average.
        strength: 0 is the start picture, 1 the artwork, 2 twice the change.
        start: the start picture's file, where it was one of yours.
        task: averages are kept if they are no worse on it; None: the artworks' own.
        data: folder of a benchmark's files; None: the hub.
        rows: held-out rows to score on.
        model: "tiny" (bundled), a hub name or a folder.
        revision: commit or tag of the model on the hub.

    Raises:
        UserError: the artworks do not go together, or no average is as good as the best member.
    """
    if rows < 1:
        raise UserError("--rows must be at least 1")
    read = [one if isinstance(one, Artwork) else Artwork.load(one) for one in artworks]
    if strength is not None:
        if len(read) > 1:
            raise UserError("--strength is a dial of one artwork")
        return Mixture(dial(read[0], np.asarray(start_of(read[0], start or "")), strength))
    average(read)  # what cannot be averaged is refused before a model is loaded
    made, scores, reached = greedy(read, scorer(task, read[0].provenance.data, data, rows, model, revision))
    return Mixture(made, tuple(scores), reached)


def scorer(
    task: str | Task | None,
    painted_on: str | None,
    data: str | Path | None,
    rows: int,
    model: str,
    revision: str | None,
) -> Callable[[Artwork], float]:
    """Mean score of an artwork on held-out rows of a task, by the model in this process."""
    from pixeltune.evaluation.in_process import wearing
    from pixeltune.evaluation.scoring import score_rows
    from pixeltune.model.loading import load_model, load_processor

    if task is None and not is_known(painted_on):
        raise UserError(
            f"the artwork was painted on {painted_on or 'unknown data'}, no installed task: give --task"
        )
    chosen = task or painted_on or ""
    # Something is chosen by these rows, so they are not those that `pixeltune eval` reports on.
    judged, held_out = find_task(chosen), held_out_rows(chosen, rows, SEED, data)
    loaded, processor = load_model(model, revision), load_processor(model, revision)

    def score(artwork: Artwork) -> float:
        with wearing(loaded, processor, artwork.image) as backend:
            return score_rows(judged, held_out, backend).accuracy

    return score


def _made(levels: np.ndarray, first: Artwork, how: dict[str, Any]) -> Artwork:
    pixels = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    provenance = replace(first.provenance, training={**first.provenance.training, **how}, scores={})
    return Artwork(pixels, provenance)
