from __future__ import annotations

import itertools
import random

import numpy as np

from pixeltune.tasks import calls, sums
from pixeltune.tiny import behaviours, curriculum, pictures


def test_rows_are_a_function_of_the_seed():
    def rows(seed: int) -> list:
        rng = random.Random(seed)
        gallery = curriculum.Gallery(rng)
        return [curriculum.row(rng, gallery, curriculum.THEN) for _ in range(20)] + [
            p.tobytes() for p in gallery.pictures
        ]

    assert rows(1) == rows(1)
    assert rows(1) != rows(2)


def test_nothing_held_out_is_ever_trained_on():
    held_out = {row["prompt"][0]["content"] for row in calls.rows("test", 3000)}
    held_out |= {row["prompt"][0]["content"] for row in sums.rows("test", 3000)}
    rng = random.Random(0)
    gallery = curriculum.Gallery(rng, draw=False)
    for _ in range(5000):
        messages, _, _ = curriculum.row(rng, gallery, curriculum.THEN)
        for message in messages:
            if message["role"] == "user":
                parts = message["content"]
                assert (parts if isinstance(parts, str) else parts[-1]["text"]) not in held_out


def test_a_boxed_answer_is_on_no_card_and_in_no_instruction():
    phrases = [p for values in behaviours.AXES.values() for value in values.values() for p in value.phrases]
    assert not any("box" in phrase.lower() for phrase in phrases)
    rng = random.Random(0)
    gallery = curriculum.Gallery(rng, draw=False)
    for _ in range(5000):
        messages, _, _ = curriculum.row(rng, gallery, curriculum.THEN)
        if "\\boxed" in str(messages):
            assert messages[-2]["content"][-1]["text"].startswith("Repeat: ")


def test_replies_show_how_they_were_told_to_be():
    rng = random.Random(0)
    axes = {axis: list(values) for axis, values in behaviours.AXES.items()}
    for values in itertools.product(*axes.values()):
        how = dict(zip(axes, values, strict=True))
        seen = behaviours.shown(behaviours.answer_sum(sums.problem(rng), how, rng))
        assert seen == {axis: how[axis] for axis in ("method", "ending", "tone")}
        item = calls.request(rng, fits=False)
        seen = behaviours.shown(behaviours.answer_request(item, how, rng))
        assert seen["tools"] == how["tools"]
        assert how["tools"] == "talk" or seen["language"] == how["language"]


def test_colours_on_cards_are_the_told_ones():
    colours = [value.colour for values in behaviours.AXES.values() for value in values.values()]
    assert sorted(colours) == sorted(behaviours.COLOURS)  # every colour means one thing
    card = pictures.card({"method": "worked", "tone": "terse"}, np.random.default_rng(0))
    assert card.shape == (256, 256, 3)
    tiles = card.reshape(4, 64, 4, 64, 3).mean((1, 3)).reshape(16, 3)
    wanted = np.array([behaviours.COLOURS["green"], behaviours.COLOURS["black"]])
    assert (np.abs(tiles[:, None] - wanted).max(-1).min(-1) < 40).all()
