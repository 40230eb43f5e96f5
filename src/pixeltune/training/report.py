"""What a run says: one line at its start, one at its end, and what a notebook shows of it.

A painting here is a `pixeltune.training.paint.Painting`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pixeltune.artwork.ledger import ledger_of, said
from pixeltune.model.sharding import asked_for
from pixeltune.training.folder import ARTWORK, SNAPSHOTS
from pixeltune.training.scores import best_step, losses, percent, verdict


def beginning(painting: Any) -> str:
    """Model, device, precision, image tokens, rows, and what is trained; what there is to know of the rows."""
    art, model = painting.art, painting.model
    device = (
        painting.config.device if asked_for() else model.device
    )  # a model to be shared out is not there yet
    names = " and ".join(painting.models)
    precision = f"{painting.arguments.bits} bits" if painting.arguments.bits else _precision(painting)
    trained = sum(one.numel() for one in model.parameters() if one.requires_grad)
    steps = painting.trainer.state.max_steps or painting.config.max_steps
    length = f"{steps} steps" if steps > 0 else f"{painting.config.num_train_epochs:g} epochs"
    resumed = f", resumed from {painting.ready.checkpoint.name}" if painting.ready.checkpoint else ""
    notes = (*painting.ready.notes, *([painting.teacher.costs] if painting.teacher else []))
    return (
        f"{painting.objective}: {names} on {device.type} in {precision}, frozen; trained are "
        f"{trained:,} numbers of one {art.height}x{art.width} picture ({art.image_tokens} image tokens, "
        f"{art.parametrisation}, from {Path(art.start).name}), on {len(painting.ready.train_rows):,} rows of "
        f"{_source(painting)}, {length}{resumed}" + "".join(f"\n{note}" for note in notes)
    )


def end(painting: Any) -> str:
    """What it took; held-out score before and after, where one was taken; and where the artwork lies."""
    path = painting.output_dir / ARTWORK
    line = f"{_scored(painting)}{path}"
    if books := ledger_of(painting.history):
        line = f"It took {said(books)}\n{line}"
    if painting.ready.own and (words := verdict(painting.scores, _losses(painting))):
        line = f"{line}\n{words}"
    better = best_step(painting.history) if painting.scores else None
    if better is None:
        return line
    step, score = better
    snapshot = painting.output_dir / SNAPSHOTS / f"step-{step:06d}.png"
    where = f": {snapshot}" if snapshot.is_file() else " (no snapshot was kept of it: --snapshot_steps)"
    return f"{line}\nStep {step} was better, {100 * score:.1f} %{where}"


def described(painting: Any) -> str:
    """The `repr` of a painting."""
    what = f"Painting({painting.objective}, {painting.arguments.model}, {_source(painting)}"
    if not hasattr(painting, "artwork"):
        return f"{what}, not trained)"
    how = "" if painting.finished else "interrupted, "
    steps = painting.artwork.provenance.steps
    return f"{what}, {how}{steps} steps, {_scored(painting)}{painting.output_dir / ARTWORK})"


def _scored(painting: Any) -> str:
    scores, loss = painting.scores.get("held_out"), _losses(painting)
    fell = "" if loss is None else f"held-out loss {loss[0]:.3g} -> {loss[1]:.3g} nats a token; "
    if scores is None:
        return fell
    before = f"{percent(scores['before'])} -> " if "before" in scores else ""
    each = ", ".join(f"{name} {percent(one)}" for name, one in scores.get("tasks", {}).items())
    return f"{fell}held-out score {before}{percent(scores)}, n = {scores['n']}{f': {each}' if each else ''}; "


def _losses(painting: Any) -> tuple[float, float] | None:
    return losses(painting.history, painting.step)


def _precision(painting: Any) -> str:
    weights = str(painting.model.dtype).removeprefix("torch.")
    cast = "bf16" if painting.config.bf16 else "fp16" if painting.config.fp16 else None
    return f"{weights} ({cast} autocast)" if cast else weights


def _source(painting: Any) -> str:
    return str(painting.arguments.source)
