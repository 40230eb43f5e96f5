"""Private parts of transformers that are relied on; `tests/compat/test_insides.py` holds their names."""

from __future__ import annotations

from typing import Any


def commit_of(model: Any) -> str | None:
    """The commit of the hub that a model was loaded from; None for a folder, or where it is not known.

    `config._commit_hash` is written by `from_pretrained`, and there is no public name for it (transformers
    5.19, https://github.com/huggingface/transformers/blob/v5.19.0/src/transformers/configuration_utils.py).
    """
    return getattr(getattr(model, "config", None), "_commit_hash", None)
