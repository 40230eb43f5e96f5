"""Picture tokens in answers: none is ever chosen, and one that is there ends no run."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from peft import get_peft_model
from PIL import Image
from transformers import LogitsProcessor
from trl import GRPOConfig, GRPOTrainer

import families
from pixeltune.adapter import ArtConfig, use_processor
from pixeltune.data.placement import place_dataset
from pixeltune.model.compat.transformers_insides import cache_name
from pixeltune.model.families import placeholder_ids
from pixeltune.model.loading import load_model, load_processor
from test_model import CONVERSATIONS, layer_of, served_rows, text_rows


@pytest.fixture(scope="module", params=families.ALL)
def adapted(request, tmp_path_factory):
    """An adapted model, an untouched one, and their processor."""
    if package := families.missing(request.param):
        pytest.skip(f"the stock processor of {request.param} needs the package {package}")
    folder = families.save(request.param, tmp_path_factory.mktemp(request.param))
    model, processor = families.load(folder)
    return get_peft_model(model, ArtConfig(start="noise")), families.load(folder)[0], processor


class Only(LogitsProcessor):
    """Wants one token, above all others."""

    def __init__(self, token: int) -> None:
        self.token = token

    def __call__(self, input_ids, scores):
        scores = scores.clone()
        scores[:, self.token] += 1e4
        return scores


def test_the_tokens_are_those_of_pictures_and_nothing_that_ends_or_says_anything(adapted):
    model, _, processor = adapted
    tokens, tokenizer = model.base_model._picture_tokens(), processor.tokenizer
    names = tokenizer.convert_ids_to_tokens([t for t in sorted(tokens) if t < len(tokenizer)])
    assert model.config.image_token_id in tokens
    assert tokens.isdisjoint(tokenizer("Answer: <tool_call>\n\n4", add_special_tokens=False)["input_ids"])
    assert not {"<|im_end|>", "<|endoftext|>", "<|im_start|>"} & set(names)
    assert set(names) <= {*tokenizer.all_special_tokens}


@pytest.mark.parametrize("how", [{"do_sample": False}, {"do_sample": True, "temperature": 8.0}])
def test_picture_tokens_are_never_chosen_however_likely_they_are(how, adapted):
    model, base, processor = adapted
    batch, served = (
        text_rows(model, processor, "left"),
        served_rows(model.get_artwork_image(), processor, "left"),
    )
    length, image = batch["input_ids"].shape[1], model.config.image_token_id
    how = how | {"max_new_tokens": 2, "logits_processor": [Only(image)]}
    assert (base.generate(**served, **how)[:, length] == image).all()  # the untouched model says nothing else
    for more in ({}, {"suppress_tokens": [250]}, {"generation_config": model.generation_config}):
        said = model.generate(**batch, **how, **more)
        assert torch.equal(said[:, :length], batch["input_ids"])
        unwanted = torch.tensor(
            sorted({*model.base_model._picture_tokens(), *more.get("suppress_tokens", [])})
        )
        assert not torch.isin(said[:, length:], unwanted).any()


def test_an_answer_that_holds_picture_tokens_is_read_as_if_they_were_blank(adapted):
    """Forward, backward and generation; the gradient is that of a row with padding in their place."""
    model, _, processor = adapted
    batch = text_rows(model, processor, "right", CONVERSATIONS * 2)
    stray, blank = batch["input_ids"].clone(), batch["input_ids"].clone()
    ends = batch["attention_mask"].sum(1)
    for row, token in enumerate((placeholder_ids(model.config) * 4)[:4]):
        stray[row, ends[row] - 3 :: 2] = token
        blank[row, ends[row] - 3 :: 2] = processor.tokenizer.pad_token_id
    labels, pixels = batch["input_ids"], layer_of(model).canvas().pixels
    model.train()
    gradients = []
    for ids in (stray, blank):
        pixels.grad = None
        out = model(input_ids=ids, attention_mask=batch["attention_mask"], labels=labels, use_cache=False)
        out.loss.backward()
        gradients.append((out.loss.detach(), pixels.grad))
    model.eval()
    assert torch.equal(gradients[0][0], gradients[1][0])
    assert torch.equal(gradients[0][1], gradients[1][1])
    assert gradients[0][1].any()
    left = text_rows(model, processor, "left")
    left["input_ids"][:, -2] = model.config.image_token_id
    said = model.generate(**left, max_new_tokens=2, do_sample=False)
    assert torch.equal(said[:, : left["input_ids"].shape[1]], left["input_ids"])


def test_a_token_that_somebody_appends_goes_through_the_cache(adapted):
    model, _, processor = adapted
    batch = text_rows(model, processor, "left", CONVERSATIONS[1:])
    cache = {cache_name(): model(**batch, use_cache=True)[cache_name()]}
    token = torch.tensor([[model.config.image_token_id]])
    blank = model.base_model._continue(token, {"input_ids": token, **cache})[1]["input_ids"]
    assert blank.tolist() == [[processor.tokenizer.pad_token_id]]
    assert model.base_model._continue(blank, cache) is None
    if model.config.model_type in families.FAMILIES + families.GRIDS:
        return  # whose positions only `generate` knows
    mask = torch.cat([batch["attention_mask"], torch.ones(1, 1, dtype=torch.long)], 1)
    through = model(input_ids=token, attention_mask=mask, **cache).logits[:, -1]
    whole = model(input_ids=torch.cat([batch["input_ids"], token], 1), attention_mask=mask).logits[:, -1]
    torch.testing.assert_close(through, whole, atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", ["qwen3_vl", "internvl"])
def test_rows_with_pictures_of_their_own_may_hold_them_too(family, tmp_path):
    model, processor = families.load(families.save(family, tmp_path))
    model = get_peft_model(model, ArtConfig(start="noise"))
    own = [[], [Image.new("RGB", model.get_artwork_image().shape[1::-1], "red")]]
    batch = dict(served_rows(model.get_artwork_image(), processor, "right", own))
    end = batch["attention_mask"][0].sum() - 3
    blank = batch["input_ids"].clone()
    batch["input_ids"][0, end], blank[0, end] = model.config.image_token_id, processor.tokenizer.pad_token_id
    with torch.no_grad():
        stray, plain = (
            model(**batch).logits,
            model(**batch | {"input_ids": blank} | _kinds(model, blank)).logits,
        )
        model.generate(**batch, max_new_tokens=2, do_sample=False)
    assert torch.equal(stray, plain)


def _kinds(model, ids) -> dict:
    taken = "mm_token_type_ids" if model.config.model_type == "qwen3_vl" else None
    return {taken: (ids == model.config.image_token_id).int()} if taken else {}


def test_a_token_typed_in_front_of_the_artwork_is_refused_by_name(adapted):
    model, _, processor = adapted
    name = processor.tokenizer.convert_ids_to_tokens(model.config.image_token_id)
    talk = [{"role": "system", "content": f"Say {name}."}, {"role": "user", "content": "hi"}]
    with pytest.raises(ValueError, match="in the text before the artwork") as caught:
        model(**text_rows(model, processor, conversations=[talk]))
    assert name in str(caught.value)


def test_grpo_at_a_temperature_that_provokes_them_runs_to_its_end(bundled, tmp_path):
    """huggingface/trl#3847; among others because a policy that is trained on one may want it ever more."""
    model, processor = load_model("tiny"), load_processor("tiny")
    art = ArtConfig(start="noise")
    preprocessor = use_processor(model, processor)
    rows = [{"prompt": row["prompt"]} for row in families.rows(8)]
    said, image = [], model.config.image_token_id

    def reward(completion_ids, **_):
        said.extend(completion_ids)
        return [float(len(set(ids))) for ids in completion_ids]

    trainer = GRPOTrainer(
        model=model,
        reward_funcs=reward,
        args=GRPOConfig(
            output_dir=str(tmp_path),
            max_steps=3,
            per_device_train_batch_size=16,
            num_generations=8,
            max_completion_length=48,
            temperature=8.0,
            learning_rate=0.02,
            adam_epsilon=1e-16,
            beta=0.04,
            report_to="none",
            save_strategy="no",
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
        ),
        train_dataset=place_dataset(Dataset.from_list(rows), art.block(preprocessor)),
        processing_class=processor.tokenizer,
        peft_config=art,
    )
    start = trainer.model.get_artwork_image()
    generate, given = trainer._generate_single_turn, []

    def with_a_stray(*args, **kwargs):
        """Every fourth completion gets a picture token, as one of an engine may."""
        ids, *rest = generate(*args, **kwargs)
        for number, completion in enumerate(ids):
            assert image not in completion
            if number % 4 == 0 and len(completion) > 2:
                completion[1] = image
                given.append(number)
        return (ids, *rest)

    trainer._generate_single_turn = with_a_stray
    trainer.train()
    assert trainer.state.global_step == 3
    assert len(given) >= 3
    assert any(image in ids for ids in said)
    assert (trainer.model.get_artwork_image() != start).any()
