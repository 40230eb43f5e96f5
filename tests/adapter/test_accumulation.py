"""One encoding for a step of several batches: fewer runs of the tower, the same gradient."""

from __future__ import annotations

import pytest
import torch
from accelerate.state import GradientState

import families
from pixeltune.adapter import ArtConfig
from pixeltune.adapter.guard import art_layer
from test_prefix import BATCHES, painted, relative, rows
from training import make_trainer


@pytest.fixture
def accumulating():
    """Tell all batches but the last one that the step is not over, as accelerate does."""
    state = GradientState()
    before = state.sync_gradients
    yield state._set_sync_gradients
    state._set_sync_gradients(before)


def tower_runs(model) -> list:
    runs = []
    art_layer(model).base_layer.register_forward_hook(lambda *_: runs.append(1))
    return runs


def step(model, batches, accumulating=lambda last: None):
    (pixels,) = [p for p in model.parameters() if p.requires_grad]
    pixels.grad = None
    for number, batch in enumerate(batches):
        accumulating(number == len(batches) - 1)
        model(**batch, use_cache=False).logits.square().mean().backward()
    return pixels.grad.clone()


def test_three_batches_run_the_tower_once_with_the_same_gradient(checkpoint, accumulating):
    model, processor = painted(checkpoint)
    batches = [
        rows(model, processor, BATCHES[name], "right") for name in ("questions", "groups", "questions")
    ]
    runs = tower_runs(model)
    each_for_itself = step(model, batches)
    assert len(runs) == 3
    together = step(model, batches, accumulating)
    assert len(runs) == 4
    assert relative(together, each_for_itself) < 1e-6
    assert relative(step(model, batches, accumulating), together) == 0  # nothing is left over


@pytest.mark.parametrize("family", ["internvl", "mistral3", "gemma3"])
def test_families_that_encode_pictures_in_other_outputs_accumulate_too(family, tmp_path, accumulating):
    test_three_batches_run_the_tower_once_with_the_same_gradient(
        families.save(family, tmp_path), accumulating
    )


def test_a_step_that_was_broken_off_leaves_nothing_behind(checkpoint, accumulating):
    model, processor = painted(checkpoint)
    batch = rows(model, processor, BATCHES["questions"], "right")
    accumulating(False)
    model(**batch, use_cache=False).logits.sum().backward()
    (pixels,) = [p for p in model.parameters() if p.requires_grad]
    with torch.no_grad():
        pixels.add_(0.05)
    broken = step(model, [batch, batch], accumulating)
    art_layer(model).accumulation.pending = None
    assert torch.equal(step(model, [batch, batch], accumulating), broken)


def test_a_training_starts_without_what_a_broken_one_left(checkpoint, tmp_path, accumulating):
    settings = {"max_steps": 1, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    pictures = []
    for broken in (False, True):
        trainer = make_trainer(checkpoint, str(tmp_path), ArtConfig(start="noise"), **settings)
        if broken:
            accumulating(False)
            batch = next(iter(trainer.get_train_dataloader()))
            trainer.model(**batch, use_cache=False).loss.mul(1e3).backward()
            assert art_layer(trainer.model).accumulation.pending is not None
        trainer.train()
        pictures.append(trainer.model.get_artwork_image())
    assert (pictures[0] == pictures[1]).all()


def test_a_trainer_that_accumulates_runs_the_tower_once_a_step(checkpoint, tmp_path):
    settings = {"max_steps": 3, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    trainer = make_trainer(checkpoint, str(tmp_path), ArtConfig(start="noise"), **settings)
    runs, start = tower_runs(trainer.model), trainer.model.get_artwork_image().astype(int)
    trainer.train()
    assert len(runs) == 3
    assert abs(trainer.model.get_artwork_image() - start).mean() > 1


def test_without_a_gradient_the_tower_runs_again_only_for_another_picture_or_other_weights(checkpoint):
    model, processor = painted(checkpoint)
    batch, runs = rows(model, processor, BATCHES["questions"], "right"), tower_runs(model)
    (pixels,) = [p for p in model.parameters() if p.requires_grad]
    weight = art_layer(model).base_layer.merger.parameters()

    @torch.no_grad()
    def logits():
        return model(**batch, use_cache=False).logits

    first = logits()
    assert torch.equal(logits(), first)
    assert len(runs) == 1
    with torch.no_grad():
        pixels.data = 1 - pixels.data
    other = logits()
    assert len(runs) == 2
    assert not torch.equal(other, first)
    with torch.no_grad():
        next(weight).mul_(1.5)
    assert not torch.equal(logits(), other)
    assert len(runs) == 3
