from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixeltune.adapter import ArtConfig
from pixeltune.errors import UserError
from pixeltune.picture.drawings import draw


def test_the_canvas_follows_the_settings(tmp_path):
    picture = np.zeros((32, 64, 4), dtype=np.uint8)
    picture[:, 16:48] = (200, 100, 50, 255)
    path = str(tmp_path / "wide.png")
    Image.fromarray(picture).save(path)
    size = {"start": path, "height": 32, "width": 32}
    assert (ArtConfig(**size, fit="crop").canvas().to_uint8() == (200, 100, 50)).all()
    padded = ArtConfig(**size, fit="pad", backdrop="#204060", bound=9).canvas()
    assert (padded.to_uint8()[[0, -1]] == (0x20, 0x40, 0x60)).all()
    assert padded.bound_levels == 9
    with pytest.raises(ValueError, match=r"wide\.png' is 32x64 \(height x width\), the canvas 32x32: "):
        ArtConfig(**size).canvas()


def test_a_drawing_is_a_start_that_needs_no_file():
    config = ArtConfig(start="letters", height=64, width=96)
    assert not config.files_missing()
    assert np.array_equal(config.canvas().to_uint8(), draw("letters", 64, 96))


def test_a_mask_that_leaves_nothing_to_paint_is_refused(tmp_path):
    Image.new("L", (32, 32)).save(tmp_path / "mask.png")
    config = ArtConfig(mask=str(tmp_path / "mask.png"), height=32, width=32)
    with pytest.raises(ValueError, match="leaves no pixel to paint"):
        config.canvas()


def test_cells_come_back_with_the_weights_when_the_start_is_gone(tmp_path):
    Image.new("RGB", (64, 64), "teal").save(tmp_path / "start.png")
    settings = {"start": str(tmp_path / "start.png"), "height": 64, "width": 64, "image_tokens": 4}
    canvas = ArtConfig(**settings, cells=1, seed=3).canvas()
    assert canvas.mask.sum() == 32 * 32
    (tmp_path / "start.png").unlink()
    again = ArtConfig(**settings, cells=1, seed=3, restored=True).canvas()
    again.load_state_dict(canvas.state_dict())
    assert (again.mask == canvas.mask).all()
    assert (again.to_uint8() == canvas.to_uint8()).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cells": 0}, "1 or more cells"),
        ({"cells": 4, "mask": "mask.png"}, "a mask or a number of cells"),
        ({"backdrop": "#12345678"}, "no opaque colour"),
        ({"backdrop": "greyish"}, "'greyish' is no opaque colour"),
        ({"fit": "squeeze"}, "fit is one of crop, pad, stretch, not 'squeeze'"),
    ],
)
def test_wrong_settings_are_refused_at_once(settings, message):
    with pytest.raises(ValueError, match=message):
        ArtConfig(**settings)


@pytest.mark.parametrize(
    "given", [{"seed": "a"}, {"image_tokens": "a"}, {"mask": 5}, {"start": None}, {"processor": 5}]
)
def test_a_setting_of_another_type_is_refused_by_its_name(given):
    (name,) = given
    with pytest.raises(UserError, match=f"^{name} is {given[name]!r}: it must be"):
        ArtConfig(**given)


def test_a_path_becomes_a_text():
    assert ArtConfig(mask=Path("mask.png"), start=Path("start.png")).mask == "mask.png"
