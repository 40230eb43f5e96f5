"""One row as it is trained on."""

from __future__ import annotations

import json
import logging

import pytest
from PIL import Image

import families
from pixeltune.data.images import place_pictures
from pixeltune.data.instruction import tell
from pixeltune.data.placement import place_row
from pixeltune.data.preview import preview
from pixeltune.model.loading import load_processor
from pixeltune.model.preprocessing import Preprocessor
from pixeltune.training.distillation import teacher_rows
from pixeltune.training.objectives import rendered

USER, SAID = {"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "Rain."}
CALL = {**SAID, "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}
TOOLS = json.dumps([{"type": "function", "function": {"name": "f", "parameters": {}}}])
MARK = "[artwork: 64 tokens]"


@pytest.fixture(scope="module", params=["tiny", "gemma3", "idefics3", "glm4v"])
def known(request, bundled):
    processor = load_processor("tiny") if request.param == "tiny" else families.make_processor(request.param)
    preprocessor = Preprocessor(processor)
    size = preprocessor.size_for_tokens(64)
    count = preprocessor.tokens(*size)
    return processor, preprocessor.block(*size), size, f"[artwork: {count} tokens]"


def whole(processor, block, row, name):
    """Token ids that TRL trains on, and how many of them are the prompt's."""
    template, tools = processor.tokenizer.apply_chat_template, json.loads(row.get("tools") or "null")
    ids = template(row["prompt"] + row[name], tools=tools, return_dict=True)["input_ids"]
    asked = template(row["prompt"], tools=tools, add_generation_prompt=True, return_dict=True)["input_ids"]
    return ids, len(asked)


def test_the_artwork_and_what_is_trained_are_marked(known):
    processor, block, _, mark = known
    for answer in (SAID, CALL):
        row = place_row({"prompt": [USER], "completion": [answer], "tools": TOOLS}, block)
        shown = preview(row, processor, block)
        ids, asked = whole(processor, block, row, "completion")
        assert shown.tokens == len(ids)
        prompt, trained = shown.parts
        assert prompt.tokens == asked
        assert trained.tokens == len(ids) - asked
        assert prompt.text.count(mark) == 1
        assert f"{mark}What is it?" in prompt.text.replace("\n\n\n", "")
        assert prompt.text.replace(mark, block) + trained.text == processor.tokenizer.decode(ids)
        assert ("Rain." in trained.text) == (answer is SAID)
        assert ("<tool_call>" in trained.text) == (answer is CALL)
        lines = str(shown).splitlines()
        assert f"--- completion, trained: {trained.tokens} tokens" in lines
        assert f"--- prompt, not trained: {prompt.tokens} tokens" in lines


def test_both_answers_of_a_preference_are_shown(known):
    processor, block, _, _ = known
    row = place_row({"prompt": [USER], "chosen": [SAID], "rejected": [{**SAID, "content": "Snow."}]}, block)
    _, good, bad = preview(row, processor, block).parts
    assert "Rain." in good.text
    assert "Snow." in bad.text
    assert (good.title, bad.title) == ("chosen, trained", "rejected, trained")
    labelled = place_row({"prompt": [USER], "completion": [SAID], "label": False}, block)
    assert preview(labelled, processor, block).parts[1].title == "completion, labelled bad, trained"


def test_prompts_alone_and_a_teachers(known):
    processor, block, _, mark = known
    for tools in (None, TOOLS):
        (row,) = rendered([place_row({"prompt": [USER], "tools": tools}, block)], processor)
        (part,) = preview(row, processor, block).parts
        assert f"{mark}" in part.text
        assert part.tokens == len(processor.tokenizer.apply_chat_template(
            place_row({"prompt": [USER]}, block)["prompt"],
            tools=json.loads(tools or "null"), add_generation_prompt=True, return_dict=True,
        )["input_ids"])  # fmt: skip
    words = [{"role": "system", "content": "Be brief."}]
    (row,) = teacher_rows([{"prompt": [USER]}], words, block, processor)
    student, teacher = preview(row, processor, block).parts
    assert mark in student.text
    assert mark not in teacher.text
    assert "Be brief." in teacher.text
    assert teacher.tokens == len(
        processor.tokenizer.apply_chat_template(
            tell([USER], words), add_generation_prompt=True, return_dict=True
        )["input_ids"]
    )


def test_pictures_of_the_rows_own_come_behind_the_artwork(bundled):
    processor = load_processor("tiny")
    preprocessor = Preprocessor(processor)
    height, width = preprocessor.size_for_tokens(64)
    own = Image.new("RGB", preprocessor.size_for_tokens(100)[::-1])
    row = {"prompt": [USER], "completion": [SAID], "images": [own]}
    (placed,) = place_pictures([row], Image.new("RGB", (width, height)))
    prompt, trained = preview(placed, processor, preprocessor.block(height, width)).parts
    assert f"{MARK}<|vision_start|>[picture: 100 tokens]<|vision_end|>What is it?" in prompt.text
    assert trained.text.startswith("Rain.")
    assert prompt.tokens > 164


def test_a_row_beyond_the_context_brings_no_warning_of_the_tokenizer(caplog):
    processor = load_processor("tiny")
    processor.tokenizer.deprecation_warnings = {}
    block = Preprocessor(processor).block(256, 256)
    long = {"role": "user", "content": "word " * (processor.tokenizer.model_max_length + 1)}
    library = logging.getLogger("transformers")
    library.addHandler(caplog.handler)
    try:
        preview(place_row({"prompt": [long], "completion": [SAID]}, block), processor, block)
    finally:
        library.removeHandler(caplog.handler)
    assert "Token indices" not in caplog.text
