"""Reading what ``pixeltune eval`` wrote: tables with intervals, and what each candidate said to a few rows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixeltune.errors import UserError
from pixeltune.evaluation import journal
from pixeltune.evaluation.report import lines, refusal_line
from pixeltune.gallery.samples import asked, said
from pixeltune.gallery.shading import Piece, shaded
from pixeltune.gallery.untrusted import MAX_BYTES, number, read_json

MAX_TASKS, MAX_CANDIDATES = 50, 50
ROWS_SHOWN = 3
HEAD_BYTES = 2**20
"""How much of a file of records is looked at."""


@dataclass(frozen=True)
class Answers:
    """One row's request with (candidate, answer, score) of each candidate whose records were found."""

    asked: str
    answers: list[tuple[str, str, float | None]]
    shades: list[list[Piece]]
    """Of each answer its pieces; empty where its record keeps no ratios."""


@dataclass(frozen=True)
class Table:
    """One task's table; a line is its cells with (score, low, high), 0 to 1, or None for a line without."""

    task: str
    rows: int
    header: list[str]
    lines: list[tuple[list[str], tuple[float, float, float] | None]]
    verdict: str
    answers: list[Answers]

    @property
    def shaded(self) -> bool:
        """Whether it is known of an answer what the picture changes."""
        return any(shades for row in self.answers for shades in row.shades)


@dataclass(frozen=True)
class Evaluation:
    """One report."""

    name: str
    model: str
    tables: list[Table]
    refusals: str
    about: str


def read_evaluation(folder: Path) -> Evaluation:
    """``folder/report.json`` and the beginnings of ``folder/rows/*.jsonl``.

    Raises:
        ValueError: there is no such report, or it is not one of ``pixeltune eval``.
    """
    report = read_json(folder / "report.json", MAX_BYTES)
    try:
        return Evaluation(
            folder.name,
            str(report["model"]),
            [_table(str(name), part, folder) for name, part in list(report["tasks"].items())[:MAX_TASKS]],
            refusal_line(report["refusals"]),
            str(report["about"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise UserError("report.json is no report of pixeltune eval") from error


def _table(name: str, part: dict, folder: Path) -> Table:
    candidates = dict(list(part["candidates"].items())[:MAX_CANDIDATES])
    header, cells = lines({**part, "candidates": candidates})
    found = []
    for line in cells:
        one = candidates.get(line[0])  # names of groups and metrics begin with spaces
        values = [number(v) for v in (one["score"], *one["ci95"])] if one and one["n"] else []
        whole = len(values) == 3 and None not in values and 0 <= values[1] <= values[2] <= 1
        found.append(([str(cell) for cell in line], tuple(values) if whole else None))
    records = {candidate: _records(folder / "rows", f"{name}-{candidate}") for candidate in candidates}
    return Table(name, int(part["rows"]), header, found, str(part["verdict"]), _answers(records))


def _answers(records: dict[str, dict[int, dict]]) -> list[Answers]:
    """Rows that every candidate answered whose records were found."""
    records = {candidate: by_row for candidate, by_row in records.items() if by_row}
    common = set.intersection(*(set(by_row) for by_row in records.values())) if records else set()
    out = []
    for row in sorted(common)[:ROWS_SHOWN]:
        each = [(candidate, by_row[row]) for candidate, by_row in records.items()]
        told = [(candidate, said(r.get("completions")), number(r.get("score"))) for candidate, r in each]
        out.append(Answers(asked(each[-1][1].get("prompt")), told, [shaded(r) for _, r in each]))
    return out


def _records(folder: Path, title: str) -> dict[int, dict]:
    """The first records of a candidate on a task, by row: of the newest journal of that title."""
    path = journal.newest(folder, title)
    if path is None:
        return {}
    with path.open("rb") as file:
        whole = file.read(HEAD_BYTES)
    out = {}
    for line in whole.splitlines():
        record = _record(line)
        if record is not None and not record.get("error"):
            out[record["row"]] = record
    return out


def _record(line: bytes) -> dict | None:
    try:
        record: Any = json.loads(line)
    except (ValueError, RecursionError):  # the last line may be cut off
        return None
    return record if isinstance(record, dict) and type(record.get("row")) is int else None
