"""Training against distortions: only a training step sees them, and resuming sees the same ones."""

import numpy as np
import pytest
import torch
from accelerate.state import GradientState
from peft import get_peft_model

import families
from pixeltune.adapter import ArtConfig
from pixeltune.adapter.guard import art_layer
from test_model import paint, text_rows
from test_training import fingerprint, layer_of, losses
from training import make_trainer

CONFIG = {"start": "noise", "image_tokens": 64, "robust": "heavy"}


@pytest.fixture
def checkpoint(checkpoints) -> str:
    return checkpoints["qwen3_vl"]


@pytest.fixture
def worn(checkpoint):
    """A model that wears a painted canvas, in training mode, and a batch of rows for it."""
    model, processor = families.load(checkpoint)
    model = get_peft_model(model, ArtConfig(**CONFIG))
    paint(model)
    return model.train(), text_rows(model, processor)


def watch(layer) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """What the model will be shown, each time beside the clean picture."""
    seen, image = [], layer.image

    def spied():
        picture = image()
        seen.append((picture.detach().clone(), layer.canvas()().detach().clone()))
        return picture

    layer.image = spied
    return seen


def test_pixels_learn_weights_stay_and_steps_see_distorted_pictures(checkpoint, tmp_path):
    trainer = make_trainer(checkpoint, str(tmp_path), ArtConfig(**CONFIG), max_steps=6, learning_rate=5e-2)
    before, start = fingerprint(trainer.model), trainer.model.get_artwork_image()
    seen = watch(layer_of(trainer))
    trainer.train()
    assert fingerprint(trainer.model) == before
    assert np.abs(trainer.model.get_artwork_image().astype(int) - start).mean() > 2
    assert len(seen) == 6
    assert sum((shown - clean).abs().mean() * 255 > 1 for shown, clean in seen) >= 4
    for image, _ in seen:
        assert torch.equal(image, (image * 255).round() / 255)


def test_everything_but_a_training_step_sees_the_clean_picture(worn):
    model, rows = worn
    layer = art_layer(model)
    layer.step = 3
    clean = torch.from_numpy(model.get_artwork_image()).permute(2, 0, 1) / 255
    assert not torch.equal(layer.image(), clean)
    distorted = model(**rows).logits
    with torch.no_grad():
        assert torch.equal(layer.image(), clean)
        unseen = model(**rows).logits
    model.eval()
    assert torch.equal(layer.image(), clean)
    torch.testing.assert_close(model(**rows).logits, unseen, atol=1e-5, rtol=0)
    assert (distorted - unseen).abs().max() > 1e-3
    model.train()
    with model.disable_adapter():
        assert torch.equal(layer.image(), layer.canvas().start_image())
    assert np.array_equal(model.get_artwork_image(), (clean * 255).byte().permute(1, 2, 0).numpy())
    for parameter in layer.canvas().parameters():
        parameter.requires_grad_(False)
    assert torch.equal(layer.image(), clean)


def test_generation_in_training_mode_sees_the_clean_picture(worn):
    model, rows = worn
    art_layer(model).step = 3
    options = {"max_new_tokens": 4, "do_sample": False}
    ours = model.generate(**rows, **options)
    assert torch.equal(ours, model.eval().generate(**rows, **options))


def test_all_batches_of_a_step_see_one_draw_and_the_next_step_another(worn):
    model, rows = worn
    layer, runs, state = art_layer(model), [], GradientState()
    layer.base_layer.register_forward_hook(lambda *_: runs.append(1))
    before = state.sync_gradients
    try:
        gradients = []
        for step in (3, 3, 4):
            layer.step, layer.accumulation.pending = step, None
            model.zero_grad()
            for last in (False, True):
                state._set_sync_gradients(last)
                model(**rows, use_cache=False).logits.square().mean().backward()
            (pixels,) = [p for p in model.parameters() if p.requires_grad]
            gradients.append(pixels.grad.clone())
    finally:
        state._set_sync_gradients(before)
    assert len(runs) == 3
    assert torch.equal(gradients[0], gradients[1])
    assert not torch.equal(gradients[0], gradients[2])
    identities = set()
    for layer.step in (3, 4):
        identities.add(layer.shown())
    with torch.no_grad():
        identities.add(layer.shown())
        layer.step = 3
        identities.add(layer.shown())
    assert len(identities) == 3  # step 3, step 4, clean


def test_a_loop_that_does_not_say_its_step_is_stopped(worn):
    model, rows = worn
    with pytest.raises(ValueError, match=r"art_layer\(model\)\.step"):
        model(**rows)
    with torch.no_grad():
        model(**rows)


def test_resuming_equals_the_uninterrupted_run(checkpoint, tmp_path):
    saving = {"save_strategy": "steps", "save_steps": 2}
    whole = make_trainer(checkpoint, str(tmp_path), ArtConfig(**CONFIG), **saving)
    whole.train()
    saved = tmp_path / "checkpoint-2"
    settings = ArtConfig.from_pretrained(saved)
    assert settings.robust == "heavy"
    resumed = make_trainer(checkpoint, str(tmp_path), settings, **saving)
    resumed.train(resume_from_checkpoint=str(saved))
    ours, theirs = (layer_of(trainer).canvas().state_dict() for trainer in (resumed, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert losses(resumed) == losses(whole)
    plain = make_trainer(checkpoint, str(tmp_path / "plain"), ArtConfig(**CONFIG | {"robust": "none"}))
    plain.train()
    assert losses(plain) != losses(whole)


def test_unknown_names_are_refused_with_the_settings():
    with pytest.raises(ValueError, match="no transform 'blur'"):
        ArtConfig(robust="jpeg,blur")
