"""What a message says, and which of its fields reach a chat template."""

from __future__ import annotations

import copy
import json

import pytest

from pixeltune.data.instruction import read_instruction, tell
from pixeltune.data.messages import Unused, join, read_messages, says_nothing, text_of


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


def read(*messages):
    return read_messages(copy.deepcopy(list(messages)), "assistant", "here", Unused())


CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"b": 1, "a": None}}}


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "assistant", "content": "well", "tool_calls": [CALL, CALL], "reasoning_content": "hm"},
        {"role": "tool", "content": "4", "tool_call_id": "1", "name": "f"},
        {"role": "assistant", "content": "b", "reasoning": "r", "thinking": "t", "reasoning_content": ""},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "t"}, {"type": "text", "text": "b"}],
        },
        {"role": "developer", "content": "s"},
        {"role": "assistant", "content": "b", "refusal": "no"},
        {"role": "assistant", "content": "b", "eot": False},
    ],
)
def test_every_field_is_kept(message):
    assert read(message) == [message]


@pytest.mark.parametrize(
    "call",
    [
        {"function": {"name": "f", "arguments": '{"b": 1, "a": null}'}, "type": "function", "id": "1"},
        {**CALL, "index": None},
        CALL,
    ],
)
def test_arguments_become_objects_in_their_order(call):
    for content in ({"content": None}, {"content": ""}, {}):
        (message,) = read({"role": "assistant", **content, "tool_calls": [call], "audio": None})
        assert message == {"role": "assistant", "content": "", "tool_calls": [CALL]}
        assert json.dumps(message["tool_calls"][0]["function"]["arguments"]) == '{"b": 1, "a": null}'


@pytest.mark.parametrize("arguments", ["", " ", None, {}, "{}"])
def test_a_call_without_arguments_has_none(arguments):
    flat = {"name": "f", "arguments": arguments}
    for one in ({"tool_calls": [flat]}, {"tool_calls": [{"function": flat}]}, {"function_call": flat}):
        (message,) = read({"role": "assistant", "content": None, **one})
        assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": {}}


def test_a_refusal_in_place_of_content_is_what_was_said():
    said = {"role": "assistant", "content": "I cannot."}
    assert read({"role": "assistant", "content": None, "refusal": "I cannot."}) == [said]
    part = {"type": "refusal", "refusal": "I cannot."}
    assert text_of(read({"role": "assistant", "content": [part]})[0]["content"]) == "I cannot."


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ({"role": "user", "content": None}, "no content"),
        ({"role": "assistant", "content": None}, "no content"),
        ({"role": "assistant", "tool_calls": []}, "no content"),
        ({"role": "assistant", "content": 4}, "a number"),
        ({"role": "assistant", "content": {"text": "a"}}, "an object"),
        ({"role": "assistant", "tool_calls": {"name": "f"}}, "not a list"),
        ({"role": "assistant", "tool_calls": ["f"]}, "a tool call that is not"),
        ({"role": "assistant", "tool_calls": [{"function": {"name": 1}}]}, "a tool call that is not"),
        ({"role": "assistant", "tool_calls": [{"type": "custom", "custom": {"name": "f"}}]}, "that is not"),
        ({"role": "assistant", "tool_calls": [{"name": "f", "parameters": {}}]}, "arguments"),
        ({"role": "assistant", "tool_calls": [{"name": "f", "arguments": "{"}]}, "arguments are no JSON"),
        ({"role": "assistant", "tool_calls": [{"name": "f", "arguments": "[1]"}]}, "are a list"),
        ({"role": "assistant", "tool_calls": [{"name": "f", "arguments": '{"a":1,"a":2}'}]}, "twice"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}, 'column "images"'),
        ({"role": "user", "content": [{"type": "tool_use"}]}, "tool_use"),
        ({"role": "user", "content": [{"type": "text"}]}, "text part"),
        ({"from": "human", "value": "a"}, '"from"'),
        ({"role": 4, "content": "a"}, "no role"),
        ("a", "message 1 is a text"),
    ],
)
def test_what_cannot_be_a_message_is_refused(message, found):
    with pytest.raises(ValueError, match="here must be a text or a list") as refusal:
        read(message)
    assert found in str(refusal.value)


def test_empty_is_what_a_template_could_write_nothing_of():
    assert says_nothing({"role": "assistant", "content": ""})
    assert says_nothing({"role": "assistant", "content": [{"type": "text", "text": ""}]})
    assert not says_nothing({"role": "assistant", "content": "", "tool_calls": [CALL]})
    assert not says_nothing({"role": "assistant", "content": [{"type": "thinking", "thinking": "t"}]})


def test_contents_are_joined_as_texts_or_as_parts():
    text, parts = {"content": "a"}, {"content": [{"type": "text", "text": "b"}]}
    assert join(text, text) == "a\n\na"
    assert text_of(join(text, parts, text)) == "a\n\nb\n\na"


def test_instructions_keep_calls_and_meet_parts(tmp_path):
    given = [{"role": "system", "content": "s"}, {"role": "assistant", "content": None, "tool_calls": [CALL]}]
    (tmp_path / "told.json").write_text(json.dumps(given))
    told = read_instruction(tmp_path / "told.json")
    assert told[1]["tool_calls"] == [CALL]
    system = {"role": "system", "content": [{"type": "text", "text": "t"}], "name": "n"}
    first, *rest = tell([system, {"role": "user", "content": "a"}], told)
    assert text_of(first["content"]) == "s\n\nt"
    assert first["name"] == "n"
    assert rest == [told[1], {"role": "user", "content": "a"}]
