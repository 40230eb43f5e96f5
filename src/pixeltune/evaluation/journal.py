"""Records of what was asked and said, kept row by row, so that an evaluation goes on where it was killed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pixeltune.errors import UserError

DIGITS = 12
"""Hexadecimal ones in a journal's name, of what its answers depend on."""


def file(folder: Path, title: str, settings: Mapping[str, Any]) -> Path:
    """The journal of an evaluation: the same name means the same rows, asked the same way.

    Args:
        folder: where journals are.
        title: for people.
        settings: what the answers depend on, as JSON.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:DIGITS]
    return folder / f"{_stem(title)}-{digest}.jsonl"


def newest(folder: Path, title: str) -> Path | None:
    """The journal of a title that was written last, whatever its settings; None where there is none."""
    name = re.compile(rf"{re.escape(_stem(title))}-[0-9a-f]{{{DIGITS}}}\.jsonl")
    files = [path for path in folder.glob("*.jsonl") if name.fullmatch(path.name) and path.is_file()]
    return max(files, key=lambda path: path.stat().st_mtime, default=None)


def _stem(title: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in title)


def append(journal: Path, records: Sequence[dict]) -> None:
    """Add records; a kill leaves at most the last line cut off."""
    with journal.open("a", encoding="utf-8") as out:
        out.write(lines(records))


def lines(records: Sequence[dict]) -> str:
    """Records as JSONL."""
    return "".join(json.dumps(record) + "\n" for record in records)


def read(journal: Path, rows: Sequence[dict]) -> dict[int, dict]:
    """Answered rows of a journal, by their place; a last line that a kill cut off is removed.

    Raises:
        UserError: it is of other rows, or damaged elsewhere.
    """
    if not journal.exists():
        journal.parent.mkdir(parents=True, exist_ok=True)
        return {}
    whole = journal.read_bytes()
    kept = whole[: whole.rfind(b"\n") + 1]
    if len(kept) < len(whole):
        with journal.open("r+b") as out:
            out.truncate(len(kept))
    found = {}
    for number, line in enumerate(kept.splitlines(), start=1):
        try:
            record = json.loads(line)
            i, name, error, said = (record[key] for key in ("row", "id", "error", "completions"))
            known = type(i) is int and i >= 0 and name == str(rows[i].get("id", i))
            known &= bool(error or (said and {type(one) for one in said} == {str}))
        except (ValueError, KeyError, TypeError, IndexError, RecursionError):
            known = False
        if not known:
            raise UserError(f"{journal}, line {number} is no record of these rows: remove the file")
        if not error:
            found[i] = record
    return found
