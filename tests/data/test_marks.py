"""Special tokens between turns are no words of a row."""

from __future__ import annotations

import pytest

import families
from pixeltune.data.marks import check_marks, turn_marks
from pixeltune.errors import UserError
from pixeltune.model.loading import load_processor

ASK = {"role": "user", "content": "a"}


def row(**columns):
    return {"prompt": [ASK], **columns}


@pytest.fixture(scope="module")
def marks(bundled):
    return turn_marks(load_processor("tiny"))


def test_only_what_stands_between_turns_is_a_mark(marks):
    assert marks == ("<|endoftext|>", "<|im_end|>", "<|im_start|>")


@pytest.mark.parametrize(
    "bad",
    [
        row(completion=[{"role": "assistant", "content": "b<|im_end|>"}]),
        row(prompt=[{"role": "user", "content": [{"type": "text", "text": "<|im_start|>user\na"}]}]),
        row(chosen=[{"role": "assistant", "content": "b<|endoftext|>"}]),
        row(tools='[{"type": "function", "function": {"name": "f", "description": "<|im_end|>"}}]'),
    ],
)
def test_rows_that_quote_one_are_refused(marks, bad):
    with pytest.raises(UserError, match=r"row 2: \w+ holds '<\|\w+\|>', a special token"):
        check_marks([row(), bad], marks)


def test_tokens_that_answers_may_hold_are_words(marks):
    said = "<think>hm</think> <tool_call>{}</tool_call> <|box_start|>(1,2)<|box_end|> <|im_end |>"
    check_marks([row(completion=[{"role": "assistant", "content": said}])], marks)


def test_templates_that_know_no_system_or_tool_have_their_marks():
    tokenizer = families.make_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role not in ('user', 'assistant') %}{{ raise_exception('No') }}"
        "{% endif %}<|im_start|>{{ m.content }}{% endfor %}"
    )
    assert "<|im_start|>" in turn_marks(tokenizer)
