"""An artwork from a checkpoint or from a saved adapter: the PNG that its weights are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file

from pixeltune.adapter import ArtConfig
from pixeltune.adapter.checkpoint import canvas_parts
from pixeltune.artwork.artwork import Artwork
from pixeltune.artwork.png import MAX_ARTWORK_PIXELS
from pixeltune.errors import UserError
from pixeltune.model.finding import public_name
from pixeltune.model.loading import load_processor
from pixeltune.model.preprocessing import Preprocessor
from pixeltune.picture.canvas import Canvas
from pixeltune.training import provenance
from pixeltune.training.folder import ARTWORK, CONFIG, STATE, WEIGHTS, read_adapter, read_json


def export(checkpoint: str | Path, licence: str | None = None) -> Artwork:
    """The artwork of a folder that holds a saved adapter: ``checkpoint-50``, a run, or what
    ``model.save_pretrained`` wrote.

    Its provenance is that of the PNG beside the weights, if that shows the same picture; else what the
    adapter's settings and the base model's processor say. No model is loaded.

    Args:
        checkpoint: the folder.
        licence: of the artwork, where nothing says so yet. None: CC0-1.0, and of one that was painted from a
            picture file none.

    Raises:
        UserError: there is no artwork's adapter in the folder, its picture is still the one it began with, or
            the processor of its base cannot be loaded.
    """
    folder = Path(checkpoint)
    config = _read_config(folder)
    canvas = _read_canvas(folder, config)
    pixels = canvas.to_uint8()
    if np.array_equal(pixels, canvas.start.permute(1, 2, 0).numpy()):
        raise UserError(
            f"{folder} holds the picture that its training began with, and not one pixel changed: there is no "
            "artwork to export. The training said why; raise its --learning_rate, or see what it learns from"
        )
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
            provenance.of_picture(config, Preprocessor(processor), licence),
            base_model=public_name(base or config.processor),
            revision=config.revision,
            objective="unknown",
            seed=config.seed,
            steps=_steps(folder),
        ),
    )


def _read_config(folder: Path) -> ArtConfig:
    read_adapter(folder)
    try:
        config = ArtConfig.from_pretrained(str(folder))
    except (TypeError, ValueError) as error:
        raise UserError(f"{folder / CONFIG} cannot be used: {error}") from error
    size = config.height, config.width, config.image_tokens
    if not all(type(n) is int and n > 0 for n in size) or config.height * config.width > MAX_ARTWORK_PIXELS:
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
    state = folder / STATE
    step = read_json(state).get("global_step") if state.is_file() else None
    return step if type(step) is int else None
