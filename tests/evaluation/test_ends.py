"""Answers end where the model's own files say, and where stock `generate` ends them."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import count

import pytest
import torch

import families
from pixeltune.evaluation.agreement import greedy
from pixeltune.evaluation.ends import end_ids, until_end
from pixeltune.evaluation.in_process import InProcess

TALK = [{"role": "user", "content": "Say something."}]


@pytest.fixture(scope="module", params=["gemma3", "glm46v", "qwen3_vl"])
def stock(request, tmp_path_factory):
    if why := families.missing(request.param):
        pytest.skip(why)
    folder = tmp_path_factory.mktemp(request.param)
    model, processor = families.load(families.save(request.param, folder))
    return model.eval(), processor


def free_run(model, processor, n: int = 12) -> list[int]:
    """What the random model says if nothing ends it."""
    text = processor.apply_chat_template(TALK, tokenize=False, add_generation_prompt=True)
    batch = processor(text=[text], return_tensors="pt")
    model.generation_config.eos_token_id = None
    with torch.no_grad():
        out = model.generate(**batch, max_new_tokens=n, do_sample=False)
    return out[0, batch["input_ids"].shape[1] :].tolist()


def test_every_end_of_the_generation_config_ends_an_answer_here_as_in_stock_generate(stock):
    """Gemma names two ends, GLM three, and neither is ChatML's."""
    model, processor = stock
    said = free_run(model, processor)
    end = next((token for token in said[2:] if token not in said[:2]), said[0])
    unused = next(t for t in range(5, 200) if t not in said and t not in processor.tokenizer.all_special_ids)
    model.generation_config.eos_token_id = [unused, end]
    where = said.index(end)
    text = processor.apply_chat_template(TALK, tokenize=False, add_generation_prompt=True)
    batch = processor(text=[text], return_tensors="pt")
    with torch.no_grad():
        out = model.generate(**batch, max_new_tokens=12, do_sample=False)[0, batch["input_ids"].shape[1] :]
    assert out.tolist() == said[: where + 1]  # the reference
    (reply,) = InProcess(model, processor).complete([TALK], [None], 12)
    assert reply.text == processor.tokenizer.decode(said[:where])
    assert reply.completion_tokens == where + 1
    answer = greedy(model, processor, None, TALK, None, 12)
    assert answer.said == said[: where + 1]
    assert answer.ended


def test_a_model_that_names_no_end_has_that_of_its_template(stock):
    model, processor = stock
    tokenizer = processor.tokenizer
    model.generation_config.eos_token_id = None
    kept, tokenizer.eos_token = tokenizer.eos_token, None
    try:
        (end,) = end_ids(model, tokenizer)
    finally:
        tokenizer.eos_token = kept
    turn = [*TALK, {"role": "assistant", "content": "!"}]
    assert tokenizer.decode([end]) in tokenizer.apply_chat_template(turn, tokenize=False).rpartition("!")[2]


LIKE = {
    "gemma3": ("<eos>", ["<eos>", "<end_of_turn>"], "<end_of_turn>"),
    "glm46v": ("<|endoftext|>", ["<|endoftext|>", "<|user|>", "<|observation|>"], "<|user|>"),
}
"""By family: the tokenizer's end, those of its generation config, and what stands behind an assistant's turn."""


@pytest.mark.parametrize("family", LIKE)
def test_gemma_s_and_glm_s_own_ends_are_ends_and_chatml_s_is_none(family):
    eos, configured, behind = LIKE[family]
    model, processor = families.make_model(family), families.make_processor(family)
    tokenizer = processor.tokenizer
    tokenizer.add_special_tokens({"additional_special_tokens": configured})
    model.resize_token_embeddings(len(tokenizer))
    ids = tokenizer.convert_tokens_to_ids(configured)
    tokenizer.eos_token = eos
    model.generation_config.eos_token_id = ids
    assert end_ids(model, tokenizer) == sorted(ids)
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") not in end_ids(model, tokenizer)
    text = processor.apply_chat_template(TALK, tokenize=False, add_generation_prompt=True)
    batch = processor(text=[text], return_tensors="pt")
    for end in ids:  # the model says "Hi" and then this end, over and over
        said = [*tokenizer("Hi", add_special_tokens=False)["input_ids"], end]
        with saying(model, said):
            out = model.generate(**batch, max_new_tokens=12, do_sample=False)[
                0, batch["input_ids"].shape[1] :
            ]
            assert out.tolist() == said  # the reference
            (reply,) = InProcess(model, processor).complete([TALK], [None], 12)
        assert (reply.text, reply.completion_tokens) == ("Hi", len(said))
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}" + behind + "\n{% endfor %}"
    )
    model.generation_config.eos_token_id = tokenizer.eos_token = None
    assert end_ids(model, tokenizer) == [tokenizer.convert_tokens_to_ids(behind)]


@contextmanager
def saying(model, ids: list[int]):
    """The model's next tokens are these, again and again, whatever it is asked."""
    turn = count()

    def say(module, args, logits):
        chosen = torch.full_like(logits, -1e4)
        chosen[:, -1, ids[next(turn) % len(ids)]] = 0.0
        return chosen

    hook = model.get_output_embeddings().register_forward_hook(say)
    try:
        yield
    finally:
        hook.remove()


def test_until_end():
    assert until_end([4, 5, 2, 0, 0], [2]) == ([4, 5], 3)
    assert until_end([4, 5], [2]) == ([4, 5], 2)
    assert until_end([2], [1, 2]) == ([], 1)
