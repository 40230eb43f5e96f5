"""The models of `accuracy.py`, all of them asked without thinking aloud."""

from __future__ import annotations

from functools import cache
from typing import Any

from pixeltune.model.loading import load_model, load_processor, weights_sha256

QUIET = "{%- set enable_thinking = false %}"
"""Rows and requests of the comparison carry no settings of a template, so the template has this one itself."""


@cache
def processor(name: str) -> Any:
    """A model's processor, whose template does not let it think where it could."""
    loaded = load_processor(name)
    for holder in (loaded, loaded.tokenizer):
        template = getattr(holder, "chat_template", None)
        if isinstance(template, str) and "enable_thinking" in template:
            holder.chat_template = QUIET + template
    return loaded


@cache
def base_hash(name: str, dtype: str = "auto") -> str:
    """Of the weights, in the precision they are used in."""
    return weights_sha256(load_model(name, dtype=dtype))
