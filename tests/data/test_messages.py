"""What a message says, and which of its fields reach a chat template."""

from __future__ import annotations

import pytest

from pixeltune.data.messages import text_of


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Answer: 4", "Answer: 4"),
        (None, ""),
        ([], ""),
        ([{"type": "thinking", "thinking": "Answer: 5"}, {"type": "text", "text": "Answer: 4"}], "Answer: 4"),
        (
            [{"type": "reasoning", "text": "Answer: 5"}, {"type": "output_text", "text": "Answer: 4"}],
            "Answer: 4",
        ),
        ([{"type": "text", "text": "Ans"}, {"type": "text", "text": "wer: 4"}], "Answer: 4"),
        ([{"type": "redacted_thinking", "data": "Answer: 5"}, "Answer: 4"], "Answer: 4"),
        ([{"text": "Answer: 4"}], "Answer: 4"),
        ([{"type": "text", "text": None}, {"type": "image_url", "image_url": {"url": "text"}}], ""),
        ([{"type": "text", "text": {"value": "Answer: 4", "annotations": []}}], "Answer: 4"),
    ],
)
def test_the_text_parts_are_what_is_said(content, text):
    assert text_of(content) == text


@pytest.mark.parametrize("content", [4, True, {"type": "text", "text": "4"}, [4], [["4"]]])
def test_what_is_no_content_is_refused(content):
    with pytest.raises(ValueError, match="content"):
        text_of(content)
