"""Where a picture comes from, as JSON in its PNG."""

import json
from dataclasses import dataclass, field, fields
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from pixeltune.artwork.png import ORIGINAL, ArtworkError
from pixeltune.version import __version__

KEYWORD = "pixeltune"  # of the PNG text chunk
FORMAT = 1  # of the JSON inside


@dataclass(frozen=True)
class Provenance:
    """Where a picture comes from; everything a stranger needs to serve, check or repaint it.

    Beside these fields the PNG holds `format` (of this record), `size` ([height, width]) and
    `pixels_sha256`, which follow from the pixels. `bound` is a part of the range from black to white, in [0, 1]:
    the 8 grey levels of `--bound 8` are 8/255. People are shown grey levels.
    """

    base_model: str  # repository id, or the name of a bundled or local model
    image_tokens: int  # what the picture costs in the prompt
    placement: str  # where the picture stands in a request, a name known to placement.py
    processor: dict[str, Any]  # constants of the image processor: patch size, mean, std, pixel limits, ...
    objective: str  # sft, dpo, grpo, ...
    revision: str | None = None  # commit of the base model
    base_sha256: str | None = None  # of the base weights
    template_sha256: str | None = None  # of the chat template's text
    data: str | None = None  # task or data set painted on
    seed: int | None = None
    steps: int | None = None  # optimiser steps taken
    start: str | None = None  # start picture: grey, noise, a file name
    bound: float | None = None  # largest change of a pixel from the start picture, see above; None: free
    training: dict[str, Any] = field(default_factory=dict)  # hyperparameters worth knowing
    scores: dict[str, Any] = field(default_factory=dict)  # held-out results, with sample counts
    licence: str | None = None  # of the picture, an SPDX identifier
    created: str | None = None  # ISO 8601 date
    pixeltune: str = __version__  # version that painted it

    @property
    def also(self) -> dict[str, Any]:
        """Further models it was painted for at once (`--also`): hashes of their weights by name."""
        also = self.training.get("also")
        return also if isinstance(also, dict) else {}

    @property
    def bases(self) -> list[str]:
        """Names of all models it was painted for, `base_model` first."""
        return [self.base_model, *self.also]

    @property
    def image_processor(self) -> str:
        """What the image processor of the base model is called, such as "Qwen2VLImageProcessor"."""
        return str(self.processor.get("image_processor"))

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            alternatives = get_args(hint) if isinstance(hint, UnionType) else (hint,)
            allowed = tuple(get_origin(kind) or kind for kind in alternatives)  # dict[str, Any]: dict
            value = getattr(self, name)
            if float in allowed and type(value) is int:
                continue
            if type(value) not in allowed:  # exact types: True is no step count
                wanted = " or ".join("null" if kind is NoneType else kind.__name__ for kind in allowed)
                raise ArtworkError(f"provenance field {name!r} is {value!r:.40}: it must be {wanted}")


def read_record(texts: dict[str, list[str]]) -> tuple[Provenance, list[int], str]:
    """(provenance, [height, width], pixel hash) from the JSON in one of a PNG's text chunks.

    Raises:
        ArtworkError: it is not there, or not of this format.
    """
    records = texts.get(KEYWORD, [])
    if not records:
        raise ArtworkError(
            "PNG without pixeltune provenance: another program made or re-saved it, and nobody can tell what it "
            f"was painted for; {ORIGINAL}"
        )
    if len(records) > 1:
        raise ArtworkError(f"PNG with several provenance records: {ORIGINAL}")
    try:
        record = json.loads(records[0])
    except (ValueError, RecursionError):
        raise ArtworkError(f"provenance is not valid JSON: {ORIGINAL}") from None
    if not isinstance(record, dict):
        raise ArtworkError(f"provenance is not a JSON object: {ORIGINAL}")
    if record.pop("format", None) != FORMAT:
        raise ArtworkError(f"provenance is not of format {FORMAT}: upgrade pixeltune")
    required = {f.name for f in fields(Provenance)} | {"size", "pixels_sha256"}
    if missing := sorted(required - record.keys()):
        raise ArtworkError(f"provenance lacks {', '.join(missing)}: {ORIGINAL}")
    if unknown := sorted(record.keys() - required):
        raise ArtworkError(f"provenance has unknown fields {str(unknown)[1:-1]:.80}: upgrade pixeltune")
    size, sha256 = record.pop("size"), record.pop("pixels_sha256")
    if not isinstance(size, list) or [type(n) for n in size] != [int, int] or not isinstance(sha256, str):
        raise ArtworkError(f"provenance has a malformed size or pixel hash: {ORIGINAL}")
    return Provenance(**record), size, sha256
