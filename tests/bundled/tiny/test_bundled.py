"""The bundled model is what docs/design/tiny.md says: small, stock, able, and badly behaved unless told."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.tiny_card import board_colours, tile_colours
from pixeltune.bundled import tiny
from pixeltune.bundled.tiny import architecture, behaviours, pictures
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.scoring import score_rows
from pixeltune.model.loading import load_model, load_processor
from pixeltune.tasks.synthetic import calls, sums, turns


@pytest.fixture(scope="module")
def stock(bundled):
    return load_model("tiny"), load_processor("tiny")


def test_it_is_small_and_stock(stock):
    model, processor = stock
    assert type(model).__name__ == "Qwen3VLForConditionalGeneration"
    assert type(processor).__name__ == "Qwen3VLProcessor"
    assert sum(p.numel() for p in model.parameters()) <= 8_000_000
    assert sum(f.stat().st_size for f in tiny.PATH.iterdir()) <= 16_000_000
    assert model.dtype == torch.float32  # in which engines agree
    assert {f.suffix for f in tiny.PATH.iterdir()} <= {".safetensors", ".json", ".jinja"}


def test_its_pictures_have_the_real_familys_geometry(stock):
    images = stock[1].image_processor
    assert (images.patch_size, images.merge_size, images.size["shortest_edge"]) == (16, 2, 65_536)
    assert list(images.image_mean) == list(images.image_std) == [0.5, 0.5, 0.5]
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8))
    assert images(images=[noise], return_tensors="pt")["image_grid_thw"].tolist() == [[1, 16, 16]]


def test_digits_stand_alone_and_special_tokens_are_one_token(stock):
    tokenizer = stock[1].tokenizer
    assert tokenizer.tokenize("4711") == list("4711")
    for text in architecture.SPECIAL + architecture.MARKS:
        assert len(tokenizer(text)["input_ids"]) == 1
    for text in ("Ünïcödé 漢字 🙂\n\t x", "\\boxed{12}"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_the_template_renders_tools_calls_and_results(stock):
    properties = {"person": {"type": "string"}, "note": {"enum": ["short", "long"]}}
    parameters = {"type": "object", "properties": properties, "required": ["person"]}
    dial = {"name": "dial", "description": "Call a person", "parameters": parameters}
    tools = [{"type": "function", "function": f} for f in (dial, {"name": "wait"})]
    call = {"type": "function", "function": {"name": "dial", "arguments": {"person": "Emma"}}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Call Emma."}]},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": '{"line": 4}'},
    ]
    text = stock[1].apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=True)
    assert text.startswith(
        "<|im_start|>system\nBe brief.\n\n# Tools\n<tools>\n"
        "dial(person: string, note: any): Call a person\nwait(): \n</tools><|im_end|>\n"
    )
    assert "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Call Emma.<|im_end|>\n" in text
    assert calls.render({"name": "dial", "arguments": {"person": "Emma"}}) in text
    assert text.endswith('<tool_response>\n{"line": 4}\n</tool_response><|im_end|>\n<|im_start|>assistant\n')


@pytest.mark.parametrize(
    ("task", "told", "untold"),
    [(sums.TASK, 0.9, 0.4), (calls.TASK, 0.9, 0.3), (turns.TASK, 0.9, 0.3)],
)
def test_able_when_told_and_badly_behaved_when_not(stock, task, told, untold):
    rows = task.rows("test", 100, seed=3)
    assert score_rows(task, rows, InProcess(*stock), task.instruction).score >= told
    assert score_rows(task, rows, InProcess(*stock)).score <= untold


@pytest.mark.parametrize("how", ["words", "card"])
def test_words_and_cards_steer_equally(stock, how):
    rng, eyes, right, n = random.Random(4), np.random.default_rng(4), 0, 0
    for method in ("worked", "guessed"):
        for ending in ("answer", "sentence"):
            for tone in ("terse", "chatty"):
                told = {"method": method, "ending": ending, "tone": tone}
                picture = Image.fromarray(pictures.card(told, eyes)) if how == "card" else None
                instruction = behaviours.instruct(told, rng) if how == "words" else ""
                result = score_rows(
                    sums.TASK, sums.rows("test", 10, seed=n), InProcess(*stock, picture), instruction
                )
                shown = [behaviours.shown(record["completions"][0]) for record in result.records]
                right, n = right + sum(told.items() <= s.items() for s in shown), n + 10
    assert right / n >= 0.9


def test_it_sees_the_colour_of_the_only_tile(stock):
    assert tile_colours(*stock, rounds=1, seed=5)["score"] >= 0.95


def test_it_sees_tile_colours(stock):
    assert board_colours(*stock, boards=20, seed=5)["score"] >= 0.95
