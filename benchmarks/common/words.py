"""Settings of a painting written as the words of a command line."""

from __future__ import annotations

import json
from typing import Any


def settings(words: str) -> dict[str, Any]:
    """Keyword arguments of `pixeltune.paint` from pairs of a flag and its value.

    Args:
        words: "--max_steps 3 --start noise"; values that are JSON (3, 0.06, true) are read as such.
    """
    names, values = words.split()[::2], words.split()[1::2]
    return {name.removeprefix("--"): _value(value) for name, value in zip(names, values, strict=True)}


def _value(word: str) -> Any:
    try:
        return json.loads(word)
    except ValueError:
        return word
