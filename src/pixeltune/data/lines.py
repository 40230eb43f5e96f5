"""Lines of a JSONL file: one JSON object each, read with bounds, anything else refused with its place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pixeltune.data import conversion
from pixeltune.errors import UserError

MAX_BYTES = 2 << 30
MAX_LINE = 4 << 20

MARK = b"\xef\xbb\xbf"
"""Of byte order, with which some systems begin a file."""


def read_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a JSONL file, each with where it stands ("rows.jsonl, line 3"). Blank lines are none.

    The file is UTF-8, with or without a byte order mark, its lines end in LF or CRLF.

    Raises:
        UserError: naming the file, the line and what to mend.
    """
    with path.open("rb") as file:
        file.seek(len(MARK) if file.read(len(MARK)) == MARK else 0)
        number = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            where = f"{path}, line {number}"
            if len(line) > MAX_LINE:
                raise UserError(
                    f"{where}: longer than 4 MiB. JSONL has one object, which is one row, per line"
                )
            if line.strip():
                yield where, _object(line, where, path)


def parse(text: str) -> Any:
    """JSON that means one thing.

    Raises:
        ValueError: it is no JSON, a name stands twice in one object, or there are characters that no text
            can hold (halves of surrogate pairs), which tokenizers refuse.
    """
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if "\\u" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError("half of a surrogate pair, \\ud800 to \\udfff, stands alone") from error
    return value


def _object(line: bytes, where: str, path: Path) -> dict[str, Any]:
    try:
        row = parse(line.decode())
    except UnicodeDecodeError as error:
        raise UserError(
            f"{where}: not UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8"
        ) from error
    except ValueError as error:
        raise UserError(f"{where}: not JSON ({error}); {_remedy(line, path)}") from error
    if not isinstance(row, dict):
        raise UserError(f'{where}: not an object, {{"prompt": ...}}, but {kind(row)}; one object per line')
    return row


def _remedy(line: bytes, path: Path) -> str:
    """What to do with a line that is no JSON, by what it looks like."""
    text = line.strip().decode()
    each = "each line must be one whole object"
    if text in ("{", '{"') or (text[:1] == "{" and text[-1:] in "{[,"):
        return f"{each}; of objects over several lines this makes them: {conversion.from_printed(path)}"
    return each


def kind(value: object) -> str:
    """What a JSON value is, for messages."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    names = {str: "a text", list: "a list", dict: "an object", int: "a number", float: "a number"}
    what = names.get(type(value), f"a {type(value).__name__}")
    return f"{what} ({value})" if isinstance(value, int | float) else what if value else f"{what}, empty"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} stands twice in one object")
    return out


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")
