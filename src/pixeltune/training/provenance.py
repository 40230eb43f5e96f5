"""What a finished painting says of itself: its provenance, from what it was made with."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from pixeltune.adapter import ArtConfig
from pixeltune.artwork.artwork import Provenance
from pixeltune.data.placement import PLACEMENT
from pixeltune.model.loading import template_sha256
from pixeltune.model.preprocessing import Preprocessor
from pixeltune.picture.files import STARTS
from pixeltune.picture.style import without_folders
from pixeltune.training.arguments import ArtArguments
from pixeltune.training.preparation import Preparation


def provenance(
    verb: str,
    arguments: ArtArguments,
    config: TrainingArguments,
    ready: Preparation,
    art: ArtConfig,
    model: Any,
    preprocessor: Preprocessor,
    hashes: dict[str, str],
    steps: int,
    tokens: dict[str, float] | None,
) -> Provenance:
    """
    Args:
        verb: the objective.
        arguments: what was painted.
        config: how.
        ready: the rows and style it was painted with.
        art: with its size.
        model: the first, or only, base model.
        preprocessor: of the model's processor.
        hashes: `weights_sha256` of every base model by its public name, the first one first.
        steps: taken by the optimiser.
        tokens: prompt tokens per request, where words were replaced.
    """
    (name, sha256), *also = hashes.items()
    return Provenance(
        base_model=name,
        revision=getattr(model.config, "_commit_hash", None) or arguments.revision,
        base_sha256=sha256,
        image_tokens=art.image_tokens,
        placement=PLACEMENT,
        processor=preprocessor.constants(),
        template_sha256=template_sha256(preprocessor.processor),
        objective=verb,
        data=arguments.task or Path(arguments.data).name,
        seed=config.seed,
        steps=steps,
        start=arguments.start if arguments.start in STARTS else Path(arguments.start).name,
        bound=None if arguments.bound is None else arguments.bound / 255,
        training={
            "learning_rate": config.learning_rate,
            "batch_size": config.train_batch_size * config.gradient_accumulation_steps * config.world_size,
            "rows": len(ready.train_rows),
            "dtype": str(model.dtype).removeprefix("torch."),
            **({"bits": arguments.bits} if arguments.bits else {}),
            **({"also": dict(also)} if also else {}),
            **({"prompt_tokens": tokens} if tokens else {}),
            **({} if arguments.start in STARTS else {"backdrop": art.backdrop, "fit": art.fit}),
            **({"style": without_folders(arguments.style, ready.style)} if ready.style else {}),
            **({"cells": arguments.cells} if arguments.cells else {}),
            **({"parametrisation": art.parametrisation} if art.parametrisation != "pixels" else {}),
            **({"robust": arguments.robust} if arguments.robust != "none" else {}),
        },
        licence=arguments.licence or "CC0-1.0",
        created=datetime.date.today().isoformat(),
    )
