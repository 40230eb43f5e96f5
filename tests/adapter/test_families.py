"""Every further family: the adapter against the untouched model that is shown the PNG, and a short training.

What is tested here once is tested for three families in depth in the other files of this folder.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from peft import get_peft_model
from PIL import Image

import families
from pixeltune.adapter import ArtConfig
from pixeltune.model.families import FAMILIES
from pixeltune.model.shared_prefix.prefix import SharedPrefix
from pixeltune.model.shared_prefix.tree import grow
from test_model import layer_of, paint, served_rows, text_rows
from test_prefix import BATCHES, painted, relative, rows, run, tree
from test_training import fingerprint, losses
from training import make_trainer

PLAIN = {"gemma3", "gemma4"}
"""Families whose attention within a picture goes both ways: the plain pass is taken."""

BARE = {"llava_onevision": 1 - (378 / 384) ** 2}
"""Part of the pixels that the vision tower drops: 384 is no multiple of its patches of 14."""

SLOW = {"gemma3", "gemma4", "llava_onevision"}

ASKED = {"max_new_tokens": 3, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}


@pytest.fixture(scope="module", params=families.GRIDS + families.OTHERS)
def family(request):
    if package := families.missing(request.param):
        pytest.skip(f"the stock processor of {request.param} needs the package {package}")
    return request.param


@pytest.fixture(scope="module")
def checkpoint(family, tmp_path_factory) -> str:
    return families.save(family, tmp_path_factory.mktemp(family))


def test_it_equals_the_untouched_model_with_the_png(checkpoint):
    model, processor = families.load(checkpoint)
    model, base = get_peft_model(model, ArtConfig(start="noise")), families.load(checkpoint)[0]
    paint(model)
    batch = text_rows(model, processor, "left")
    served = served_rows(model.get_artwork_image(), processor, "left")
    assert torch.equal(batch["input_ids"], served["input_ids"])
    with torch.no_grad():
        ours, theirs = model(**batch).logits, base(**served).logits
        with model.disable_adapter():
            other = model(**batch).logits
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(ours[real], theirs[real], atol=1e-5, rtol=0)
    assert (other - theirs)[real].abs().max() > 1e-2  # the picture matters to this model
    mine, expected = model.generate(**batch, **ASKED), base.generate(**served, **ASKED)
    assert torch.equal(mine.sequences, expected.sequences)
    for one, two in zip(mine.logits, expected.logits, strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=0)


def test_a_step_moves_all_pixels_and_generation_sees_it(family, checkpoint):
    model, processor = families.load(checkpoint)
    model = get_peft_model(model, ArtConfig(start="noise"))
    before, pixels = fingerprint(model), layer_of(model).canvas().pixels
    batch = text_rows(model, processor, "left")
    pieces = torch.tensor(model.base_model._pieces())
    labels = batch["input_ids"].where(~torch.isin(batch["input_ids"], pieces), -100)
    optimizer = torch.optim.AdamW([pixels], lr=0.02, eps=1e-16, weight_decay=0.0)
    start = model.generate(**batch, **ASKED | {"max_new_tokens": 1}).logits[0]
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = model(**batch, labels=labels).loss
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    assert pixels.grad.isfinite().all()
    reached = pixels.grad.ne(0).float().mean().item()
    assert reached == pytest.approx(1 - BARE.get(family, 0), abs=1e-3)
    with torch.no_grad():
        trained = model(**batch, labels=labels)
    assert trained.loss < losses[0] - 0.01
    assert fingerprint(model) == before
    generated = model.generate(**batch, **ASKED | {"max_new_tokens": 1}).logits[0]
    torch.testing.assert_close(generated, trained.logits[:, -1], atol=5e-5, rtol=0)
    assert (generated - start).abs().max() > 1e-3


def test_the_shared_prefix_is_exact_or_is_not_used(family, checkpoint, monkeypatch):
    said, trees = [], []
    monkeypatch.setattr("pixeltune.model.shared_prefix.prefix.logger.warning_once", said.append)
    model, processor = painted(checkpoint)
    name = type(model.base_model._prefix.language_model).__name__
    batches = BATCHES["groups"][2:6], BATCHES["one system message"]
    if family in SLOW:
        batches = (BATCHES["groups"][:2],)
    if family in PLAIN:
        batch = rows(model, processor, batches[0], "both")
        assert name not in FAMILIES[family].exact
        assert tree(model, batch, use_cache=False) is None
        assert name in said[0]
        return
    assert name in FAMILIES[family].exact
    monkeypatch.setattr(
        "pixeltune.model.shared_prefix.prefix.grow", lambda *a, **k: trees.append(grow(*a, **k)) or trees[-1]
    )
    for talks, side in zip(batches, ("both", "left"), strict=False):
        batch = rows(model, processor, talks, side)
        shared = run(model, batch)
        with monkeypatch.context() as patch:
            patch.setattr(SharedPrefix, "tree", lambda *_: None)
            plain = run(model, batch)
        assert trees[-1].tokens < batch["input_ids"].numel()
        for one, reference in zip(shared, plain, strict=True):
            assert relative(one, reference) < 1e-10
    if family in SLOW or "linear_attention" in model.base_model._prefix.kinds:
        return
    model = get_peft_model(families.load(checkpoint)[0], ArtConfig(start="noise")).eval()
    batch = rows(model, processor, BATCHES["questions"], "left")
    shared = model.generate(**batch, **ASKED)
    assert 1 in model.base_model._prefix.kept  # it came from a tree
    monkeypatch.setattr(SharedPrefix, "tree", lambda *_: None)
    plain = model.generate(**batch, **ASKED)
    for one, two in zip(shared.logits, plain.logits, strict=True):
        torch.testing.assert_close(one, two, atol=1e-4, rtol=0)


@pytest.mark.parametrize("checkpoint_of", ["glm46v", "internvl", "mistral3"])
def test_rows_with_pictures_of_their_own(checkpoint_of, tmp_path):
    model, processor = families.load(families.save(checkpoint_of, tmp_path))
    base = families.load(str(tmp_path))[0]
    model = get_peft_model(model, ArtConfig(start="noise"))
    pixels = model.get_artwork_image()
    own = [[], [Image.new("RGB", pixels.shape[1::-1], "red")]]
    served = served_rows(pixels, processor, "left", own)
    stand_in = served_rows(np.zeros_like(pixels), processor, "left", own)  # what it shows must not matter
    with torch.no_grad():
        ours, theirs = model(**stand_in).logits, base(**served).logits
    real = served["attention_mask"].bool()
    torch.testing.assert_close(ours[real], theirs[real], atol=1e-5, rtol=0)


@pytest.mark.parametrize("checkpoint_of", ["qwen3_vl_moe", "glm4v_moe", "internvl", "mistral3", "idefics3"])
def test_ten_steps_of_trl(checkpoint_of, tmp_path):
    checkpoint = families.save(checkpoint_of, tmp_path / "model")
    trainer = make_trainer(
        checkpoint,
        str(tmp_path / "run"),
        ArtConfig(start="noise"),
        max_steps=10,
        learning_rate=5e-2,
        router_aux_loss_coef=0.0,
    )
    before, start = fingerprint(trainer.model), trainer.model.get_artwork_image().astype(int)
    trainer.train()
    assert losses(trainer)[-1] < losses(trainer)[0] - 0.1
    assert np.abs(trainer.model.get_artwork_image() - start).mean() > 2
    assert fingerprint(trainer.model) == before


def test_experts_that_are_balanced_fall_back_and_say_so(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("pixeltune.model.shared_prefix.prefix.logger.warning_once", said.append)
    model, processor = painted(families.save("qwen3_vl_moe", tmp_path))
    batch = rows(model, processor, BATCHES["questions"], "right")
    assert tree(model, batch, use_cache=False) is not None
    assert tree(model, batch, use_cache=False, output_router_logits=True) is None
    assert "router_aux_loss_coef=0" in said[0]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("sliding_window", 64, "sliding window of 64"),
        ("rope_parameters", {"rope_type": "dynamic"}, "positions of kind dynamic"),
    ],
)
def test_what_depends_on_the_length_falls_back_and_says_so(name, value, reason, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("pixeltune.model.shared_prefix.prefix.logger.warning_once", said.append)
    model, processor = painted(families.save("mistral3", tmp_path))
    batch = rows(model, processor, BATCHES["questions"], "right")
    assert tree(model, batch, use_cache=False) is not None
    setattr(model.base_model._prefix.language_model.config, name, value)
    assert tree(model, batch, use_cache=False) is None
    assert reason in said[0]


def test_pictures_with_line_breaks_count_as_one(tmp_path):
    model, processor = families.load(families.save("mistral3", tmp_path))
    model = get_peft_model(model, ArtConfig())
    batch = text_rows(model, processor)
    model(**batch)
    broken = batch["input_ids"].clone()
    breaks = (broken == processor.image_break_token_id).nonzero()
    broken[tuple(breaks[0])] = processor.tokenizer.convert_tokens_to_ids("[IMG_END]")
    with pytest.raises(
        ValueError, match="the first picture of row 0 has 8 image tokens, but the artwork takes 71"
    ):
        model(input_ids=broken, attention_mask=batch["attention_mask"])
