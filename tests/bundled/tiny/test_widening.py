"""The last stage of the recipe: a wider tower, and nothing else is another."""

from __future__ import annotations

import numpy as np
import torch

from pixeltune.bundled.tiny import pictures
from pixeltune.bundled.tiny.widening import features, means, widen
from pixeltune.model.channel import entropy_rank
from pixeltune.model.loading import load_model


def test_pictures_of_every_kind_come_from_the_seed():
    drawn = [pictures.varied(np.random.default_rng(seed)) for seed in (1, 2, 1)]
    assert (drawn[0] == drawn[2]).all()
    assert (drawn[0] != drawn[1]).any()
    rng = np.random.default_rng(0)
    for picture in (pictures.varied(rng) for _ in range(30)):
        assert picture.shape == (256, 256, 3)
        assert picture.dtype == np.uint8
        assert picture.std() > 20


def test_a_cell_of_means_is_of_one_colour():
    picture = pictures.varied(np.random.default_rng(3))
    flat = means(picture)
    assert (flat[32:64, 64:96] == flat[32, 64]).all()
    assert np.abs(flat[32, 64] - picture[32:64, 64:96].mean((0, 1))).max() <= 0.5
    assert (means(flat) == flat).all()


def test_the_tower_spans_more_after_a_few_steps_and_nothing_else_is_another(processor):
    def spanned(model) -> float:
        shown = [pictures.varied(np.random.default_rng(seed)) for seed in range(6)]
        with torch.no_grad():
            seen = features(model.model.visual, shown, processor)[0].float()
        return entropy_rank(torch.linalg.svdvals(seen - seen.mean(0)))

    before, models = load_model("tiny"), [load_model("tiny"), load_model("tiny")]
    for model in models:
        widen(model, processor, seed=7, steps=8)
    one, two = (model.state_dict() for model in models)
    assert all(torch.equal(one[name], two[name]) for name in one)
    for name, weight in before.state_dict().items():
        assert torch.equal(weight, one[name]) != name.startswith("model.visual."), name
    assert spanned(models[0]) > 2 * spanned(before)
