"""The shared prefix against the plain forward pass: same hidden states, log-probs and pixel gradients."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from peft import get_peft_model
from torch.overrides import TorchFunctionMode

import families
from pixeltune.adapter import ArtConfig
from pixeltune.data.placement import place
from pixeltune.model.shared_prefix.prefix import SharedPrefix
from pixeltune.model.shared_prefix.tree import grow

TOOLS = [{"type": "function", "function": {"name": "add", "description": "Add", "parameters": {}}}]


class Double(TorchFunctionMode):
    """Models compute norms, softmax and recurrences in float32 whatever their dtype; here in float64."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.float:
            return args[0].double()
        wide = [torch.float64 if value is torch.float32 else value for value in args]
        names = {k: torch.float64 if v is torch.float32 else v for k, v in (kwargs or {}).items()}
        return func(*wide, **names)


def chat(*texts, system=None, tools=None):
    """One conversation: user, assistant, user, ..."""
    roles = ("user", "assistant") * len(texts)
    talk = [{"role": r, "content": t} for r, t in zip(roles, texts, strict=False)]
    return ([{"role": "system", "content": system}] if system else []) + talk, tools


SHORT = [chat("hi", "Hello!"), chat("How much is 3 + 4?", "It is 7."), chat("How old?", "9")]
BATCHES = {
    "questions": SHORT,
    "one system message": [chat(*(m["content"] for m in talk), system="Be brief.") for talk, _ in SHORT],
    "groups": [
        chat(question, answer)
        for question in ("What is 12 + 30 in words?", "What is it?", "Name a colour, please.")
        for answer in ("one", "two two", "three", "one")
    ],
    "different tools": [
        chat("Add.", "ok", tools=TOOLS),
        chat("Add.", "no", tools=TOOLS),
        chat("Add 3 and 4.", "ok", tools=TOOLS * 2),
        chat("Add 3 and 4.", "7", tools=TOOLS * 2),
    ],
    "the same row twice": [SHORT[0], SHORT[0], SHORT[1]],
}


def rows(model, processor, batch, side):
    """Input ids and mask; "both" pads prompts on the left and answers on the right, as GRPO does."""
    texts = [
        processor.tokenizer.apply_chat_template(place(talk, model.art_block), tools=tools, tokenize=False)
        for talk, tools in batch
    ]
    if side != "both":
        return dict(processor.tokenizer(texts, padding=True, padding_side=side, return_tensors="pt"))
    prompts, answers = zip(*(text.rsplit("assistant\n", 1) for text in texts), strict=True)
    left = processor.tokenizer(list(prompts), padding=True, padding_side="left", return_tensors="pt")
    right = processor.tokenizer(list(answers), padding=True, padding_side="right", return_tensors="pt")
    return {name: torch.cat([left[name], right[name]], 1) for name in ("input_ids", "attention_mask")}


def painted(checkpoint):
    model, processor = families.load(checkpoint)
    if "Moe" in type(model).__name__:  # torch's grouped matrix product has no float64
        model.set_experts_implementation("eager")
    model = get_peft_model(model.double(), ArtConfig(start="noise")).train()
    preprocessor = model.base_model._preprocessor(model.active_peft_config)
    see = preprocessor._call
    preprocessor._call = lambda picture: _undisturbed(see, picture)
    return model, processor


def _undisturbed(see, picture):
    """Processors make float32 pixels, some in place, which `Double` would change."""
    with torch._C.DisableTorchFunction():
        return see(picture)


def run(model, batch, mode=Double):
    """Last hidden states, log-probs of the given tokens, and pixel gradient of a loss on all of them."""
    (pixels,) = [p for p in model.parameters() if p.requires_grad]
    pixels.grad = None
    with mode():
        hidden = model.get_base_model().base_model(**batch, use_cache=False).last_hidden_state
        logprobs = model.get_base_model().lm_head(hidden).log_softmax(-1)
        said = logprobs[:, :-1].gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
        real = batch["attention_mask"].bool()
        weight = torch.linspace(0.5, 1.5, said.numel(), dtype=said.dtype).view_as(said)
        (said * weight)[real[:, 1:] & real[:, :-1]].sum().backward()
    return hidden[real].detach(), said[real[:, 1:] & real[:, :-1]].detach(), pixels.grad.clone()


