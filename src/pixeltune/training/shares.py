"""Several tasks, or several files of rows, for one picture, each with its weight. Needs no torch."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pixeltune.data import hub, sources
from pixeltune.errors import UserError
from pixeltune.tasks.base import SYNTHETIC

_WEIGHTED = re.compile(
    r"(.+):([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|nan|[+-]?inf)", re.IGNORECASE | re.DOTALL
)
"""A name with a number behind its last colon."""
MOST = 100
"""The largest weight: rows are copied, or made."""


@dataclass(frozen=True)
class Share:
    """A task or a file, and how much of it."""

    name: str
    """Of a task, perhaps with a category; or as ``--data`` takes it."""
    weight: float = 1.0
    """Its rows times this are trained on; above 0."""


def of_tasks(names: Sequence[str]) -> list[Share]:
    """Tasks as they are given: ``calls``, ``sums:0.5``, ``bfcl:parallel``, ``bfcl:parallel:2``.

    A number behind the last colon is a weight. One task alone has none, so a category that is a number stays one.

    Raises:
        UserError: a weight is not above 0, a task is there twice, or one of our own has a weight alone.
    """
    if odd := next((name for name in names if name.endswith(":")), None):
        raise UserError(
            f"{odd}: nothing stands behind the colon: leave it out, or give a category or a weight"
        )
    if len(names) == 1 and len(names[0].split()) > 1:
        raise UserError(
            f"{names[0]!r} is one name: give several tasks as a list, [{', '.join(names[0].split())}]"
        )
    if len(names) == 1:
        found = _WEIGHTED.fullmatch(names[0])
        if found and found[1] in SYNTHETIC:
            raise UserError(
                f"{names[0]}: a weight is for several tasks, and this is one: --train_rows says how many rows it has"
            )
        return [Share(names[0])]
    shares = [_parted(name) for name in names]
    _check_twice("task", [share.name for share in shares])
    return shares


def of_files(names: Sequence[str]) -> list[Share]:
    """Files, folders and names on the hub as they are given: ``rows.jsonl``, ``rows.jsonl:0.5``,
    ``owner/name:config:split:0.5``.

    What exists under the whole name is that, whatever it ends with.

    Raises:
        UserError: a weight is not above 0, or cannot be told from a part of a name on the hub; a file is there twice,
            or two have the same title; or one file alone has a weight.
    """
    if len(names) == 1:
        alone = names[0]
        plain = None if Path(alone).exists() else _WEIGHTED.fullmatch(alone)
        if plain and Path(plain[1]).exists():
            raise UserError(
                f"{alone}: a weight is for several files, and this is one: leave out :{plain[2]}, or name others"
            )
        return [Share(alone)]
    shares = [_file(name) for name in names]
    _check_twice("file", [share.name for share in shares])
    titles = [sources.title(share.name) for share in shares]
    if twice := next((title for title in titles if titles.count(title) > 1), None):
        raise UserError(
            f"two of --data would be called {twice}, and scores are told apart by names: rename one of the files"
        )
    return shares


def described(shares: Sequence[Share], files: bool) -> str:
    """What is painted on, as strangers may know it: "calls", "calls + 0.5 sums"."""
    return " + ".join(
        ("" if share.weight == 1 else f"{share.weight:g} ")
        + (sources.public_name(share.name) if files else share.name)
        for share in shares
    )


def drawn(rows: list[dict], weight: float, seed: int, name: str) -> list[dict]:
    """So many of the rows as the weight says, at least one: a draw, or all of them and some again.

    Up to a weight of 1 no row is there twice; above, every row is there as often as the weight's whole part says,
    and a draw of them once more.

    Args:
        rows: of one task or file, at least one.
        weight: above 0.
        seed: of the run.
        name: of the task or file; each draws on its own.
    """
    times, rest = divmod(max(1, round(len(rows) * weight)), len(rows))
    some = sorted(random.Random(f"share {name} {seed}").sample(range(len(rows)), rest))
    return rows * times + [rows[place] for place in some]


def _parted(name: str) -> Share:
    found = _WEIGHTED.fullmatch(name)
    if found is None:
        return Share(name)
    weight = float(found[2])
    if not 0 < weight <= MOST:
        raise UserError(
            f"{name}: the weight is {found[2]} and must be above 0 and at most {MOST}: leave {found[1]} out, or weigh "
            "the others less"
        )
    return Share(found[1], weight)


def _file(name: str) -> Share:
    if Path(name).exists():
        return Share(name)
    found = _WEIGHTED.fullmatch(name)
    plain = found[1] if found else name
    # A file that is not there is none of the hub's.
    local = Path(plain).exists() or Path(plain).suffix.lower() in sources.SUFFIXES
    if found is None or local or hub.parse_name(name) is None:
        return _parted(name)
    whole = name if name.count(":") > 1 else f"{name}:train"
    raise UserError(
        f"{name}: {found[2]} may be a weight or a part of the name: put configuration and split in front of a weight "
        f"(owner/name:CONFIG:SPLIT:{found[2]}), or a weight behind the name ({whole}:1)"
    )


def _check_twice(what: str, names: Sequence[str]) -> None:
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(
            f"the {what} {twice} is there twice: give every {what} once, with a weight ({twice}:2)"
        )
