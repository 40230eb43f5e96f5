"""The held-out scores of a run, read from its log: before, after, and where they were best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pixeltune.artwork.folder import SAMPLES, SCORE
from pixeltune.evaluation.scoring import Result
from pixeltune.picture.settings import RATES

LOSS = "held_out_loss"
ENDS = "held_out_low", "held_out_high"
"""Of the 95 % interval."""


def logged(result: Result) -> dict[str, float]:
    """A held-out score as it is logged, with the ends of its interval."""
    return dict(zip((SCORE, *ENDS), (result.score, *result.ci95), strict=True))


def held_out_scores(
    history: Sequence[dict[str, Any]], rows: int | Mapping[str, int], step: int
) -> dict[str, Any]:
    """What the provenance of an artwork says of its held-out score; empty where none was taken of that picture.

    Args:
        history: a trainer's log.
        rows: the scores are means of; of several tasks by their names.
        step: of the picture: an earlier one's score is not its own.

    Returns:
        ``{"held_out": {"score": ..., "ci95": [low, high], "n": rows, "before": {"score": ..., ...}}}``, with
        the start picture's as ``before``; of several tasks all rows together, and each task's by its name in
        ``tasks``.
    """
    entries = [entry for entry in history if SCORE in entry]
    if not entries or entries[-1]["step"] != step:
        return {}
    begun = [entry for entry in entries if entry.get("step") == 0]

    def of(aside: str, n: int) -> dict[str, Any]:
        before = {"before": _reading(begun[-1], aside)} if begun else {}
        return {**_reading(entries[-1], aside), "n": n, **before}

    if isinstance(rows, int):
        return {"held_out": of("", rows)}
    tasks = {name: of(f"/{name}", n) for name, n in rows.items() if f"{SCORE}/{name}" in entries[-1]}
    return {"held_out": of("", sum(rows.values())) | ({"tasks": tasks} if tasks else {})}


def best_step(history: Sequence[dict[str, Any]]) -> tuple[int, float] | None:
    """Step and score of the best reading, if it is better than the last one; of equals the latest."""
    entries = [(entry[SCORE], entry["step"]) for entry in history if SCORE in entry]
    score, step = max(entries, default=(0.0, 0))
    return (step, score) if entries and score > entries[-1][0] else None


def losses(history: Sequence[dict[str, Any]], step: int) -> tuple[float, float] | None:
    """Held-out loss of the start picture and of that of a step, nats per token; None where one was not taken."""
    values = {entry["step"]: entry[LOSS] for entry in history if LOSS in entry}
    return (values[0], values[step]) if step and {0, step} <= values.keys() else None


def verdict(scores: dict[str, Any], loss: tuple[float, float] | None) -> str:
    """Whether the picture helped, in a sentence, by held-out rows; and what to try if it did not.

    Args:
        scores: from `held_out_scores`.
        loss: from `losses`.

    Returns:
        Nothing where neither was measured before and after.
    """
    held = scores.get("held_out", {})
    before = held.get("before")
    if before is not None:
        low, high = before["ci95"]
        few = f"but {held['n']} rows are too few to be sure"
        if held["ci95"][0] > high:
            return "The picture helps: the score rose, and the intervals do not overlap."
        if held["ci95"][1] < low:
            return "The picture harms: the score fell. Try a lower --learning_rate, or more rows."
        if held["score"] > before["score"]:
            return f"The score rose, {few}: hold out more, or score it on others with pixeltune eval --data."
        if held["score"] < before["score"]:
            return f"The score fell, {few}: hold out more, or try a lower --learning_rate."
        if held["score"] == 1:
            return "Every answer was right before and after: there is nothing left to gain on these rows."
    elif loss is None:
        return ""
    if loss is not None and loss[1] < 0.9 * loss[0]:
        if before is None:
            return "The held-out loss fell: try more steps (--max_steps)."
        return (
            "The held-out loss fell while the score did not rise: try more steps (--max_steps), and look at "
            f"answers ({SAMPLES}/)."
        )
    return (
        f"The picture does not help yet. Try more steps (--max_steps), another --learning_rate ({RATES}), "
        "--start noise, or more image tokens; pixeltune check --channel --model NAME says whether the model's "
        "vision tower can carry it."
    )


def percent(reading: dict[str, Any]) -> str:
    """A score with its interval, as people read it: "97.0 % (92 to 99)"."""
    low, high = reading.get("ci95") or (None, None)
    ends = "" if low is None else f" ({100 * low:.0f} to {100 * high:.0f})"
    return f"{100 * reading['score']:.1f} %{ends}"


def _reading(entry: dict[str, Any], aside: str = "") -> dict[str, Any]:
    ends = [entry[f"{name}{aside}"] for name in ENDS if f"{name}{aside}" in entry]
    return {"score": entry[f"{SCORE}{aside}"], **({"ci95": ends} if len(ends) == 2 else {})}
