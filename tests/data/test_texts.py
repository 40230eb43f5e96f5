"""Words of rows and of requests are looked through alike."""

from __future__ import annotations

import pytest

from pixeltune.data.placeholders import check_rows
from pixeltune.data.requests import check_request
from pixeltune.data.texts import texts_in
from pixeltune.errors import UserError

HALVES = [{"type": "text", "text": "<|image"}, {"type": "text", "text": "_pad|>"}]
CALL = {"name": "say", "arguments": '{"text": "\\u003c|image_pad|\\u003e"}'}


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": HALVES},
        {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": CALL}]},
        {"role": "user", "content": "hi", "<|image_pad|>": "a name"},
    ],
)
def test_a_token_in_parts_or_in_arguments_is_found_in_rows_and_in_requests(message):
    with pytest.raises(UserError, match=r"row 1: prompt holds .<\|image_pad"):
        check_rows([{"prompt": [message]}])
    with pytest.raises(UserError, match=r"`messages` holds .<\|image_pad"):
        check_request({"messages": [message]}, "chat/completions")


def test_what_is_no_text_says_nothing_and_depth_is_no_bound():
    deep: list = ["bottom"]
    for _ in range(10_000):
        deep = [deep]
    assert list(texts_in({"a": (1, None, object(), deep)})) == ["a", "bottom"]