def tree(model, batch, **kwargs):
    """What the adapter would do with a batch."""
    art, config = model.base_model, model.active_peft_config
    image = model.get_base_model().config.image_token_id, config.image_tokens
    return art._prefix.tree(batch["input_ids"], *image, art._layer().shown, batch | kwargs)


def relative(one, other):
    return ((one - other).norm() / other.norm()).item()


@pytest.mark.parametrize("side", ["left", "right", "both"])
@pytest.mark.parametrize("name", BATCHES)
def test_it_equals_the_plain_forward(checkpoint, name, side, monkeypatch):
    model, processor = painted(checkpoint)
    batch = rows(model, processor, BATCHES[name], side)
    trees = []
    monkeypatch.setattr(
        "pixeltune.model.shared_prefix.prefix.grow", lambda *a, **k: trees.append(grow(*a, **k)) or trees[-1]
    )
    shared = run(model, batch)
    again = run(model, batch)  # now the text before the artwork is not computed
    with monkeypatch.context() as patch:
        patch.setattr(SharedPrefix, "tree", lambda *_: None)
        plain = run(model, batch)
    assert trees[0] is not None
    assert trees[0].tokens < batch["input_ids"].numel()
    for one, two, reference in zip(shared, again, plain, strict=True):
        assert reference.dtype in (torch.float64, torch.float32)
        assert relative(one, reference) < 1e-10
        assert relative(two, reference) < 1e-10


def test_gradient_checkpointing_reads_the_same_prefix_again(checkpoint, monkeypatch):
    model, processor = families.load(checkpoint)
    model = get_peft_model(model, ArtConfig(start="noise")).train()
    batch = rows(model, processor, BATCHES["groups"], "both")
    reference = run(model, batch, nullcontext)
    model.gradient_checkpointing_enable()
    trees = []
    monkeypatch.setattr(
        "pixeltune.model.shared_prefix.prefix.grow", lambda *a, **k: trees.append(grow(*a, **k)) or trees[-1]
    )
    for one, two in zip(run(model, batch, nullcontext), reference, strict=True):
        assert relative(one, two) < 1e-6
    assert trees[0] is not None


@pytest.mark.parametrize("how", ["weights", "autocast"])
def test_in_bfloat16_it_is_as_close_to_float32_as_the_plain_forward(checkpoint, how, monkeypatch):
    """Rounding to 8 bits of mantissa differs with the order of summation, so the two only agree that far."""
    model, processor = families.load(checkpoint)
    model = get_peft_model(model, ArtConfig(start="noise")).train()
    batch = rows(model, processor, BATCHES["groups"], "both")
    exact = run(model, batch, nullcontext)
    if how == "weights":
        model.to(torch.bfloat16)
    (pixels,) = [p for p in model.parameters() if p.requires_grad]
    assert pixels.dtype == torch.float32
    mode = nullcontext if how == "weights" else lambda: torch.autocast("cpu", torch.bfloat16)
    shared = run(model, batch, mode)
    assert model.base_model._prefix.kept
    monkeypatch.setattr(SharedPrefix, "tree", lambda *_: None)
    plain = run(model, batch, mode)
    for one, two, reference in zip(shared, plain, exact, strict=True):
        assert relative(one.float(), reference) < 1.5 * relative(two.float(), reference) + 1e-3


def test_reentrant_checkpointing_falls_back_and_says_so(checkpoint, monkeypatch):
    said = []
    monkeypatch.setattr("pixeltune.model.shared_prefix.prefix.logger.warning_once", said.append)
    model, processor = painted(checkpoint)
    batch = rows(model, processor, BATCHES["groups"], "right")
    model.gradient_checkpointing_enable({"use_reentrant": True})
    assert tree(model, batch) is None
    assert '"use_reentrant": False' in said[0]


