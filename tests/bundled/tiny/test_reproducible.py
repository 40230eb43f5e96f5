"""Rows are made from a seed, and the bundled weights and all published scores rest on them: byte for byte."""

import hashlib
import json
import random
from importlib import import_module

import numpy as np
import pytest

from pixeltune.bundled.tiny import curriculum
from pixeltune.tasks.synthetic import refusals

ROWS = {
    "calls": "a5f0dbf3d2f8523c",
    "sums": "667ff93b2499d566",
    "turns": "d8441dfb36d2572a",
    "shop": "11e1a0f06a395ed6",
    "tiles": "0384e9603cf9f00f",
}
MIXES = {
    "LEARN": "114ce2807ba84037",
    "DECIDE": "b066417d366b3ff1",
    "MATCH": "3c4ec01dcbbc5164",
    "COPY": "0507995e47012532",
}


def digest(things: list) -> str:
    """Of JSON, with pictures as the hash of their values."""

    def plain(thing: object) -> str:
        return hashlib.sha256(np.asarray(thing).tobytes()).hexdigest()

    return hashlib.sha256(json.dumps(things, default=plain).encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", ROWS)
def test_rows_of_tasks(name: str) -> None:
    task = import_module(f"pixeltune.tasks.synthetic.{name}")
    rows = [task.rows(split, 40, seed) for split in ("train", "test") for seed in (0, 7)]
    assert digest(rows) == ROWS[name]


def test_refusals() -> None:
    assert digest(refusals.rows()) == "d22aad37eb5a780e"


@pytest.mark.parametrize("mix", MIXES)
def test_curriculum(mix: str) -> None:
    rng = random.Random(f"reproducible {mix}")
    gallery = curriculum.Gallery(rng)
    rows = [curriculum.row(rng, gallery, getattr(curriculum, mix)) for _ in range(60)]
    assert digest([gallery.pictures, gallery.cards, gallery.boards, rows]) == MIXES[mix]
