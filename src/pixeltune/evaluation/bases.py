"""Whether a model is the one that an artwork says it was painted for: by its name, its weights, its image tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pixeltune.artwork.artwork import Artwork
from pixeltune.artwork.provenance import Provenance
from pixeltune.model.finding import public_name
from pixeltune.model.loading import load_model, weights_sha256
from pixeltune.model.precision import DTYPES
from pixeltune.model.preprocessing import Preprocessor


def other_tokens(artwork: Artwork, preprocessor: Preprocessor) -> list[str]:
    """What is wrong with the image tokens that the artwork says it takes; empty if nothing is.

    Raises:
        UserError: the processor would resize it.
    """
    said, tokens = artwork.provenance.image_tokens, preprocessor.tokens(*artwork.size)
    if said == tokens:
        return []
    return [f"image_tokens: the artwork says {said}, this model makes {tokens} of it"]


def other_base(made: Provenance, model: str, weights: str | None) -> list[str]:
    """What of the base model in an artwork's provenance is not true of this one; empty if nothing is.

    Args:
        made: of the artwork; each of its models will do.
        model: "tiny" or "smol" (bundled), a hub name or a folder, which may be of owner/name or of name.
        weights: `weights_sha256` of the model in the precision that was painted in; None: not compared.
    """
    recorded = {made.base_model: made.base_sha256, **made.also}
    own = next((base for base in recorded if _is_called(model, base)), None)
    known = list(recorded.values()) if own is None else [recorded[own]]
    found = []
    if own is None:
        alike = ", whose weights are the same" if weights is not None and weights in known else ""
        wanted = " and ".join(recorded)
        found.append(f"base_model: the artwork was painted for {wanted}, this is {public_name(model)}{alike}")
    if weights is not None and None not in known and weights not in known:
        wanted = " and ".join(f"{sha256:.16}..." for sha256 in map(str, known))
        found.append(f"base_sha256: the artwork was painted for {wanted}, this model's is {weights:.16}...")
    return found


def _is_called(model: str, base: str) -> bool:
    """Whether a model goes by this name; a folder also if it is called as the last part of owner/name."""
    name = public_name(model)
    return name == base or (Path(model).is_dir() and name == base.rpartition("/")[2])


def comparable(made: Provenance) -> bool:
    """Whether there is a hash of weights that can be had once more: those of 4 and 8 bits differ by device."""
    return made.base_sha256 is not None and not made.training.get("bits")


def weights_as_painted(made: Provenance, model: str, revision: str | None, loaded: Any = None) -> str | None:
    """`weights_sha256` of a model in the precision that an artwork was painted in; None if not `comparable`.

    Args:
        made: of the artwork.
        model: its name.
        revision: commit or tag of it on the hub.
        loaded: the model, where it is loaded already; in another precision, or not there, it is loaded for this
            and let go.
    """
    if not comparable(made):
        return None
    if loaded is not None and is_as_painted(made, loaded):
        return weights_sha256(loaded)
    dtype = made.training.get("dtype")
    return weights_sha256(load_model(model, revision, dtype if dtype in DTYPES else "auto"))


def is_as_painted(made: Provenance, model: Any) -> bool:
    """Whether a model that is loaded has its weights in the precision that an artwork was painted in."""
    dtype = str(model.dtype).removeprefix("torch.")
    same = made.training.get("dtype", dtype) == dtype and not getattr(model, "is_quantized", False)
    return same and comparable(made)
