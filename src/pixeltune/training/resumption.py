"""What makes a run the one it is, kept in its checkpoints: it is resumed as that run, or not at all."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_callback import ExportableState

from pixeltune.adapter import ArtConfig
from pixeltune.adapter.guard import PixelWarning
from pixeltune.errors import UserError
from pixeltune.model.finding import public_name
from pixeltune.picture.files import STARTS
from pixeltune.picture.settings import ArtworkSettings
from pixeltune.picture.style import without_folders
from pixeltune.training.folder import ARTWORK, STATE
from pixeltune.training.preparation import Preparation
from pixeltune.training.settings import PaintArguments

FREE = (
    *("learning_rate", "lr_scheduler_type"),
    *("num_generations", "max_completion_length", "temperature", "beta"),
)
"""Of TRL's settings those whose change is worth a word; max_steps is not: a run may well become longer."""


class RunRecord(TrainerCallback, ExportableState):
    """Keep what a run is made of in every checkpoint, within its ``trainer_state.json``."""

    def __init__(self, record: dict[str, Any]) -> None:
        """
        Args:
            record: of `record_of`.
        """
        self.record = record

    def state(self) -> dict:
        """What a checkpoint holds."""
        return {"args": {"record": self.record}, "attributes": {}}

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        # The trainer saves this only where the checkpoint that it resumed from had it.
        state.stateful_callbacks.setdefault(type(self).__name__, self.state())


def record_of(
    ready: Preparation, arguments: PaintArguments, config: TrainingArguments, art: ArtConfig
) -> dict[str, dict[str, Any]]:
    """What a run is made of, as JSON.

    Args:
        ready: its rows, style and instruction.
        arguments: what is painted.
        config: how.
        art: with its size.

    Returns:
        By what to call them in messages the values that stay the same in a resumed run (``fixed``) and those
        whose change is worth a word (``free``). Files are in it with a hash of their contents, without their
        folders.
    """
    fixed = {"the objective": ready.objective, "--seed": config.seed}
    fixed |= {f"--{one.name}": getattr(art, one.name) for one in fields(ArtworkSettings)}
    fixed |= {
        "--start": art.start if art.start in STARTS else _file(art.start),
        "--mask": _file(art.mask) if art.mask else None,
        "--style": without_folders(arguments.style, ready.style) if ready.style else None,
        "--model": public_name(arguments.model),
        "--also": [public_name(name) for name in arguments.also],
        "--revision": arguments.revision,
        "--task": arguments.task,
        "--data": Path(arguments.data).name if ready.own else None,
        "--reward": arguments.reward,
        "--environment": arguments.environment,
        "--instruction": _short(json.dumps(ready.instruction).encode()) if ready.instruction else None,
    }
    free = {f"--{name}": getattr(config, name) for name in FREE if hasattr(config, name)}
    free |= {
        "the batch size": config.train_batch_size * config.gradient_accumulation_steps * config.world_size,
        "--dtype": arguments.dtype,
        "bits of the weights": arguments.bits,
        "--score": arguments.score,
        "--style_schedule": arguments.style_schedule,
        "--style_floor": arguments.style_floor,
    }
    counts = {"--held_out_rows": len(ready.held_out), "rows to train on": len(ready.train_rows)}
    # Of a file one count decides about the other: rows that were trained on would be held out.
    (fixed if ready.own else free).update(counts)
    # Of a task more rows are other rows; only as many can be compared.
    fixed[f"hash of the {len(ready.train_rows)} rows to train on"] = _rows(ready.train_rows)
    return json.loads(json.dumps({"fixed": fixed, "free": free}))


def check_resumed(checkpoint: Path, record: dict[str, dict[str, Any]]) -> None:
    """Refuse to go on with a run as if it had been another; warn of what may change and did.

    Args:
        checkpoint: whole.
        record: of the run that wants to go on.

    Raises:
        UserError: naming every setting that differs, with what it was and what it is.
    """
    held = json.loads((checkpoint / STATE).read_text()).get("stateful_callbacks") or {}
    kept = held.get(RunRecord.__name__, {}).get("args", {}).get("record")
    if not kept:
        warnings.warn(
            f"{checkpoint} does not say what it was painted with (an older pixeltune wrote it): nobody "
            "checks that settings and rows are the same",
            PixelWarning,
            stacklevel=2,
        )
        return
    if others := _differences(kept["fixed"], record["fixed"]):
        raise UserError(
            f"{checkpoint} was painted with other settings: {others}. Give those to go on with it, or begin "
            f"a new run from its picture: --start {checkpoint / ARTWORK} without --resume_from_checkpoint"
        )
    if others := _differences(kept["free"], record["free"]):
        warnings.warn(f"resumed with other settings: {others}", PixelWarning, stacklevel=2)


def _differences(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Of what both know."""
    differ = [name for name in old if name in new and old[name] != new[name]]
    return "; ".join(f"{name} was {_said(old[name])} and is now {_said(new[name])}" for name in differ)


def _said(value: Any) -> str:
    if value in (None, []):
        return "not given"
    return ", ".join(value) if isinstance(value, list) else str(value)


def _file(path: str) -> str:
    return f"{Path(path).name} ({_short(Path(path).read_bytes())})"


def _short(data: bytes) -> str:
    return f"sha256 {hashlib.sha256(data).hexdigest()[:12]}"


def _rows(rows: Iterable[dict]) -> str:
    """A hash of all that rows say, wherever their pictures lie."""
    digest = hashlib.sha256()
    for row in rows:
        known = {**row, "images": [_picture(image) for image in row.get("images") or []]}
        # Of what is no JSON only the type: an address in memory would be another in every session.
        text = json.dumps(known, default=lambda thing: type(thing).__qualname__, skipkeys=True)
        digest.update(text.encode() + b"\n")
    return digest.hexdigest()[:12]


def _picture(image: Any) -> str:
    data = Path(image).read_bytes() if isinstance(image, str | Path) else image.tobytes()
    return hashlib.sha256(data).hexdigest()
