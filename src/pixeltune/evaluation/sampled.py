"""What ``pixeltune sample`` leaves: a file of rows, and beside it what made them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixeltune.errors import UserError
from pixeltune.evaluation.picking import KEEPS
from pixeltune.version import __version__
from pixeltune.writing import write_atomically


@dataclass(frozen=True)
class Sample:
    """What was written. Printed, it says what became of prompts and answers."""

    path: Path
    """Rows, a JSON object a line; `provenance_path` of it says where they are from."""
    keep: str
    counts: Mapping[str, int]
    """``prompts`` and those ``without`` a row, ``rows``; of ``answers`` those ``right``, ``wrong``, ``failed``,
    ``cut`` (at the longest length) and ``quoting`` (a token that no row may hold)."""

    def __str__(self) -> str:
        n = self.counts
        lines = [f"rows: {n['rows']}, from {n['prompts']} prompts; {n['without']} had {KEEPS[self.keep]}"]
        if n["answers"]:
            lines.append(
                f"answers: {n['answers']}, {n['right']} right, {n['wrong']} wrong, {n['cut']} cut off at the longest "
                f"length, {n['quoting']} with tokens of pictures or turns, {n['failed']} requests failed"
            )
        return "\n".join(lines)


def provenance_path(output: Path) -> Path:
    """Beside a file of rows, what made them; not in it, whose readers take every line for a row."""
    return output.with_name(f"{output.name}.provenance.json")


def check_path(output: Path) -> None:
    """
    Raises:
        UserError: something is there already, or is a file where a folder must be.
    """
    if output.exists():
        raise UserError(f"--output {output} is there already: give another name, or remove it")
    if not next(one for one in output.absolute().parents if one.exists()).is_dir():
        raise UserError(f"--output {output} lies in a file: give another name")


def write(output: Path, rows: Sequence[dict], about: Mapping[str, Any]) -> None:
    """Write rows, and beside them `about` with their hash, each file whole or not at all.

    The rows come last: whoever finds them finds the other file too.
    """
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    digest = hashlib.sha256(text.encode()).hexdigest()
    known = {"pixeltune": __version__, "sha256": digest, **about}
    write_atomically(provenance_path(output), json.dumps(known, indent=2) + "\n")
    write_atomically(output, text)
