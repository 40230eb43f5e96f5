"""The held-out scores of a run, read from its log: before, after, and where they were best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

SCORE = "held_out_score"
LOSS = "held_out_loss"
ENDS = "held_out_low", "held_out_high"
"""Of the 95 % interval."""


def held_out_scores(history: Sequence[dict[str, Any]], rows: int) -> dict[str, Any]:
    """What an artwork's provenance says of its held-out scores so far; empty where none was taken.

    Args:
        history: a trainer's log.
        rows: the scores are means of.

    Returns:
        ``{"held_out": {"score": ..., "ci95": [low, high], "n": rows, "before": {"score": ..., ...}}}``, with
        the start picture's as ``before``.
    """
    entries = [entry for entry in history if SCORE in entry]
    if not entries:
        return {}
    begun = [_reading(entry) for entry in entries if entry.get("step") == 0]
    before = {"before": begun[-1]} if begun else {}
    return {"held_out": {**_reading(entries[-1]), "n": rows, **before}}


def best_step(history: Sequence[dict[str, Any]]) -> tuple[int, float] | None:
    """Step and score of the best reading, if it is better than the last one; of equals the latest."""
    entries = [(entry[SCORE], entry["step"]) for entry in history if SCORE in entry]
    score, step = max(entries, default=(0.0, 0))
    return (step, score) if entries and score > entries[-1][0] else None


def losses(history: Sequence[dict[str, Any]]) -> tuple[float, float] | None:
    """Held-out loss at the start and at the end, nats per token; None where both were not taken."""
    values = [entry[LOSS] for entry in history if LOSS in entry]
    return (values[0], values[-1]) if len(values) > 1 else None


def verdict(scores: dict[str, Any], loss: tuple[float, float] | None) -> str:
    """Whether the picture helped, in a sentence, by held-out rows; and what to try if it did not.

    Args:
        scores: from `held_out_scores`.
        loss: from `losses`.
    """
    held = scores.get("held_out", {})
    before, after = held.get("before", {}), held
    if "ci95" in before and "ci95" in after:
        if after["ci95"][0] > before["ci95"][1]:
            return "The picture helps: the score rose, and the intervals do not overlap."
        if after["ci95"][1] < before["ci95"][0]:
            return "The picture harms: the score fell. Try a lower --learning_rate, or more rows."
        if after["score"] > before["score"]:
            return (
                f"The score rose, but {held['n']} rows are too few to be sure: hold out more, or score it on "
                "others with pixeltune eval --data."
            )
    if loss is not None and loss[1] < 0.9 * loss[0]:
        scored = "" if not held else " while the score did not rise"
        return (
            f"The held-out loss fell{scored}: try more steps (--max_steps), and look at answers (samples/)."
        )
    return (
        "The picture does not help yet. Try more steps (--max_steps), another --learning_rate (0.005 to 0.1), "
        "--start noise, or more image tokens; pixeltune check --channel --model NAME says whether the model's "
        "vision tower can carry it."
    )


def percent(reading: dict[str, Any]) -> str:
    """A score with its interval, as people read it: "97.0 % (92 to 99)"."""
    low, high = reading.get("ci95") or (None, None)
    ends = "" if low is None else f" ({100 * low:.0f} to {100 * high:.0f})"
    return f"{100 * reading['score']:.1f} %{ends}"


def _reading(entry: dict[str, Any]) -> dict[str, Any]:
    ends = [entry[name] for name in ENDS if name in entry]
    return {"score": entry[SCORE], **({"ci95": ends} if len(ends) == 2 else {})}
