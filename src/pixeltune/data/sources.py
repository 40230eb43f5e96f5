"""What ``--data`` names: a file, a folder or a data set on the hub, told apart by what it holds, not by its suffix."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixeltune.data import hub, tables
from pixeltune.data.lines import MARK, MAX_BYTES, read_lines
from pixeltune.data.messages import Unused
from pixeltune.errors import UserError

JSONL, LIST, CSV, PARQUET, SAVED, HUB = (
    "JSONL",
    "a JSON list",
    "CSV",
    "Parquet",
    "saved by datasets",
    "on the hub",
)
"""Forms of rows."""

ARROW = (PARQUET, SAVED, HUB)
"""Forms in which what one row lacks, and another has, is null."""

SUFFIXES = {
    *(".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".txt"),
    *(".gz", ".zst", ".zip", ".xlsx", ".xls", ".yaml", ".yml"),
}
"""Of names that are meant as files, also where there is none."""

_COLUMNS = {"prompt", "completion", "question", "answer", "instruction", "input", "output", "text"}
"""Names that a table's first line may have, by which it is known as a table whatever the file is called."""

_OTHERS = {
    b"ARROW1": "Arrow: datasets.Dataset.from_file({name!r}).to_json('rows.jsonl') makes JSONL of it",
    b"\x1f\x8b": "compressed with gzip: unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed with Zstandard: unpack it first",
    b"PK\x03\x04": "a ZIP file, as spreadsheets are too: unpack it, or save it as CSV",
    b"\xff\xfe": "text in UTF-16: iconv -f UTF-16 -t UTF-8 {name} > rows.txt makes UTF-8 of it",
    b"\xfe\xff": "text in UTF-16: iconv -f UTF-16 -t UTF-8 {name} > rows.txt makes UTF-8 of it",
}
"""First bytes of files that hold no rows, and what they are."""


@dataclass(frozen=True)
class Source:
    """Where rows are read from, as often as wanted."""

    name: str
    """As it was given."""
    form: str
    delimiter: str = ","
    """Of CSV."""

    @property
    def folder(self) -> Path | None:
        """What the picture files of its rows are relative to; None: they are not on this machine."""
        path = Path(self.name)
        return {SAVED: path, HUB: None}.get(self.form, path.parent)

    def records(self, unused: Unused, needed: Collection[str] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
        """Its rows as JSON, each with where it stands: "rows.jsonl, line 3", "sheet.csv, row 2".

        Args:
            unused: gets what cannot be read of them.
            needed: columns that must not be left out for that.

        Raises:
            UserError: naming the file, the row and what to mend.
        """
        if self.form == JSONL:
            yield from read_lines(Path(self.name))
            return
        bound = tables.Bound(self.name)
        for number, row in enumerate(self._rows(), start=1):
            where = f"{self.name}, row {number}"
            if self.form != LIST:
                row = tables.plain(row, where, unused, needed)
            bound.check(row, where)
            yield where, row

    def _rows(self) -> Iterator[dict[str, Any]]:
        path = Path(self.name)
        if self.form == HUB:
            return tables.from_dataset(self.name, hub.load(self.name))
        if self.form == CSV:
            return tables.from_csv(path, self.delimiter)
        return {LIST: tables.from_list, PARQUET: tables.from_parquet, SAVED: tables.from_saved}[self.form](
            path
        )


def find(data: str | Path) -> Source:
    """
    Args:
        data: a file, a folder, or a name on the hub.

    Raises:
        UserError: there is no such thing, or it is too large, or of a form that holds no rows.
    """
    name, path = str(data), Path(data)
    if path.is_dir():
        if not _is_saved(path):
            raise UserError(f"{path} is a folder, and not one that datasets saved: name the file in it")
        _check_size(path)
        return Source(name, SAVED)
    if not path.is_file():
        if _is_hub_name(data):
            return Source(name, HUB)
        colon = f"; a data set on the hub is {hub.FORM}" if ":" in name or "/" not in name else ""
        raise UserError(f"there is no file {path}{colon if not path.suffix else ''}")
    _check_size(path)
    with path.open("rb") as file:
        begin = file.read(tables.HEADER)
    for magic, what in _OTHERS.items():
        if begin.startswith(magic):
            raise UserError(
                f"rows are read from JSONL, JSON, CSV or Parquet, and {path} is {what.format(name=name)}"
            )
    if begin.startswith(b"PAR1"):
        return Source(name, PARQUET)
    first = begin.removeprefix(MARK).lstrip()
    if path.suffix.lower() == ".parquet":
        what = "is empty" if not begin else "is no Parquet file, whatever its name says"
        raise UserError(f"{path} {what} (a download that broke off?)")
    if first.startswith(b"["):
        return Source(name, LIST)
    separator = _separator(first.split(b"\n", 1)[0].split(b"\r", 1)[0], path)
    return Source(name, CSV, separator) if separator else Source(name, JSONL)


def size(data: str | Path) -> int:
    """Bytes of it, those of a data set on the hub once it is loaded.

    Raises:
        UserError: as `find` does.
    """
    source = find(data)
    return hub.load(source.name).data.nbytes if source.form == HUB else _bytes(Path(data))


def public_name(data: str | Path) -> str:
    """What strangers may know it by: of a file or folder only its last part."""
    return str(data) if _is_hub_name(data) else Path(data).name


def title(data: str | Path) -> str:
    """What to call a task of its rows."""
    name = hub.parse_name(str(data)) if _is_hub_name(data) else None
    return name.repository.rpartition("/")[2] if name else Path(data).stem


def _is_hub_name(data: str | Path) -> bool:
    path = Path(data)
    return (
        isinstance(data, str)
        and hub.parse_name(data) is not None
        and path.suffix.lower() not in SUFFIXES
        and not path.exists()
    )


def _is_saved(path: Path) -> bool:
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def _check_size(path: Path) -> None:
    if _bytes(path) > MAX_BYTES:
        raise UserError(f"{path} is larger than 2 GiB: split it")


def _bytes(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _separator(line: bytes, path: Path) -> str:
    """What stands between the column names of a table, by its first line; "": it is none."""
    if line[:1] == b"{" or b"\0" in line:
        return ""
    text = line.decode("utf-8", errors="replace")
    separator = "\t" if path.suffix.lower() == ".tsv" else max(",\t;", key=text.count)
    names = {name.strip(' "').lower() for name in text.split(separator)}
    is_table = path.suffix.lower() in (".csv", ".tsv") and text
    return separator if is_table or (separator in text and names & _COLUMNS) else ""
