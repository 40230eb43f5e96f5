"""Every text inside of a row or a request, as a chat template may write it into the prompt."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

_WORDS = ("text", "refusal", "thinking")  # of a content part


def texts_in(value: Any) -> Iterator[str]:
    """All texts inside a value, names of objects included, and what the parts of a message say together.

    Args:
        value: of JSON's types; others hold no texts. However deep, it is not recursed into.
    """
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            for name, inner in value.items():
                yield str(name)
                stack.append(inner)
                if name == "arguments" and isinstance(inner, str):  # engines give templates what it says
                    try:
                        stack.append(json.loads(inner))
                    except (ValueError, RecursionError):
                        continue
        elif isinstance(value, list | tuple):
            stack += value
            yield from _together(value)


def _together(parts: list[Any] | tuple[Any, ...]) -> Iterator[str]:
    """The words of several parts as one text: templates write nothing in between, some trim, some take the
    pictures out first."""
    said = [part if isinstance(part, str) else _words(part) for part in parts]
    said = [text for text in said if text]
    if len(said) > 1:
        yield "".join(said)
        yield "".join(text.strip() for text in said)


def _words(part: Any) -> str:
    words = [part.get(name) for name in _WORDS] if isinstance(part, dict) else []
    return "".join(text for text in words if isinstance(text, str))
