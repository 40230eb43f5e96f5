"""Rows that other files hold than JSONL: a JSON list, CSV, Parquet, a folder saved by `datasets`.

All but the JSON list are read by `datasets`, a few rows at a time. It is not: Arrow would give all tool calls the
argument names of all other rows, and make dates of texts that look like some.
"""

from __future__ import annotations

import csv
import glob
import io
import json
import math
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

from pixeltune.data.lines import MAX_BYTES, MAX_LINE, kind, parse
from pixeltune.data.messages import Unused
from pixeltune.errors import UserError, first_line

AT_ONCE = 16
"""Rows in memory before their sizes are known: a cell of Parquet can be a thousand times larger than its file."""

HEADER = 1 << 16
"""Bytes within which a table has its line of column names."""

Record = dict[str, Any]


def from_list(path: Path) -> Iterator[Record]:
    """Rows of one JSON list.

    Raises:
        UserError: it is no JSON, or there is something else than objects in it.
    """
    try:
        found = parse(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: not UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8"
        ) from error
    except ValueError as error:
        raise UserError(f"{path}: not a JSON list ({error})") from error
    for number, row in enumerate(found, start=1):
        if not isinstance(row, dict):
            raise UserError(f'{path}, row {number}: not an object, {{"prompt": ...}}, but {kind(row)}')
        yield row


def from_csv(path: Path, delimiter: str) -> Iterator[Record]:
    """Rows of a table with a line of column names. All cells are texts, as they stand there.

    Raises:
        UserError: columns have no names of their own, or it cannot be read.
    """
    with one_line(str(path)), path.open("rb") as file:
        start = file.read(HEADER).decode("utf-8-sig", errors="ignore")
        names = next(filter(None, csv.reader(io.StringIO(start, newline=""), delimiter=delimiter)))
    names = [name or f"column {number}" for number, name in enumerate(names, start=1)]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"{path}: the column {twice!r} stands twice: rename one of them")

    def opened() -> Any:
        from datasets import Dataset, Features, Value

        return Dataset.from_csv(
            glob.escape(str(path.absolute())),
            streaming=True,
            features=Features({name: Value("string") for name in names}),
            sep=delimiter,
            names=names,
            header=0,
            index_col=False,  # else a row with a cell too many would move all cells to the left
            keep_default_na=False,
            encoding="utf-8-sig",
            chunksize=1000,
        )

    return _each(str(path), opened)


def from_parquet(path: Path) -> Iterator[Record]:
    """Rows of a Parquet file.

    Raises:
        UserError: it cannot be read.
    """

    def opened() -> Any:
        from datasets import Dataset

        return Dataset.from_parquet(glob.escape(str(path.absolute())), streaming=True, batch_size=AT_ONCE)

    return _each(str(path), opened)


def from_saved(path: Path) -> Iterator[Record]:
    """Rows of a folder that `datasets` saved.

    Raises:
        UserError: it has several splits, or cannot be read.
    """

    def opened() -> Any:
        from datasets import DatasetDict, load_from_disk

        found = load_from_disk(str(path.absolute()))
        if isinstance(found, DatasetDict):
            if len(found) != 1:
                names = ", ".join(str(path / name) for name in found)
                raise UserError(f"{path} holds the splits {', '.join(found)}: name one of them, as {names}")
            (found,) = found.values()
        return found.with_format(None).to_iterable_dataset()

    return _each(str(path), opened)


def from_dataset(name: str, dataset: Any) -> Iterator[Record]:
    """Rows of a `datasets.Dataset`.

    Args:
        name: for messages.
        dataset: the rows.
    """
    return _each(name, dataset.to_iterable_dataset)


def plain(row: Record, where: str, unused: Unused, needed: Collection[str]) -> Record:
    """A row of a table as JSON holds it: decimals are texts, numbers that are none are null.

    Args:
        row: by column.
        where: file and row, for messages.
        unused: gets the columns that JSON cannot hold, such as dates and bytes; they are left out.
        needed: columns that must not be left out.

    Raises:
        UserError: JSON cannot hold one of those.
    """
    out = {}
    for name, value in row.items():
        try:
            out[name] = _plain(value)
        except (TypeError, RecursionError) as error:
            if name in needed:
                raise UserError(
                    f"{where}: the column {name!r} holds {error}, where texts or objects must be"
                ) from error
            unused.add(
                f"the column {name!r} holds {error}, which is not read from tables: it is left out", where
            )
    return out


class Bound:
    """How large rows, and all of them together, may be: as large as those of JSONL."""

    def __init__(self, name: str) -> None:
        self.name, self.total = name, 0

    def check(self, row: Record, where: str) -> None:
        """
        Raises:
            UserError: the row, or all up to it, are too large.
        """
        size = len(json.dumps(row))
        self.total += size
        if size > MAX_LINE:
            raise UserError(f"{where}: longer than 4 MiB: leave it out, or shorten it")
        if self.total > MAX_BYTES:
            raise UserError(f"{self.name} has more than 2 GiB of text: take a part of it")


@contextmanager
def one_line(where: str, remedy: str = "is it whole?") -> Iterator[None]:
    """What libraries say of data that they cannot read, as one refusal, and not on the terminal as well."""
    from datasets.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            # Of pandas: "Length of header or names does not match length of data. This leads to a loss of data".
            warnings.filterwarnings("error", message="Length of header or names")
            yield
    except UserError:
        raise
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 ({error.reason}): save it as UTF-8") from error
    except Exception as error:  # whatever a file of a stranger provokes
        why = first_line(error.__cause__ or error)
        raise UserError(f"{where}: it cannot be read ({why}): {remedy}") from error
    finally:
        logging.set_verbosity(before)


def _each(name: str, opened: Callable[[], Any]) -> Iterator[Record]:
    """Rows one by one, pictures and the like in them not decoded."""
    with one_line(name):
        dataset = opened().decode(False)
        written = [column for column, feature in dataset.features.items() if "Json(" in repr(feature)]
        features, rows = dataset.features, iter(dataset)
    number = 0
    while True:
        with one_line(f"{name}, after row {number}" if number else name):
            some = [dict(row) for row in islice(rows, AT_ONCE)]
            for row in some:
                row |= {column: _parsed(row[column], features[column]) for column in written}
        if not some:
            return
        number += len(some)
        yield from some


def _parsed(value: Any, feature: Any) -> Any:
    """A value whose parts may be JSON texts to Arrow, of the type `datasets.Json`."""
    if value is None:
        return None
    if isinstance(feature, dict):
        return {name: _parsed(value[name], inner) for name, inner in feature.items()}
    if type(feature).__name__ == "Json":
        return json.loads(value)
    inner = getattr(feature, "feature", None)
    return value if inner is None else [_parsed(item, inner) for item in value]


def _plain(value: Any) -> Any:
    """
    Raises:
        TypeError: it holds something else than JSON does; the message says what.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return [_plain(inner) for inner in value]
    if isinstance(value, Decimal | UUID):
        return str(value)
    raise TypeError(type(value).__name__)
