"""What the tower is taught: pictures, what their cells say, and questions that have one answer."""

from __future__ import annotations

import random

import numpy as np
import pytest

from pixeltune.bundled.smol import naming, pictures, reading
from pixeltune.bundled.smol.pictures import SIDE, Thing
from pixeltune.bundled.tiny.recipe import encode


def test_every_name_is_one_token(grafted):
    model, processor = grafted
    names = naming.Names(model, processor.tokenizer)
    assert len(set(naming.NAMES)) == len(naming.NAMES) == len(names.embeddings)
    assert len(names.embeddings.unique(dim=0)) == len(naming.NAMES)


def test_nothing_that_a_behaviour_wants_is_taught():
    """The tower must not learn the answer format that artworks are measured by."""
    assert not {"boxed", "answer_", "tool_call"} & set(naming.NAMES)
    rng = random.Random(0)
    for _ in range(200):
        _, asked = rng.choice((reading.written, reading.seen))(rng)
        assert not any(mark in text for pair in asked for text in pair for mark in ("boxed", "{", "\\", "<"))


@pytest.mark.parametrize("word", ["a", "time", "memory", "summer"])
@pytest.mark.parametrize("face", pictures.FACES)
def test_words_fit_their_cells(word, face):
    ink = pictures.written(word, face)
    assert ink.shape == (28, 28)
    assert ink.max() > 0.7
    assert ink[:, [0, -1]].max() < 0.5
    assert ink[[0, -1]].max() < 0.5


def test_pictures_follow_from_the_seed():
    for make in (reading.written, reading.seen):
        (one, asked), (other, again) = make(random.Random(5)), make(random.Random(5))
        assert np.array_equal(one, other)
        assert asked == again
        assert one.shape == (pictures.SIZE, pictures.SIZE, 3)
        assert one.dtype == np.uint8


def test_an_empty_cell_is_plain_and_a_written_one_is_not():
    rng = random.Random(1)
    picture = pictures.words(rng, ["time"] * 10 + [None] * 54).astype(float)
    cells = picture.reshape(SIDE, 28, SIDE, 28, 3).swapaxes(1, 2).reshape(SIDE**2, -1, 3)
    spread = cells.std(1).max(1)
    assert spread[:10].min() > 2 * spread[10:].max()


def test_shapes_stand_where_they_say():
    rng = random.Random(2)
    for _ in range(20):
        for thing in pictures.things(rng, rng.randint(1, 4)):
            shown = pictures.scene(rng, [thing]).astype(float)
            off = np.abs(shown - np.median(shown, (0, 1))).max(2) > 40
            y, x = (places.mean() / pictures.SIZE for places in np.nonzero(off))
            assert thing.place == f"{'top' if y < 0.5 else 'bottom'} {'left' if x < 0.5 else 'right'}"


def test_the_cells_of_a_shape_say_what_it_is():
    said = naming.cells([Thing("red", "star", row=4, column=5, size=3)])
    assert {n: name for n, name in enumerate(said) if name} == {
        4 * SIDE + 5: "red",
        4 * SIDE + 7: "star",
        6 * SIDE + 5: "bottom",
        6 * SIDE + 7: "right",
    }


def test_a_question_is_asked_only_where_it_has_one_answer():
    two = [Thing("red", "star", 0, 0), Thing("red", "circle", 4, 4)]
    asked = dict(reading.questions(two))
    assert asked["How many shapes are there?"] == "two"
    assert asked["What is at the top left?"] == "a red star"
    assert asked["Where is the red circle?"] == "bottom right"
    assert asked["What colour is the circle?"] == "red"
    assert "What shape is red?" not in asked
    assert (
        dict(reading.questions([Thing("orange", "star", 0, 0)]))["What is at the top left?"]
        == "an orange star"
    )


def test_only_answers_are_learned(grafted):
    processor = grafted[1]
    asked = [("Where?", "top left"), ("What?", "a star")]
    batch = encode([(reading.conversation(asked), None, [])], processor)
    learned = batch["labels"][0][batch["labels"][0] != -100]
    assert processor.tokenizer.decode(learned) == "top left<|im_end|>\na star<|im_end|>\n"
    assert batch["mm_token_type_ids"].sum() == SIDE**2
