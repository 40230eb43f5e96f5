"""Rows that say the same about different pictures must not be taken for one row."""

from __future__ import annotations

import pytest
import torch
from peft import get_peft_model
from PIL import Image

import families
from pixeltune.adapter import ArtConfig

QUESTION = {"role": "user", "content": [{"type": "image"}] * 2 + [{"type": "text", "text": "What is it?"}]}
COLOURS = ("red", "blue", "red")


@pytest.fixture
def asked(checkpoint):
    """An adapted model, an untouched one, and three rows that differ in nothing but the second picture."""
    model, processor = families.load(checkpoint)
    model = get_peft_model(model, ArtConfig(start="noise"))
    artwork = Image.fromarray(model.get_artwork_image())
    text = processor.apply_chat_template([QUESTION], tokenize=False, add_generation_prompt=True)
    own = [Image.new("RGB", artwork.size, colour) for colour in COLOURS]
    batch = processor(
        text=[text] * len(own), images=[[artwork, picture] for picture in own], return_tensors="pt"
    )
    return model, families.load(checkpoint)[0], batch


def test_each_row_sees_its_own_picture_in_training(asked):
    model, base, batch = asked
    hidden = model.train().get_base_model().base_model(**batch, use_cache=False).last_hidden_state
    with torch.no_grad():
        expected = base.base_model(**batch, use_cache=False).last_hidden_state
    assert (expected[0, -1] - expected[1, -1]).abs().max() > 1e-2  # this model looks at that picture
    torch.testing.assert_close(hidden.detach(), expected, atol=1e-5, rtol=0)


def test_each_row_sees_its_own_picture_when_it_generates(asked):
    model, base, batch = asked
    options = {
        "max_new_tokens": 3,
        "do_sample": False,
        "return_dict_in_generate": True,
        "output_logits": True,
    }
    ours = torch.stack(model.generate(**batch, **options).logits)
    theirs = torch.stack(base.generate(**batch, **options).logits)
    assert (theirs[0, 0] - theirs[0, 1]).abs().max() > 1e-2
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
