"""The tower's training: what moves, what does not, and that a broken-off one ends in the same bytes."""

from __future__ import annotations

import copy
import random

import pytest
import torch

from pixeltune.bundled.smol import naming, reading, recipe


def test_the_language_model_teaches_and_is_not_taught(grafted):
    model, processor = grafted
    model = copy.deepcopy(model).requires_grad_(False)
    model.model.visual.requires_grad_(True)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    reading.loss(model, processor, random.Random(0), 2).backward()
    moved = [name for name, weight in model.named_parameters() if weight.grad is not None]
    assert moved
    assert all(name.startswith("model.visual.") for name in moved)
    assert all(weight.grad.abs().max() > 0 for weight in model.model.visual.parameters())
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_textures_ask_for_all_that_an_untrained_tower_tells_apart(grafted):
    model, processor = grafted
    names = naming.Names(model, processor.tokenizer)
    textures = naming.Textures(model.model.visual, processor, names.size)
    rng = random.Random(3)
    wanted = textures([naming.pictures.texture(rng) for _ in range(4)])
    assert wanted.square().mean().sqrt() / names.size == pytest.approx(naming.REACH, rel=0.3)
    spectrum = torch.linalg.svdvals(wanted - wanted.mean(0)).square()
    assert spectrum.sum().square() / spectrum.square().sum() > 5


@pytest.mark.usefixtures("smollm2")
def test_broken_off_and_resumed_it_ends_in_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(recipe, "SNAPSHOT", 2)
    whole, broken = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    recipe.train(whole, naming_steps=3, reading_steps=1)

    class Broken(Exception):
        pass

    def fails(*_, **__):
        raise Broken

    with monkeypatch.context() as patch:
        patch.setattr(recipe.reading, "loss", fails)
        with pytest.raises(Broken):
            recipe.train(broken, naming_steps=3, reading_steps=1)
    assert not broken.exists()
    recipe.train(broken, resume=True, naming_steps=3, reading_steps=1)
    assert whole.read_bytes() == broken.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.safetensors", "whole.safetensors"]
