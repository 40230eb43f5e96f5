"""Which rows an artwork was painted on, as short hashes of their prompts.

A run on rows of the user's own leaves them in its folder, beside ``artwork.png``, in the file `TRAINED`: one hash
a line. They are not in the PNG: short prompts can be guessed from their hashes, and PNGs are given away.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from pixeltune.data.images import sha256
from pixeltune.data.tools import tools_of
from pixeltune.writing import write_atomically

TRAINED = "trained_rows.txt"
"""In a run's folder: the `prompt_hash` of every row that was trained on."""

HELD_OUT = "held_out.jsonl"
"""Beside it: rows of the user's own that were not trained on."""

DIGITS = 16
"""Hexadecimal ones of a hash: 64 bits, so of a million rows hardly ever two have the same by accident."""


def prompt_hash(row: dict) -> str:
    """What a row asks, as 16 hexadecimal digits: its prompt, its tools and the contents of its pictures.

    Rows that differ in their answers only have the same. It is the same wherever the file and its pictures lie, and
    however ``tools`` are written.

    Args:
        row: as `pixeltune.data.rows.read_rows` gives it, without the artwork.

    Raises:
        ValueError: a picture cannot be read.
    """
    asked = [row["prompt"], tools_of(row), [sha256(image) for image in row.get("images") or []]]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:DIGITS]


def write_trained(folder: Path, hashes: Iterable[str]) -> Path:
    """Write the hashes of the rows that a run in this folder trains on."""
    return write_atomically(folder / TRAINED, "".join(f"{one}\n" for one in sorted(set(hashes))))


def trained(artwork: str | Path) -> frozenset[str]:
    """Hashes of the rows that an artwork was painted on; empty where nobody knows, as of a PNG that was moved.

    Looked for beside the PNG and, as snapshots and checkpoints have folders of their own, one folder above.

    Args:
        artwork: a PNG, or the folder of a run or of a checkpoint.
    """
    path = Path(artwork)
    for folder in (path, *path.absolute().parents[:1]) if path.is_dir() else path.absolute().parents[:2]:
        if (folder / TRAINED).is_file():
            return frozenset((folder / TRAINED).read_text(encoding="utf-8", errors="replace").split())
    return frozenset()
