"""More from painted artworks without painting: a dial for their strength, sums and averages of several.

Pixels are averaged in grey levels and rounded once. Nothing says that the result works: `greedy` measures it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pixeltune.artwork.artwork import Artwork
from pixeltune.errors import UserError
from pixeltune.errors.checking import check_arguments, several
from pixeltune.evaluation.candidates import Candidate, start_of
from pixeltune.evaluation.defaults import MIX_ROWS
from pixeltune.picture.cells import side_of
from pixeltune.tasks.base import Task, find_task, held_out_rows, is_known, name_of
from pixeltune.tasks.own import MAX_NEW_TOKENS

if TYPE_CHECKING:
    from pixeltune.evaluation.plans import Plan

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
        raise UserError(
            "an average needs at least two artworks: give more of them, or --strength for a weaker or stronger one"
        )
    _check_alike(artworks, "averaged")
    first = artworks[0]
    levels = np.mean([artwork.pixels.astype(float) for artwork in artworks], axis=0)
    return _made(levels, first, {"average_of": [artwork.sha256 for artwork in artworks]})


def total(artworks: Sequence[Artwork], starts: Sequence[np.ndarray]) -> Artwork:
    """The start picture with the changes of all of them, each of which changed other token cells.

    Args:
        artworks: painted from the same picture, perhaps a few cells each (`--cells`, `--mask`).
        starts: the picture that each was painted from, `(H, W, 3)` uint8.

    Returns:
        The sum. Its provenance is that of the first, with the data of all and their hashes.

    Raises:
        ValueError: fewer than two; they are not for the same model, size and processor, or began as other pictures; or
            a cell was changed by two of them.
    """
    if len(artworks) < 2:
        raise UserError(
            "a sum needs at least two artworks: give more of them, or --strength for a stronger one"
        )
    _check_alike(artworks, "added up")
    first, start = artworks[0], starts[0]
    if not all(np.array_equal(start, other) for other in starts[1:]):
        raise UserError(
            "the artworks began as different pictures, and changes are added to one: paint them from the same --start "
            "(noise: with the same --seed)"
        )
    side = side_of(first.provenance.image_tokens, *first.size)
    if side is None:
        raise UserError(
            "the token cells of these artworks are no squares, so nobody can tell whether they overlap"
        )
    levels, taken = start.astype(float), np.zeros((first.size[0] // side, first.size[1] // side), bool)
    for artwork in artworks:
        change = artwork.pixels.astype(float) - start
        cells = change.any(axis=2).reshape(taken.shape[0], side, taken.shape[1], side).any(axis=(1, 3))
        if both := int((cells & taken).sum()):
            raise UserError(
                f"{both} of {taken.size} cells were changed by more than one artwork, so their changes are no sum: "
                "paint each in cells of its own (--mask), or average them without --sum"
            )
        levels, taken = levels + change, taken | cells
    data = list(dict.fromkeys(artwork.provenance.data or "unknown data" for artwork in artworks))
    made = _made(levels, first, {"sum_of": [artwork.sha256 for artwork in artworks]})
    training = {name: value for name, value in made.provenance.training.items() if name != "cells"}
    return Artwork(made.pixels, replace(made.provenance, data=" + ".join(data), training=training))


def greedy(
    artworks: Sequence[Artwork], score: Callable[[Artwork], float]
) -> tuple[Artwork, list[float], float]:
    """The greedy soup of Wortsman et al. (2022): best first, each next one stays if the average is no worse.

    Returns:
        The average, the members' scores in the order given, its own score on the same rows.

    Raises:
        ValueError: no average is as good as the best member, or no member scores anything.
    """
    scores = [score(artwork) for artwork in artworks]
    if max(scores) <= 0:
        raise UserError(
            "no artwork scores above zero on these rows, so nothing can be compared and no average is known to "
            "be no worse: give rows that they were painted for, with --data rows.jsonl or --task"
        )
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
        if "sum_of" in self.artwork.provenance.training:
            return f"the sum of {len(self.artwork.provenance.training['sum_of'])} artworks"
        if self.score is None:
            return f"an artwork at strength {self.artwork.provenance.training['strength']:g}"
        kept = len(self.artwork.provenance.training["average_of"])
        return f"{self.score:.3f}, the average of {kept} of {len(self.members)}"


def mix(
    artworks: str | Path | Artwork | Sequence[str | Path | Artwork],
    *,
    strength: float | None = None,
    sum: bool = False,
    start: str | None = None,
    task: str | Task | None = None,
    data: str | Path | None = None,
    score: str | None = None,
    reward: str | None = None,
    rows: int = MIX_ROWS,
    model: str = "tiny",
    revision: str | None = None,
) -> Mixture:
    """A weaker or stronger artwork, the sum of several, or their average if it is no worse than the best of them.

    Args:
        artworks: PNGs, runs' folders or artworks that were read; one (alone or in a list) with a strength,
            several for their sum or average.
        strength: 0 is the start picture, 1 the artwork, 2 twice the change.
        sum: add their changes up, each of other cells (see `total`); nothing is measured.
        start: the start picture's file, where it was one of yours.
        task: averages are kept if they are no worse on it; None: the artworks' own.
        data: your own rows' file, in place of a task; with a benchmark a folder of its files, None: the hub.
        score: how your own rows are scored against their completions, one of `pixeltune.tasks.own.SCORES`; None:
            chosen from the rows where it is plain.
        reward: ``package.module:function`` that scores them instead, in TRL's signature.
        rows: held-out rows to score on.
        model: "tiny" or "smol" (bundled), a hub name or a folder.
        revision: commit or tag of the model on the hub.

    Raises:
        UserError: the artworks do not go together, no average is as good as the best member, or all scores
            are zero.
    """
    check_arguments(mix, locals())
    given = [artworks] if isinstance(artworks, Artwork) else several("artworks", artworks)
    if rows < 1:
        raise UserError("rows must be at least 1")
    if strength is not None and sum:
        raise UserError("--strength is of one artwork and --sum of several: give either")
    if (strength is not None or sum) and (task or data or score or reward):
        raise UserError(
            f"{'--sum' if sum else '--strength'} makes one picture and measures nothing: leave out --task, --data, "
            "--score, --reward"
        )
    if strength is None and not sum and start:
        raise UserError("--start is where a --strength or a --sum begins: give one, or leave it out")
    read = [one if isinstance(one, Artwork) else Artwork.load(one) for one in given]
    if strength is not None:
        if len(read) > 1:
            raise UserError("--strength is a dial of one artwork")
        return Mixture(dial(read[0], np.asarray(start_of(read[0], start or "")), strength))
    if sum:
        return Mixture(total(read, [np.asarray(start_of(one, start or "")) for one in read]))
    average(read)  # what cannot be averaged is refused before a model is loaded
    paths = ["" if isinstance(one, Artwork) else str(one) for one in given]
    field = [
        Candidate(path or "an artwork", "picture", one.image, artwork=one, path=path)
        for one, path in zip(read, paths, strict=True)
    ]
    plan = plan_of(task, data, score, reward, rows, field)
    made, scores, reached = greedy(read, scorer(plan, field, model, revision))
    return Mixture(made, tuple(scores), reached)


def plan_of(
    task: str | Task | None,
    data: str | Path | None,
    score: str | None,
    reward: str | None,
    rows: int,
    field: list[Candidate],
) -> Plan:
    """What averages are scored on: rows of a task, of the one that the first artwork was painted on, or a file.

    Args:
        task, data, score, reward, rows: see `mix`.
        field: the artworks.

    Raises:
        UserError: they do not go together, or nothing says what to score on.
    """
    from pixeltune.evaluation.doubts import doubt, trained_rows
    from pixeltune.evaluation.plans import Plan, own_plan

    painted_on = field[0].artwork.provenance.data if field[0].artwork else None
    scored = bool(score or reward)
    of_benchmark = data is not None and is_known(painted_on) and Path(data).is_dir()
    if task is None and data is not None and (scored or not of_benchmark):
        plan = own_plan(None, data, reward, score, MAX_NEW_TOKENS, rows, field)
        for said in filter(None, (trained_rows(one, plan.rows) for one in field)):
            doubt(said)
        return plan
    if scored:
        raise UserError(
            "--score and --reward score rows of your own: give them with --data rows.jsonl, without --task"
        )
    if task is None and not is_known(painted_on):
        raise UserError(
            f"the artwork was painted on {painted_on or 'unknown data'}, no installed task: give rows to score "
            "on with --data (held_out.jsonl of its run, for example), or --task"
        )
    chosen = task or painted_on or ""
    # Something is chosen by these rows, so they are not those that `pixeltune eval` reports on.
    held_out = held_out_rows(chosen, rows, SEED, data)
    return Plan(name_of(chosen), find_task(chosen), held_out, {one.name: [] for one in field})


def scorer(
    plan: Plan, field: list[Candidate], model: str, revision: str | None
) -> Callable[[Artwork], float]:
    """Mean score of an artwork on the rows of a plan, by the model in this process."""
    from pixeltune.evaluation.in_process import wearing
    from pixeltune.evaluation.plans import check_plans
    from pixeltune.evaluation.scoring import score_rows
    from pixeltune.model.loading import load_model, load_processor

    processor = load_processor(model, revision)
    check_plans([plan], field, processor, model, revision)
    loaded = load_model(model, revision)

    def score(artwork: Artwork) -> float:
        with wearing(loaded, processor, artwork.image) as backend:
            return score_rows(plan.task, plan.rows, backend).score

    return score


def _check_alike(artworks: Sequence[Artwork], done: str) -> None:
    """
    Raises:
        ValueError: they are not for the same model, size and processor.
    """
    first = artworks[0]
    for other in artworks[1:]:
        same = {name: getattr(first.provenance, name) for name in OWN}
        fields = replace(other.provenance, **same, training={}, scores={}, created=None)
        if fields != replace(first.provenance, training={}, scores={}, created=None):
            raise UserError(f"only artworks for the same model, processor and template can be {done}")
        if other.size != first.size:
            raise UserError(f"artworks of {first.size} and {other.size} pixels cannot be {done}")


def _made(levels: np.ndarray, first: Artwork, how: dict[str, Any]) -> Artwork:
    pixels = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    provenance = replace(first.provenance, training={**first.provenance.training, **how}, scores={})
    return Artwork(pixels, provenance)
