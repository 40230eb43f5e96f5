"""What makes a score mean less than it seems to: rows that were trained on, another model than was painted for."""

from __future__ import annotations

import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from pixeltune.data.hashes import HELD_OUT, prompt_hash, trained
from pixeltune.errors import UserError
from pixeltune.evaluation.candidates import Candidate


class DoubtWarning(UserWarning):
    """A score means less than it seems to. One line; the score is taken all the same."""


def doubt(what: str) -> None:
    """Say it."""
    warnings.warn(what, DoubtWarning, stacklevel=3)


def trained_rows(one: Candidate, rows: list[dict]) -> str | None:
    """Which of these rows a candidate was trained on, in a sentence with the remedy; None if it is none.

    Nobody knows it of an artwork that was moved out of its run's folder.
    """
    if one.kind not in ("picture", "adapter") or not one.path or not (hashes := trained(one.path)):
        return None
    count = sum(prompt_hash(row) in hashes for row in rows)
    if not count:
        return None
    path = Path(one.path)
    folders = (path, path.parent, path.parent.parent)
    beside = next((folder / HELD_OUT for folder in folders if (folder / HELD_OUT).is_file()), None)
    remedy = f": --data {beside} has rows that it has not seen" if beside else ": score it on other rows"
    return f"{one.name} was trained on {count} of these {len(rows)} rows{remedy}"


def other_model(one: Candidate, name: str, weights: str | None, processor: Any) -> str | None:
    """That the model is not the one an artwork was painted for, in a sentence; None where nothing says so.

    Args:
        one: a candidate; without an artwork nothing is said.
        name: of the model.
        weights: their hash; None: not compared.
        processor: the model's.
    """
    from pixeltune.evaluation.bases import other_base, other_tokens
    from pixeltune.model.preprocessing import Preprocessor

    if one.artwork is None:
        return None
    found = other_base(one.artwork.provenance, name, weights)
    # A family that is not painted for, or a size that is resized, is shown to the model all the same.
    with suppress(UserError):
        found += other_tokens(one.artwork, Preprocessor(processor))
    return f"{one.name} may be for another model: {'; '.join(found)}" if found else None
