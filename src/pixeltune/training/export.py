"""An artwork from a checkpoint or from a saved adapter: the PNG that its weights are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file

from pixeltune.adapter import ArtConfig
from pixeltune.adapter.checkpoint import canvas_parts
from pixeltune.artwork.artwork import Artwork
from pixeltune.artwork.png import MAX_PIXELS
from pixeltune.errors import UserError
from pixeltune.model.loading import TINY, load_processor, public_name
from pixeltune.model.preprocessing import Preprocessor
from pixeltune.picture.canvas import Canvas
from pixeltune.training import provenance
from pixeltune.training.folder import ARTWORK

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MAX_JSON_BYTES = 16 << 20


def export(checkpoint: str | Path, licence: str | None = None) -> Artwork:
    """The artwork of a folder that holds a saved adapter: ``checkpoint-50``, a run, or what
    ``model.save_pretrained`` wrote.

    Its provenance is that of the PNG beside the weights, if that shows the same picture; else what the
    adapter's settings and the base model's processor say. No model is loaded.

    Args:
        checkpoint: the folder.
        licence: of the artwork, where it was painted from a picture file and nothing says so yet.

    Raises:
        UserError: there is no artwork's adapter in the folder, or the processor of its base cannot be loaded.
    """
    folder = Path(checkpoint)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            there = next(folder.glob("checkpoint-*"), "runs/sft/checkpoint-50")
            raise UserError(
                f"{folder} has no {name}: give the folder of a checkpoint ({there}), or one that an artwork's "
                "adapter was saved in"
            )
    config = _read_config(folder)
    pixels = _read_canvas(folder, config).to_uint8()
    beside = folder / ARTWORK
    if beside.is_file():
        artwork = Artwork.load(beside)
        if np.array_equal(artwork.pixels, pixels):
            return artwork
    base = config.base_model_name_or_path
    if not (config.processor or base):
        raise UserError(
            f"{folder / CONFIG} does not say which base model it is for (base_model_name_or_path)"
        )
    processor = load_processor(config.processor or base, None if config.processor else config.revision)
    return Artwork(
        pixels,
        provenance.compose(
            provenance.of_picture(config, Preprocessor(processor)),
            base_model="tiny" if base == str(TINY) else public_name(base or config.processor),
            revision=config.revision,
            objective="unknown",
            seed=config.seed,
            steps=_steps(folder),
            licence=licence,
        ),
    )


def _read_config(folder: Path) -> ArtConfig:
    said = _read_json(folder / CONFIG)
    if said.get("peft_type") != "ART":
        raise UserError(f"{folder} holds an adapter of type {said.get('peft_type')}, which is no artwork")
    try:
        config = ArtConfig.from_pretrained(str(folder))
    except (TypeError, ValueError) as error:
        raise UserError(f"{folder / CONFIG} cannot be used: {error}") from error
    size = config.height, config.width, config.image_tokens
    if not all(type(n) is int and n > 0 for n in size) or config.height * config.width > MAX_PIXELS:
        raise UserError(f"{folder / CONFIG} does not say how large the artwork is")
    config.restored = True
    return config


def _read_canvas(folder: Path, config: ArtConfig) -> Canvas:
    try:
        parts = canvas_parts(load_file(folder / WEIGHTS))
        canvas = config.canvas()
        canvas.load_state_dict(parts)
    except (SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        why = str(error).splitlines()
        raise UserError(f"{folder / WEIGHTS} holds no such artwork: {' '.join(why)[:200]}") from error
    return canvas


def _steps(folder: Path) -> int | None:
    state = folder / "trainer_state.json"
    step = _read_json(state).get("global_step") if state.is_file() else None
    return step if type(step) is int else None


def _read_json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_JSON_BYTES:
        raise UserError(f"{path} is larger than {MAX_JSON_BYTES >> 20} MiB")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} is not a JSON object")
    return found
