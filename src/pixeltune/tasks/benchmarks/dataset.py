"""Public data sets, from the hub or from a folder: records read with suspicion and checked one by one."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pixeltune.errors import UserError, first_line

MAX_BYTES = 1 << 30
VALIDATION = 10  # one training record in ten is kept for validation where a data set has no such split

Read = Callable[[str, Path | None, str | None], list[dict]]
"""All rows of a split, from a folder (None: the hub), of a category (None: all); every row has an ``id``."""


def rows_from(
    task: str, splits: Mapping[str, Sequence[str]], read: Read, why: str = ""
) -> Callable[..., list[dict]]:
    """What a benchmark's task has for ``rows``.

    Args:
        task: its name.
        splits: what it has, with the categories of each.
        read: the rows of one of them.
        why: there are no other splits.

    Returns:
        ``rows(split, n=None, seed=0, *, folder=None, category=None)``: ``n`` (None: all) of a split's rows,
        drawn by ``seed``. It raises a UserError for another split or category, or if the data cannot be had
        or used.
    """

    def rows(
        split: str,
        n: int | None = None,
        seed: int = 0,
        *,
        folder: str | Path | None = None,
        category: str | None = None,
    ) -> list[dict]:
        if split not in splits:
            s = "s" * (len(splits) > 1)
            raise UserError(
                f"{task} has {'only ' * bool(why)}the split{s} {', '.join(splits)}, not {split!r}{why}"
            )
        if category is not None and category not in splits[split]:
            choice = f"choose from {', '.join(splits[split])}" if splits[split] else "it has none"
            raise UserError(f"{task} has no category {category!r}: {choice}")
        found = read(split, None if folder is None else Path(folder), category)
        return sample(unique(found, task), n, seed)

    return rows


def from_folder(folder: str | Path, names: Sequence[str]) -> list[dict]:
    """Records of the first of ``names`` that is a file in ``folder``: JSON Lines, or one JSON list.

    Args:
        folder: somebody's copy of a data set.
        names: relative paths, in order of preference.

    Raises:
        ValueError: there is no such file, or it is too large, not UTF-8, not JSON, or not of objects.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise UserError(f"{folder} has no {' or '.join(names)}")
    return from_file(path)


def from_file(path: str | Path) -> list[dict]:
    """Records of a file of JSON Lines, or of one JSON list.

    Raises:
        ValueError: it is too large, not UTF-8, not JSON, or not of objects, or holds none.
    """
    path = Path(path)
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path} is larger than 1 GiB: that is no benchmark's file")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8") from error
    if text.lstrip().startswith("["):
        try:
            records = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path} is no JSON list: {error}") from error
    else:
        records = []
        for number, line in enumerate(text.split("\n"), start=1):
            try:
                records += [json.loads(line)] if line.strip() else []
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}, line {number}: not JSON ({error})") from error
    for number, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            raise UserError(f"{path}, record {number}: not an object")
    if not records:
        raise UserError(f"{path} holds no records")
    return records


def from_hub(repository: str, config: str | None, split: str) -> list[dict]:
    """Records of a data set on the Hugging Face hub.

    Raises:
        ValueError: it cannot be read; the message says to give a folder.
    """
    try:
        from datasets import load_dataset
    except ImportError:
        raise UserError("the datasets package is missing: pip install 'pixeltune[eval]'") from None
    try:
        return list(load_dataset(repository, config, split=split))
    except (OSError, ValueError) as error:
        raise _unreachable(repository, error) from error


def from_hub_file(repository: str, names: Sequence[str]) -> list[dict]:
    """Records of the first of ``names`` that is a file of a data set on the hub.

    Raises:
        ValueError: there is none, it cannot be had, or it is not of records.
    """
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError
    except ImportError:
        raise UserError("the huggingface_hub package is missing: pip install 'pixeltune[eval]'") from None
    for name in names:
        try:
            return from_file(hf_hub_download(repository, name, repo_type="dataset"))
        except EntryNotFoundError:
            continue
        except OSError as error:
            raise _unreachable(repository, error) from error
    raise UserError(f"{repository} on the hub has no {' or '.join(names)}: give a folder with --data")


def field(record: dict, name: str, kind: type | tuple[type, ...], where: str) -> Any:
    """``record[name]``, of the ``kind`` it must have.

    Raises:
        ValueError: it is missing or of another kind; ``where`` names the record.
    """
    if name not in record:
        raise UserError(f"{where}: no {name!r}, only {', '.join(sorted(record)) or 'nothing'}")
    if not isinstance(record[name], kind):
        raise UserError(f"{where}: {name!r} is of the type {type(record[name]).__name__}")
    return record[name]


def unique(rows: list[dict], what: str) -> list[dict]:
    """The rows, if every ``id`` is there once.

    Raises:
        ValueError: an id occurs twice, and answers could not be told apart.
    """
    seen: set[str] = set()
    for row in rows:
        if row["id"] in seen:
            raise UserError(f"{what}: the id {row['id']!r} occurs twice; a score per row needs one of each")
        seen.add(row["id"])
    return rows


def validation(rows: list[dict], split: str, key: Callable[[dict], str]) -> list[dict]:
    """The part of training rows that ``split`` means: one in ten, by the CRC of ``key``, is "validation"."""
    kept = split == "validation"
    return [row for row in rows if (zlib.crc32(key(row).encode()) % VALIDATION == 0) == kept]


def sample(rows: list[dict], n: int | None, seed: int) -> list[dict]:
    """All rows if ``n`` is None or not smaller than their number, else ``n`` drawn by ``seed``, in order."""
    if n is None or n >= len(rows):
        return rows
    return [rows[i] for i in sorted(random.Random(seed).sample(range(len(rows)), n))]


def _unreachable(repository: str, error: Exception) -> UserError:
    return UserError(
        f"cannot read {repository} from the hub ({first_line(error)}): give its files' folder with --data"
    )
