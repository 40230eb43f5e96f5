"""What a painting says of itself: its provenance, from what it is made with."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from pixeltune.adapter import ArtConfig
from pixeltune.artwork.provenance import Provenance
from pixeltune.data.contexts import OWN
from pixeltune.data.placement import PLACEMENT
from pixeltune.model.finding import ORIGINS
from pixeltune.model.loading import template_sha256
from pixeltune.model.preprocessing import Preprocessor
from pixeltune.picture.files import STARTS
from pixeltune.picture.style_text import without_folders
from pixeltune.training.preparation import Preparation
from pixeltune.training.settings import PaintArguments
from pixeltune.training.teacher import public

LICENCE = "CC0-1.0"
"""Of artworks that began with none of anybody's pictures, where nobody says another."""


def of_picture(art: ArtConfig, preprocessor: Preprocessor, licence: str | None) -> dict[str, Any]:
    """What follows from the settings of an artwork, with its size, and from the model's processor.

    Args:
        art: the settings.
        preprocessor: of the model.
        licence: that was asked for. None: `LICENCE`, and of one that began with a picture file none is known.
    """
    own_file = art.start not in STARTS
    return {
        "image_tokens": art.image_tokens,
        "placement": PLACEMENT,
        "processor": preprocessor.constants(),
        "template_sha256": template_sha256(preprocessor.processor),
        "start": Path(art.start).name if own_file else art.start,
        "bound": None if art.bound is None else art.bound / 255,
        "licence": licence or (None if own_file else LICENCE),
        "training": {
            **({"backdrop": art.backdrop, "fit": art.fit} if own_file else {}),
            **({"cells": art.cells} if art.cells else {}),
            **({"parametrisation": art.parametrisation} if art.parametrisation != "pixels" else {}),
            **({"robust": art.robust} if art.robust != "none" else {}),
        },
    }


def of_run(
    ready: Preparation, arguments: PaintArguments, config: TrainingArguments, tokens: dict[str, float] | None
) -> dict[str, Any]:
    """What follows from what was asked for.

    Args:
        ready: the rows and style it is painted with.
        arguments: what is painted.
        config: how.
        tokens: prompt tokens per request, where words are replaced.
    """
    return {
        "objective": ready.objective,
        "data": arguments.source,
        "seed": config.seed,
        "created": datetime.date.today().isoformat(),
        "training": {
            "learning_rate": config.learning_rate,
            "batch_size": config.train_batch_size * config.gradient_accumulation_steps * config.world_size,
            "rows": len(ready.train_rows),
            **({"balance": True} if arguments.balance else {}),
            **({"bits": arguments.bits} if arguments.bits else {}),
            **({"prompt_tokens": tokens} if tokens else {}),
            **({"teacher": public(arguments)} if arguments.teacher else {}),
            **({"key_tokens": arguments.key_tokens} if arguments.key_tokens else {}),
            **({"skip_errors": True} if arguments.skip_errors else {}),
            **({"skip_spikes": arguments.skip_spikes} if arguments.skip_spikes else {}),
            **({"contexts": _contexts(arguments)} if arguments.contexts else {}),
            **({"style": without_folders(arguments.style, ready.style)} if ready.style else {}),
        },
    }


def _contexts(arguments: PaintArguments) -> dict[str, Any]:
    """Where what stands in front of rows is from, without folders, and how many rows get one."""
    source = OWN if arguments.contexts == OWN else Path(str(arguments.contexts)).name
    return {"source": source, "share": arguments.context_share}


def of_models(models: dict[str, Any], hashes: dict[str, str], revision: str | None) -> dict[str, Any]:
    """What follows from the base models.

    Args:
        models: by their names as strangers know them, the first one first.
        hashes: `weights_sha256` of each.
        revision: that was asked for of the first; transformers keeps none with a model since 5.19.
    """
    (name, sha256), *also = hashes.items()
    first = models[name]
    return {
        "base_model": name,
        "revision": revision,
        "base_sha256": sha256,
        "training": {
            "dtype": str(first.dtype).removeprefix("torch."),
            **({"origin": ORIGINS[name]} if name in ORIGINS else {}),
            **({"also": dict(also)} if also else {}),
        },
    }


def compose(*parts: dict[str, Any], **more: Any) -> Provenance:
    """One provenance of several parts, whose hyperparameters (`training`) are put together."""
    fields = {name: value for part in parts for name, value in part.items() if name != "training"}
    training = {name: value for part in parts for name, value in part.get("training", {}).items()}
    return Provenance(**fields, training=training, **more)
