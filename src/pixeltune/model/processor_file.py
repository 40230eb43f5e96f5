"""What the file of a model's processor says about sizes of pictures. Needs neither torch nor transformers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pixeltune.model.families import sizes_by
from pixeltune.model.finding import place
from pixeltune.model.sizes import Sizes

FILES = ("processor_config.json", "preprocessor_config.json")
"""Where the settings of an image processor stand: as a part of the first, or alone in the second."""


def read_sizes(name: str, revision: str | None = None) -> Sizes | None:
    """The candidates for sizes of an artwork, without the processor, which takes seconds to load.

    Args:
        name: of a model that there is (`find_model`).
        revision: commit or tag on the hub.

    Returns:
        None where the file is not on this machine, does not say everything, or is of a kind of processor that
        has to be asked: then sizes are judged when the processor is loaded.
    """
    for path in _files(name, revision):
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            images = said.get("image_processor", said)
            kind = images["image_processor_type"].removesuffix("Fast")
            if {"min_pixels", "max_pixels"} & images.keys():
                continue  # older names, which the processor sorts out
            found = sizes_by(kind, SimpleNamespace(**said | {"image_processor": SimpleNamespace(**images)}))
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue
        return None if found is None or found.asks else found
    return None


def _files(name: str, revision: str | None) -> Iterator[Path]:
    folder = Path(place(name))
    if folder.is_dir():
        yield from (folder / file for file in FILES if (folder / file).is_file())
        return
    from huggingface_hub import try_to_load_from_cache

    found: list[Any] = [try_to_load_from_cache(name, file, revision=revision) for file in FILES]
    yield from (Path(one) for one in found if isinstance(one, str))
