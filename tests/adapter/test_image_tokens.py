"""A budget of image tokens is kept to the token, or refused before a picture of it is made."""

from __future__ import annotations

import warnings

import pytest

import families
from pixeltune.adapter import ArtConfig
from pixeltune.adapter.config import SizeWarning
from pixeltune.errors import UserError
from pixeltune.model.preprocessing import Preprocessor


@pytest.fixture(scope="module")
def qwen():
    return Preprocessor(families.make_processor("qwen3_vl"))


@pytest.fixture
def unseen(qwen, monkeypatch):
    """Whoever shows the processor a picture is too late: it may be of a gigapixel."""
    monkeypatch.setattr(Preprocessor, "is_identity", lambda *_: pytest.fail("a picture was made"))
    return qwen


@pytest.mark.parametrize("count", [64, 66, 70, 100, 256])
def test_a_number_that_there_is_is_taken(qwen, count):
    config = ArtConfig(image_tokens=count)
    height, width = config.resolve_size(qwen, 4096)
    assert qwen.tokens(height, width) == count == config.image_tokens


@pytest.mark.parametrize(
    ("count", "near"),
    [(1, "64"), (7, "64"), (65, "64 or 66"), (67, "66 or 70"), (5_000_000, "16384")],
)
def test_others_are_refused_with_the_nearest(unseen, count, near):
    config = ArtConfig(image_tokens=count)
    with pytest.raises(UserError, match=rf"image_tokens is {count}, .* take {near}$"):
        config.resolve_size(unseen)
    assert config.height is None


@pytest.mark.parametrize(
    "settings",
    [
        {"image_tokens": 64},
        {"image_tokens": 5_000_000},
        {},
        {"height": 512, "width": 512},
        {"height": 10**6, "width": 10**6},
    ],
)
def test_a_picture_that_fills_the_context_is_refused(unseen, settings):
    with pytest.raises(UserError, match="context holds 64 tokens"):
        ArtConfig(**settings).resolve_size(unseen, 64)


def test_the_default_becomes_the_nearest_with_a_word():
    gemma = Preprocessor(families.make_processor("gemma4"))
    for given in ({}, {"image_tokens": 64}):
        config = ArtConfig(**given)
        with pytest.warns(SizeWarning, match="no picture of 64 image tokens: the artwork takes 252, 672x864"):
            config.block(gemma)
        assert config.image_tokens == 252
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            config.block(gemma)
    ArtConfig(image_tokens=252).resolve_size(gemma)


def test_a_family_of_one_size_says_how_many_that_are():
    internvl = Preprocessor(families.make_processor("internvl"))
    with pytest.raises(UserError, match=r"image_tokens is 100, .* take 256$"):
        ArtConfig(image_tokens=100).resolve_size(internvl)
    with pytest.raises(UserError, match="takes 256 image tokens, and the model's context holds 200"):
        ArtConfig().resolve_size(internvl, 200)
    assert ArtConfig(image_tokens=256).resolve_size(internvl) == (448, 448)


def test_finer_pictures_have_more_tokens_in_a_square():
    processor = families.make_processor("minicpmv4_6")
    processor.image_processor.downsample_mode = "4x"
    assert ArtConfig(image_tokens=256).resolve_size(Preprocessor(processor)) == (448, 448)
