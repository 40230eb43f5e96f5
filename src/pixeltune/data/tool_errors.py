"""Calls that failed, by what their tools answered."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from pixeltune.data.messages import Message, text_of

LONG = 10_000
"""Characters of a result that are looked at."""

_ERROR = re.compile(r"\W*(?:\w*(?:error|exception)\W*(?:[:(\[!.]|$)|traceback\b)", re.IGNORECASE)
_NONE = ("", "false", "0", "none", "null")


def says_error(result: Message) -> bool:
    """Whether a tool's result says that the call failed.

    It does if it begins with "Error:" or the like ("KeyError(...)", "Traceback"; not with "Error rate"), also as a key
    (``[{"error": "no such item"}]``), or is an object whose ``error`` or ``isError`` holds something, or whose
    ``status`` is "error".
    """
    text = text_of(result.get("content")).strip()[:LONG]
    known = _object(text)
    if known is None:
        return _ERROR.match(text) is not None
    told = [known.get("error"), known.get("isError")]
    if any(one and str(one).strip().lower() not in _NONE for one in told):
        return True
    return str(known.get("status")).lower() == "error"


def failed_turns(row: dict) -> set[int]:
    """Which messages of a row's completion, by number, are the assistant's calls of which one failed."""
    failed, turn = set(), None
    for number, message in enumerate(row["completion"]):
        if message["role"] == "assistant":
            turn = number
        elif message["role"] != "tool":
            turn = None
        elif turn is not None and says_error(message):
            failed.add(turn)
    return failed


def _object(text: str) -> dict[str, Any] | None:
    """A result as the object that it is, in JSON or as Python writes it; None for anything else."""
    if not text.startswith("{"):
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
        if isinstance(found, dict):
            return found
    return None
