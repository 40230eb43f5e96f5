"""The adapter beside an artwork, as PEFT saves it, made fit for strangers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pixeltune.artwork.folder import CONFIG, WEIGHTS
from pixeltune.artwork.png import ArtworkError
from pixeltune.artwork.provenance import Provenance

MAX_CONFIG_BYTES = 2**20


def holds_adapter(folder: str | os.PathLike[str]) -> bool:
    """Whether there is an adapter in a folder, or a part of one."""
    return any((Path(folder) / name).is_file() for name in (CONFIG, WEIGHTS))


def adapter_files(
    folder: str | os.PathLike[str], provenance: Provenance, size: tuple[int, int]
) -> dict[str, bytes | Path]:
    """The two files of an artwork's adapter, to be given away: its settings name no folder of this machine.

    Args:
        folder: of a run or of a checkpoint.
        provenance: of the artwork.
        size: of the artwork, (height, width) in pixels.

    Raises:
        ArtworkError: one of them is missing, or it is not an artwork's of this size.
    """
    folder = Path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise ArtworkError(
                f"{folder} has no {name}: give a folder that holds the adapter, or the PNG alone"
            )
    config = _read(folder / CONFIG)
    made = config.get("peft_type"), config.get("height"), config.get("width"), config.get("image_tokens")
    if made != ("ART", *size, provenance.image_tokens):
        raise ArtworkError(
            f"{folder / CONFIG} is of another artwork than the picture beside it (type, height, width, tokens: "
            f"{made!r:.80}): push the PNG alone, or make the PNG anew (pixeltune export)"
        )
    config |= {"base_model_name_or_path": provenance.base_model, "revision": provenance.revision}
    for name in ("start", "mask", "processor"):
        value = config.get(name)
        # A hub's name has one slash and is no path here; the pictures themselves come with the weights.
        if isinstance(value, str) and (os.path.isabs(value) or os.path.exists(value)):
            config[name] = Path(value).name
    text = json.dumps(config, indent=2, sort_keys=True)  # as PEFT writes it
    return {CONFIG: text.encode(), WEIGHTS: folder / WEIGHTS}


def _read(path: Path) -> dict[str, Any]:
    """
    Raises:
        ArtworkError: too large, or no JSON object.
    """
    with path.open("rb") as file:
        text = file.read(MAX_CONFIG_BYTES + 1)
    try:
        found = json.loads(text) if len(text) <= MAX_CONFIG_BYTES else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ArtworkError(f"{path} is no JSON object of at most {MAX_CONFIG_BYTES >> 10} KiB: save it anew")
    return found
