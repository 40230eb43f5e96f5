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

_OTHERS = {
    b"PAR1": "Parquet: datasets.Dataset.from_parquet({name!r}).to_json('rows.jsonl') makes JSONL of it",
    b"ARROW1": "Arrow: datasets.Dataset.from_file({name!r}).to_json('rows.jsonl') makes JSONL of it",
    b"\x1f\x8b": "compressed with gzip: unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed with Zstandard: unpack it first",
    b"PK\x03\x04": "a ZIP file, as spreadsheets are too: unpack it, or save it as JSONL",
    b"\xff\xfe": "text in UTF-16: iconv -f UTF-16 -t UTF-8 {name} > rows.jsonl makes UTF-8 of it",
    b"\xfe\xff": "text in UTF-16: iconv -f UTF-16 -t UTF-8 {name} > rows.jsonl makes UTF-8 of it",
}
"""First bytes of files that are no JSONL, and what they are."""

_COLUMNS = {"prompt", "completion", "question", "answer", "instruction", "input", "output", "text"}
"""Names that a table's first line may have, by which it is known as a table whatever the file is called."""

_MARK = b"\xef\xbb\xbf"


def read_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a JSONL file, each with where it stands ("rows.jsonl, line 3"). Blank lines are none.

    The file is UTF-8, with or without a byte order mark, its lines end in LF or CRLF.

    Raises:
        UserError: naming the file, the line and what to mend.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder: name the JSONL file in it")
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path} is larger than 2 GiB: split it")
    with path.open("rb") as file:
        begin = file.read(8)
        for magic, what in _OTHERS.items():
            if begin.startswith(magic):
                raise UserError(f"rows are read from JSONL, and {path} is {what.format(name=str(path))}")
        file.seek(len(_MARK) if begin.startswith(_MARK) else 0)
        number = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            where = f"{path}, line {number}"
            if len(line) > MAX_LINE:
                is_list = line.lstrip()[:1] == b"["
                hint = f"; of a list this makes lines: {conversion.from_array(path)}" if is_list else ""
                raise UserError(
                    f"{where}: longer than 4 MiB. JSONL has one object, which is one row, per line{hint}"
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
        hint = f"; of a list this makes lines: {conversion.from_array(path)}" if isinstance(row, list) else ""
        raise UserError(
            f'{where}: not an object, {{"prompt": ...}}, but {kind(row)}; one object per line{hint}'
        )
    return row


def _remedy(line: bytes, path: Path) -> str:
    """What to do with a line that is no JSON, by what it looks like."""
    text, suffix = line.strip().decode(), path.suffix.lower()
    each = "each line must be one whole object"
    if text[:1] == "[":
        return f"{each}; of a list this makes lines: {conversion.from_array(path)}"
    if text in ("{", '{"') or (text[:1] == "{" and text[-1:] in "{[,"):
        return f"{each}; of objects over several lines this makes them: {conversion.from_printed(path)}"
    separator = "\t" if suffix == ".tsv" else max("\t;,", key=text.count)
    names = {name.strip(' "').lower() for name in text.split(separator)}
    if suffix in (".csv", ".tsv") or (separator in text and names & _COLUMNS):
        return f"of a table with a line of column names this makes rows: {conversion.from_table(path, separator)}"
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
