"""What a tower spans: the figures are what they say, the bundled tower's is narrow and an untrained one's is
not.
"""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForImageTextToText

import families
from pixeltune.model.channel import channel, entropy_rank
from pixeltune.model.loading import load_model, load_processor


def test_the_entropy_rank_counts_equal_directions():
    assert entropy_rank(torch.ones(7)) == pytest.approx(7)
    assert entropy_rank(torch.tensor([3.0, 0.0, 0.0])) == pytest.approx(1)
    assert 1 < entropy_rank(torch.tensor([1.0, 0.5])) < 2


def test_the_bundled_tower_is_narrow_and_an_untrained_one_is_not(bundled):
    model, processor = load_model("tiny"), load_processor("tiny")
    before = [parameter.clone() for parameter in model.parameters()]
    narrow = channel(model, processor, image_tokens=64)
    assert narrow.image_tokens == 64
    assert narrow.hidden == 192
    assert narrow.jacobian_rank_noise < 10
    assert narrow.feature_norm > 20 * narrow.text_norm
    assert "narrow" in str(narrow)
    assert not narrow.wide
    assert all(torch.equal(one, two) for one, two in zip(before, model.parameters(), strict=True))
    assert all(parameter.requires_grad for parameter in model.parameters())
    torch.manual_seed(0)
    untrained = channel(AutoModelForImageTextToText.from_config(model.config), processor, image_tokens=64)
    assert untrained.jacobian_rank_noise > 60
    assert untrained.wide
    assert untrained.residual < narrow.residual


@pytest.mark.parametrize("name", ["qwen2_5_vl", "gemma3", "internvl"])
def test_other_families_are_measured_too(name, tmp_path):
    model, processor = families.load(families.save(name, tmp_path))
    seen = channel(model, processor, image_tokens=4)
    assert 0 < seen.jacobian_rank_noise <= seen.hidden
    assert 0 <= seen.residual <= 1.01
    assert set(seen.as_dict()) >= {"feature_rank", "jacobian_rank_grey", "text_norm"}
