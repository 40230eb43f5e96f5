"""Pictures about pictures, against Pillow's own arithmetic."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageChops

from pixeltune.gallery import pictures
from runs import pixels

A, B = pixels(9), np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def test_difference_is_the_largest_of_pillows_three():
    bands = ImageChops.difference(Image.fromarray(A), Image.fromarray(B)).split()
    largest = ImageChops.lighter(ImageChops.lighter(bands[0], bands[1]), bands[2])
    assert np.array_equal(pictures.difference(A, B), np.array(largest))
    assert not pictures.difference(A, A).any()
    with pytest.raises(ValueError, match="cannot be compared"):
        pictures.difference(A, B[:32])


def test_the_difference_map_gets_lighter_where_more_changed():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    grey = np.array(pictures.difference_map(levels).convert("L")).ravel().astype(int)
    assert (np.diff(grey) >= 0).all()
    assert grey[0] < 25
    assert grey[-1] > 230
    flat = np.array(pictures.difference_map(np.zeros((4, 4), np.uint8)))
    assert (flat == flat[0, 0]).all()


def test_the_histogram_is_numpys():
    shares = pictures.histogram(A, bins=32)
    for channel in range(3):
        counts, _ = np.histogram(A[:, :, channel], bins=32, range=(0, 256))
        assert np.array_equal(shares[channel] * A.shape[0] * A.shape[1], counts)
    assert np.allclose(shares.sum(axis=1), 1)


def test_the_animation_plays_all_frames_and_rests_on_the_last():
    frames = [Image.fromarray(pixels(step)) for step in (0, 4, 8, 12)]
    with Image.open(io.BytesIO(pictures.animation(frames))) as film:
        assert (film.format, film.n_frames, film.info["loop"]) == ("WEBP", 4, 0)
        durations, shown = [], []
        for i in range(4):
            film.seek(i)
            film.load()
            durations.append(film.info["duration"])
            shown.append(np.array(film.convert("RGB")))
    assert durations == [1000, 1000, 1000, 1000 + pictures.REST_MS]
    assert all(np.array_equal(seen, np.array(frame)) for seen, frame in zip(shown, frames, strict=True))
