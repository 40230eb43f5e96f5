"""A frozen model over two devices: what the adapter adds lies on the right one, and nothing else changes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from accelerate import dispatch_model
from peft import get_peft_model

import families
from pixeltune.adapter import ArtConfig
from pixeltune.adapter.guard import art_layer
from pixeltune.data.placement import place
from pixeltune.model.loading import check_devices, load_model
from pretend_devices import SECOND, second_device
from training import make_trainer

ART = {"image_tokens": 64, "start": "noise", "seed": 3}


def spread(model, second_tower=False):
    """The model over both devices: its last layer, and on request its tower, lie on the second."""
    text = "model.language_model"
    layers = [f"{text}.layers.{number}" for number in range(len(model.model.language_model.layers))]
    first = dict.fromkeys([f"{text}.embed_tokens", f"{text}.rotary_emb", "lm_head", *layers[:-1]], "cpu")
    where = {"model.visual": str(SECOND) if second_tower else "cpu", **first}
    where |= {layers[-1]: str(SECOND), f"{text}.norm": str(SECOND)}
    skipped = model._skip_keys_device_placement
    return dispatch_model(model, where, main_device="cpu", skip_keys=skipped, force_hooks=True)


def batch(model, processor, side="right"):
    """Token ids and mask of four rows that share what stands through the artwork, and in pairs more."""
    texts = [
        processor.apply_chat_template(
            place([{"role": "user", "content": asked}], model.art_block),
            tokenize=False,
            add_generation_prompt=True,
        )
        + said
        for asked in ("How much is 3 + 4?", "How old?")
        for said in ("It is seven.", "I do not know.")
    ]
    return processor.tokenizer(texts, return_tensors="pt", padding=True, padding_side=side)


def loss(model, rows) -> torch.Tensor:
    logits = model.train()(**rows, use_cache=False).logits[:, :-1]
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows["input_ids"][:, 1:].flatten())


@pytest.mark.parametrize("second_tower", [False, True])
def test_the_loss_and_the_gradient_are_those_of_one_device(checkpoint, second_tower):
    model, processor = families.load(checkpoint)
    alone = get_peft_model(model.requires_grad_(False), ArtConfig(**ART))
    rows = batch(alone, processor)
    expected = loss(alone, rows)
    expected.backward()
    with second_device():
        model = spread(families.load(checkpoint)[0].requires_grad_(False), second_tower)
        both = get_peft_model(model, ArtConfig(**ART))
        tower, pixels = both.base_model.model.model.visual.base_layer, art_layer(both).canvas().paint.pixels
        assert (next(tower.parameters()).device == SECOND) is second_tower
        assert pixels.device == next(tower.parameters()).device  # PEFT leaves it where it was made
        assert both.base_model.model.model.language_model.norm.weight.device == SECOND
        found = loss(both, rows)
        found.backward()
        gradient = pixels.grad.cpu()
    reference = art_layer(alone).canvas().paint.pixels.grad
    assert reference.abs().sum() > 0
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    assert (gradient - reference).abs().max() < 1e-5 * reference.abs().max()  # float32, other kernels


def test_it_says_what_it_says_on_one_device(checkpoint):
    model, processor = families.load(checkpoint)
    alone = get_peft_model(model.eval(), ArtConfig(**ART))
    rows = batch(alone, processor, side="left")
    options = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None}
    with torch.no_grad():
        expected = alone.generate(**rows, **options)
    with second_device(), torch.no_grad():
        both = get_peft_model(spread(families.load(checkpoint)[0].eval()), ArtConfig(**ART))
        found = both.generate(**rows, **options)
        assert torch.equal(found.cpu(), expected)


def test_unloading_gives_back_what_accelerate_put_there(checkpoints):
    model, _ = families.load(checkpoints["qwen3_vl"])
    parts = dict.fromkeys(("model.visual", "model.language_model", "lm_head"), "cpu")
    model = dispatch_model(model, parts, main_device="cpu", force_hooks=True)
    hooked = vars(model.model.language_model)["forward"]
    assert get_peft_model(model, ArtConfig(**ART)).unload() is model
    assert vars(model.model.language_model)["forward"] is hooked


def test_an_unmodified_trainer_paints_over_two_devices(checkpoint, tmp_path, monkeypatch):
    one = make_trainer(checkpoint, str(tmp_path / "one"), ArtConfig(**ART))
    start = one.model.get_artwork_image()
    one.train()
    with second_device():
        stock = families.load
        monkeypatch.setattr(families, "load", lambda folder: (spread(stock(folder)[0]), stock(folder)[1]))
        two = make_trainer(checkpoint, str(tmp_path / "two"), ArtConfig(**ART))
        two.train()
        pictures = [trainer.model.get_artwork_image().astype(int) for trainer in (one, two)]
    assert abs(pictures[0] - start).mean() > 1
    assert (abs(pictures[0] - pictures[1]) <= 1).mean() > 0.99


def test_a_model_is_shared_out_by_its_map(bundled):
    model = load_model("tiny", device_map="auto")  # on a machine without a GPU there is one device
    assert len({parameter.device for parameter in model.parameters()}) == 1
    assert not model.training


def test_a_model_that_does_not_fit_is_refused():
    check_devices(SimpleNamespace(hf_device_map={"": "cpu"}))
    check_devices(SimpleNamespace(hf_device_map={"model": 0, "lm_head": 1}))
    check_devices(SimpleNamespace())
    for body, head in ((0, "disk"), (0, "cpu"), ("cpu", "disk")):
        with pytest.raises(ValueError, match="1 of its 2 parts"):
            check_devices(SimpleNamespace(hf_device_map={"model": body, "lm_head": head}))
