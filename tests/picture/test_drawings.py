import math

import numpy as np
import pytest
from PIL import Image

from pixeltune.bundled.tiny.behaviours import AXES
from pixeltune.bundled.tiny.pictures import card
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.scoring import score_rows
from pixeltune.model.loading import load_model, load_processor
from pixeltune.picture.drawings import NAMES, draw
from pixeltune.picture.glyphs import GLYPHS
from pixeltune.tasks.synthetic import calls, sums

SIZES = [(256, 256), (256, 512), (512, 256), (224, 320), (64, 96), (7, 5), (1, 1), (20, 900)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", SIZES)
def test_any_size_in_middle_tones_and_always_the_same(name, size):
    picture = draw(name, *size)
    assert picture.shape == (*size, 3)
    assert picture.dtype == np.uint8
    assert picture.min() >= 32
    assert picture.max() <= 255 - 32  # room for a bound of 32
    assert np.array_equal(draw(name, *size), picture)


@pytest.mark.parametrize("name", NAMES)
def test_a_drawing_is_the_same_at_every_resolution(name):
    small, large = draw(name, 128, 192), draw(name, 512, 768)
    reduced = large.reshape(128, 4, 192, 4, 3).mean((1, 3))
    assert np.abs(reduced - small).mean() < 2
    others = [draw(other, 128, 192).astype(int) for other in NAMES if other != name]
    assert all(np.abs(other - small).mean() > 20 for other in others)


@pytest.mark.parametrize("name", NAMES)
def test_flat_colours_and_several_of_them(name):
    _, counts = np.unique(draw(name, 256, 256).reshape(-1, 3), axis=0, return_counts=True)
    shares = np.sort(counts / counts.sum())[::-1]
    assert (shares > 0.02).sum() >= 5
    assert shares[shares > 0.005].sum() > 0.75  # the rest is smooth edges


def tile_share(picture: np.ndarray, tiles: int) -> float:
    """How much of a picture's variance the mean colours of tiles x tiles tiles explain."""
    picture, side = picture.astype(float), len(picture) // tiles
    means = picture.reshape(tiles, side, tiles, side, 3).mean((1, 3)).repeat(side, 0).repeat(side, 1)
    return 1 - np.square(picture - means).mean() / np.square(picture - picture.mean((0, 1))).mean()


@pytest.mark.parametrize("name", NAMES)
def test_no_drawing_looks_like_a_card_of_the_bundled_model(name):
    told = {axis: next(iter(values)) for axis, values in AXES.items()}
    style_card = card(told, np.random.default_rng(0))
    assert tile_share(style_card, 4) > 0.9
    assert max(tile_share(draw(name, 256, 256), tiles) for tiles in (2, 4)) < 0.4


@pytest.mark.parametrize("name", NAMES)
def test_no_drawing_tells_the_bundled_model_how_to_behave(name, bundled):
    """Else a score would be the drawing's and not the painting's: cyan alone makes it call tools."""
    model, processor = bundled
    backend = InProcess(model, processor, Image.fromarray(draw(name, 256, 256)))
    for task in (calls.TASK, sums.TASK):
        assert score_rows(task, task.rows("test", 24, seed=5), backend).score <= 0.15, task.name


@pytest.fixture(scope="module")
def bundled():
    return load_model("tiny"), load_processor("tiny")


def runs(column: np.ndarray) -> int:
    """How often a column of booleans becomes true."""
    return int(column[0]) + int((~column[:-1] & column[1:]).sum())


def test_the_abacus_shows_pi():
    size, rods = 1024, 7
    picture = draw("abacus", size, size).astype(int)
    mustard = np.abs(picture - (0xD8, 0xA5, 0x48)).max(axis=2) < 4
    pitch = 0.8 * size / rods
    read = []
    for rod in range(rods):
        column = mustard[: int(0.75 * size), int(0.1 * size + (rod + 0.35) * pitch)]
        beam = int(0.28 * size)
        read.append(5 * runs(column[:beam]) + runs(column[beam:]))
    assert read == [int(digit) for digit in str(math.pi).replace(".", "")[:rods]]


def test_glyphs_stay_in_their_box():
    for sign, strokes in GLYPHS.items():
        points = np.array([point for stroke in strokes for point in stroke])
        assert np.abs(points[:, 0]).max() <= 0.56, sign
        assert np.abs(points[:, 1]).max() <= (1.1 if sign == "g" else 0.81), sign
    assert set("0123456789") < set(GLYPHS)


def test_unknown_names_and_sizes_are_refused():
    with pytest.raises(ValueError, match="no drawing 'sunset'; there are abacus, tools, letters"):
        draw("sunset", 64, 64)
    with pytest.raises(ValueError, match="at least one pixel, not 0x64"):
        draw("abacus", 0, 64)
