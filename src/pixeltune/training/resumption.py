"""What makes a run the one it is, kept in its checkpoints: it is resumed as that run, or not at all."""

from __future__ import annotations

import hashlib
import json
import warnings
import zipfile
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_callback import ExportableState

from pixeltune.adapter import ArtConfig
from pixeltune.adapter.guard import PixelWarning
from pixeltune.data.contexts import OWN, alone
from pixeltune.errors import UserError
from pixeltune.model.finding import public_name
from pixeltune.picture.files import STARTS
from pixeltune.picture.settings import ArtworkSettings
from pixeltune.picture.style_text import without_folders
from pixeltune.training.folder import ARTWORK, STATE, WEIGHTS
from pixeltune.training.preparation import Preparation
from pixeltune.training.settings import PaintArguments
from pixeltune.training.teacher import public, source_of

OPTIMISER = "learning_rate", "optim", "adam_beta1", "adam_beta2", "adam_epsilon", "weight_decay"
"""Of TRL's settings those that come back with the optimiser's state: another value would have no effect."""

FREE = "lr_scheduler_type", "num_generations", "max_completion_length", "temperature", "beta"
"""Of TRL's settings those whose change is worth a word; max_steps is not: a run may well become longer."""

SAVED = "optimizer.pt", "scheduler.pt"
"""Files of a checkpoint without which the trainer begins afresh, and does not say so; `_random_state` is another."""


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
        # A checkpoint brings its own steps between logs and saves along, in the place of those asked for now.
        state.compute_steps(args, state.max_steps)


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
        "--task": arguments.task[0] if len(arguments.task) == 1 else arguments.task or None,
        "--balance": arguments.balance or None,
        "--reward": arguments.reward[0] if len(arguments.reward) == 1 else arguments.reward or None,
        "--reward_weights": getattr(config, "reward_weights", None),
        "--length_cost": arguments.length_cost or None,
        "--key_tokens": arguments.key_tokens,
        "--skip_errors": arguments.skip_errors or None,
        "--environment": arguments.environment,
        "--skip_spikes": arguments.skip_spikes,
        "--score": arguments.score,
        "--instruction": _short(json.dumps(ready.instruction).encode()) if ready.instruction else None,
        "--teacher": _teacher(arguments) if arguments.teacher else None,
        "--contexts": _contexts(arguments, ready) if arguments.contexts else None,
        "--context_share": arguments.context_share,
    }
    fixed |= {f"--{name}": getattr(config, name) for name in OPTIMISER}
    free = {f"--{name}": getattr(config, name) for name in FREE if hasattr(config, name)}
    free |= {
        "the batch size": config.train_batch_size * config.gradient_accumulation_steps * config.world_size,
        "--dtype": arguments.dtype,
        "bits of the weights": arguments.bits,
        "--style_schedule": arguments.style_schedule,
        "--style_floor": arguments.style_floor,
    }
    # Scores before and after are of the same rows; and of a file held-out rows would have been trained on.
    fixed["--held_out_rows"] = len(ready.held_out)
    fixed[f"hash of the {len(ready.held_out)} held-out rows"] = _rows(ready.held_out)
    (fixed if ready.own else free)["rows to train on"] = len(ready.train_rows)
    # Of a task more rows are other rows; only as many can be compared.
    fixed[f"hash of the {len(ready.train_rows)} rows to train on"] = _rows(map(alone, ready.train_rows))
    return json.loads(json.dumps({"fixed": fixed, "free": free}))


def check_whole(checkpoint: Path, config: TrainingArguments) -> None:
    """Refuse a checkpoint that the trainer could not go on from as if it had never stopped.

    Args:
        checkpoint: a folder with a `STATE`.
        config: TRL's.

    Raises:
        UserError: the run is over already, or a file is missing or cut off.
    """
    done = json.loads((checkpoint / STATE).read_text())["global_step"]
    if 0 < config.max_steps <= done:
        raise UserError(
            f"{checkpoint} has {done} steps already: give --max_steps above that, or export it: pixeltune export "
            f"{checkpoint}"
        )
    for name in (*SAVED, _random_state(config), WEIGHTS):
        path = checkpoint / name
        if not path.is_file():
            raise UserError(
                f"{checkpoint} has no {name}, without which a run does not go on as it began: resume from another "
                f"checkpoint, or begin a new run from its picture: --start {checkpoint / ARTWORK}"
            )
        if not _is_readable(path):
            raise UserError(
                f"{path} cannot be read (cut off?): resume from another checkpoint, or begin a new run from its "
                f"picture: --start {checkpoint / ARTWORK}"
            )


def _random_state(config: TrainingArguments) -> str:
    return "rng_state.pth" if config.world_size == 1 else f"rng_state_{config.process_index}.pth"


def _is_readable(path: Path) -> bool:
    """Whether a file is all there, as far as its beginning and end tell."""
    if path.suffix != ".safetensors":
        return zipfile.is_zipfile(path)  # which is what torch saves
    try:
        with safe_open(path, "pt"):
            return True
    except SafetensorError:
        return False


def check_resumed(checkpoint: Path, record: dict[str, dict[str, Any]]) -> None:
    """Refuse to go on with a run as if it had been another; warn of what may change and did.

    Args:
        checkpoint: whole.
        record: of the run that wants to go on.

    Raises:
        UserError: naming every setting that differs, with what it was and what it is; or it is no checkpoint
            of a run of `paint`, and says nothing of them.
    """
    held = json.loads((checkpoint / STATE).read_text()).get("stateful_callbacks") or {}
    kept = held.get(RunRecord.__name__, {}).get("args", {}).get("record")
    if not kept:
        raise UserError(
            f"{checkpoint} does not say which settings and rows it was painted with, so it is no checkpoint of "
            "a pixeltune run: go on with the trainer that wrote it"
        )
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


def _teacher(arguments: PaintArguments) -> str:
    weights = Path(source_of(arguments.teacher or "")[1]) / WEIGHTS
    known = f" ({_short(weights.read_bytes())})" if weights.is_file() else ""  # of a LoRA; of models the name
    return public(arguments) + known


def _contexts(arguments: PaintArguments, ready: Preparation) -> str:
    """The name of their file, or that they are the model's own, with a hash where they are there."""
    said = json.dumps([[one.messages, one.kind] for one in ready.contexts])
    known = f" ({_short(said.encode())})" if ready.contexts else ""
    return (OWN if arguments.contexts == OWN else Path(str(arguments.contexts)).name) + known


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
