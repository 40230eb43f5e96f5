"""Greedy answers without the rows that have ended, against transformers' own `generate`."""

from __future__ import annotations

import pytest
import torch
from peft import get_peft_model
from transformers.cache_utils import DynamicCache, DynamicLayer

import families
from pixeltune.adapter import ArtConfig, use_processor
from pixeltune.evaluation.greedy import greedy
from pixeltune.model.shared_prefix.growing import GrowingLayer, make_growing

ASKED = {"max_new_tokens": 24, "do_sample": False, "pad_token_id": 0}
WORDS = ["a", "What is 3 + 4?", "b?", "Say it again, please.", "x y z", "why", "12345", "no"]


def ends(said: torch.Tensor, prompt: int) -> list[int]:
    """Some tokens at which not all rows end, and not at the same time: those that rows say after a while."""
    return sorted({int(row[prompt + 2 + 3 * i]) for i, row in enumerate(said[:5])})


def both(model, batch) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    """What `generate` and `greedy` say, and how many rows each pass of the latter had."""
    prompt = batch["input_ids"].shape[1]
    with torch.no_grad():
        free = model.generate(**batch, **ASKED, eos_token_id=None)
        asked = {**ASKED, "eos_token_id": ends(free, prompt)}
        wanted = model.generate(**batch, **asked)
        rows = []
        head = model.get_output_embeddings()
        hook = head.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
        got = model.generate(**batch, **asked, custom_generate=greedy)
        hook.remove()
    return wanted, got, rows


@pytest.mark.parametrize("family", families.ALL)
def test_it_says_what_generate_says_token_for_token_in_every_family(family):
    model = families.make_model(family)
    if "Moe" not in type(model).__name__:  # torch's grouped matrix product has no float64
        model = model.double()
    tokenizer = families.make_tokenizer(family)
    batch = tokenizer(WORDS, padding=True, padding_side="left", return_tensors="pt")
    if family == "gemma3":  # it wants to be told
        batch["token_type_ids"] = torch.zeros_like(batch["input_ids"])
    wanted, got, rows = both(model, batch)
    assert torch.equal(got, wanted)
    assert (rows[-1] < rows[0]) == (family not in ("qwen3_5", "qwen3_5_moe", "minicpmv4_6"))


@pytest.mark.parametrize("family", families.FAMILIES)
def test_it_says_so_behind_an_artwork_too(family):
    model, processor = families.make_model(family).double(), families.make_processor(family)
    use_processor(model, processor)
    model = get_peft_model(model, ArtConfig(start="noise")).eval()
    texts = [f"<|im_start|>user\n{model.art_block}{words}<|im_end|>\n" for words in WORDS]
    batch = processor.tokenizer(texts, padding=True, padding_side="left", return_tensors="pt")
    wanted, got, _ = both(model, batch)
    assert torch.equal(got, wanted)


def test_a_growing_layer_holds_what_a_dynamic_one_does_and_writes_in_place():
    torch.manual_seed(0)
    plain, grown, places = DynamicLayer(), GrowingLayer(), set()
    for tokens in (70, *[1] * 40, 5):
        keys, values = torch.randn(3, 2, tokens, 4), torch.randn(3, 2, tokens, 6)
        for mine, theirs in zip(grown.update(keys, values), plain.update(keys, values), strict=True):
            assert torch.equal(mine, theirs)
        places.add(grown.keys.data_ptr())
    assert len(places) == 1
    for layer in (plain, grown):
        layer.batch_select_indices(torch.tensor([2, 0]))
        layer.update(keys[:2], values[:2])
        layer.crop(-3)
        layer.update(keys[1:], values[1:])
    assert torch.equal(grown.keys, plain.keys)
    assert torch.equal(grown.values, plain.values)
    assert grown.get_seq_length() == plain.get_seq_length()


def test_only_empty_caches_of_transformers_own_kind_are_changed():
    model = families.make_model("gemma3")
    cache = DynamicCache(config=model.config)
    kinds = [type(layer) for layer in cache.layers]
    make_growing(cache)
    assert [type(layer) for layer in cache.layers] == [
        GrowingLayer if k is DynamicLayer else k for k in kinds
    ]
    assert DynamicLayer not in {type(layer) for layer in cache.layers}
    make_growing(None)