def test_layers_that_cannot_be_forked_fall_back_and_say_so(checkpoint, monkeypatch):
    said = []
    monkeypatch.setattr("pixeltune.model.shared_prefix.prefix.logger.warning_once", said.append)
    model, processor = painted(checkpoint)
    batch = rows(model, processor, BATCHES["groups"], "right")
    model.base_model._prefix.kinds = ["sliding_attention", "full_attention"]
    assert tree(model, batch) is None
    assert "sliding_attention" in said[0]


def test_the_text_before_the_artwork_is_computed_again_when_a_weight_changed(checkpoint):
    model, processor = painted(checkpoint)
    batch = rows(model, processor, BATCHES["one system message"], "right")
    run(model, batch)
    kept = model.base_model._prefix.kept[0]
    run(model, batch)
    assert model.base_model._prefix.kept[0] is kept
    with torch.no_grad():
        model.get_base_model().base_model.language_model.embed_tokens.weight.mul_(1.1)
    after = run(model, batch)
    assert model.base_model._prefix.kept[0] is not kept
    model.base_model._prefix.kept.clear()
    for one, two in zip(run(model, batch), after, strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("left_out", ["a cache", "hidden states", "one row", "a hole in the mask"])
def test_what_only_a_plain_pass_gives_is_left_to_it(checkpoint, left_out):
    model, processor = painted(checkpoint)
    batch = rows(model, processor, BATCHES["questions"], "right")
    assert tree(model, batch, use_cache=False) is not None
    if left_out == "one row":
        assert tree(model, {name: part[:1] for name, part in batch.items()}, use_cache=False) is None
    elif left_out == "a hole in the mask":
        batch["attention_mask"][0, 3] = 0
        assert tree(model, batch, use_cache=False) is None
    elif left_out == "hidden states":
        assert tree(model, batch, use_cache=False, output_hidden_states=True) is None
    else:
        model.eval()  # a pass with which somebody may want to go on generating
        assert tree(model, batch) is None


def test_unloading_gives_the_language_model_its_own_forward_back(checkpoint):
    model, _ = painted(checkpoint)
    language_model = model.get_base_model().base_model.language_model
    assert "forward" in vars(language_model)
    model.unload()
    assert "forward" not in vars(language_model)


@pytest.mark.parametrize("name", BATCHES)
def test_generation_from_the_tree_equals_plain_generation(checkpoint, name, monkeypatch):
    model, processor = families.load(checkpoint)
    model = get_peft_model(model, ArtConfig(start="noise")).eval()
    batch = rows(model, processor, BATCHES[name], "left")
    asked = {"max_new_tokens": 6, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    for _ in range(2):  # the second time the artwork is not computed
        shared = model.generate(**batch, **asked)
    with monkeypatch.context() as patch:
        patch.setattr(SharedPrefix, "tree", lambda *_: None)
        plain = model.generate(**batch, **asked)
    assert torch.equal(shared.sequences, plain.sequences)
    for one, two in zip(shared.logits, plain.logits, strict=True):
        torch.testing.assert_close(one, two, atol=1e-4, rtol=0)
    if model.base_model._prefix.kinds[0] == "full_attention":
        assert 1 in model.base_model._prefix.kept


def test_generation_sees_new_pixels_however_they_were_written(checkpoint, monkeypatch):
    model, processor = families.load(checkpoint)
    model = get_peft_model(model, ArtConfig(start="noise")).eval()
    batch = rows(model, processor, BATCHES["questions"], "left")
    asked = {"max_new_tokens": 1, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    before = model.generate(**batch, **asked).logits[0]
    (pixels,) = [p for n, p in model.named_parameters() if n.endswith("pixels")]
    pixels.data += 0.2 * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(5))
    after = model.generate(**batch, **asked).logits[0]
    monkeypatch.setattr(SharedPrefix, "tree", lambda *_: None)
    torch.testing.assert_close(after, model.generate(**batch, **asked).logits[0], atol=1e-4, rtol=0)
    assert (after - before).abs().max() > 1e-2
