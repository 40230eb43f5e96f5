"""What a run's files say, read as a stranger might have written them: bounded, and of the expected types."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pixeltune.errors import UserError

MAX_BYTES = 64 * 2**20
"""Largest JSON file read."""

MAX_TEXT = 4000
"""Characters of one text that a page shows."""

MAX_NUMBER = 1e30
"""No loss, count or number of seconds is larger."""

# Control characters, lone surrogates (which no UTF-8 file can hold), and what reverses the direction of text.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


def read_bytes(path: Path, limit: int) -> bytes:
    """The bytes of an ordinary file.

    Raises:
        ValueError: there is none, it cannot be read, or it is larger than `limit`.
    """
    if not path.is_file():  # a pipe would be waited for
        raise UserError(f"{path.name} is no file")
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise UserError(f"{path.name} cannot be read ({error.strerror})") from error
    if len(data) > limit:
        raise UserError(f"{path.name} is larger than {limit // 2**20} MiB")
    return data


def read_json(path: Path, limit: int = MAX_BYTES) -> Any:
    """What a JSON file holds.

    Raises:
        ValueError: it cannot be read, is larger than `limit` bytes, or is not JSON.
    """
    data = read_bytes(path, limit)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path.name} is not JSON") from error


def number(value: Any) -> float | None:
    """A number as float, where it can be drawn; None for everything else, true and infinity among it."""
    return float(value) if type(value) in (int, float) and abs(value) <= MAX_NUMBER else None


def printable(value: Any) -> Any:
    """A text as a page can show it, what is unprintable replaced; anything but text as it is."""
    return _UNPRINTABLE.sub("\ufffd", value) if type(value) is str else value


def shortened(text: str) -> str:
    """A text, or its first `MAX_TEXT` characters and how many there were."""
    if len(text) <= MAX_TEXT:
        return text
    return f"{text[:MAX_TEXT]} … ({len(text):,} characters in all)"


def by_step(folder: Path, suffix: str, last: int | None) -> dict[int, Path]:
    """Files ``step-000123`` with a suffix, by their step, up to the last step of a run.

    A longer run into the same folder may have left later ones.
    """
    named = {
        path: re.fullmatch(rf"step-(\d{{1,9}}){re.escape(suffix)}", path.name) for path in folder.glob("*")
    }
    found = {int(match[1]): path for path, match in named.items() if match}
    return {step: found[step] for step in sorted(found) if last is None or step <= last}
