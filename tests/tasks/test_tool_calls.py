"""Calls written between tags, as Qwen3.5 writes them. Those in JSON: test_calls.py."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixeltune.tasks import calls
from pixeltune.tasks.tool_calls import parse, right_arguments, same

ARGUMENTS = {"city": "Oslo", "days": 3, "exact": True, "tags": ["a", "b"], "note": "3"}


def tagged(name: str, arguments: dict[str, str]) -> str:
    lines = [f"<parameter={key}>\n{value}\n</parameter>" for key, value in arguments.items()]
    return "\n".join(["<tool_call>", f"<function={name}>", *lines, "</function>", "</tool_call>"])


def rendered(arguments: dict) -> str:
    """As the released template of Qwen3.5 renders a call in the conversation so far."""
    from pixeltune.torchvision_cpu import declare_operators

    declare_operators()
    from transformers.utils.chat_template_utils import render_jinja_template
    from trl.chat_template_utils import qwen3_5_nothink_chat_template

    call = {"type": "function", "function": {"name": "forecast", "arguments": arguments}}
    messages = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
    ]
    return render_jinja_template([messages], chat_template=qwen3_5_nothink_chat_template)[0][0]


def test_what_the_models_own_template_writes_is_read():
    (call,) = parse(rendered(ARGUMENTS))
    assert call["name"] == "forecast"
    assert right_arguments(call, {"name": "forecast", "arguments": ARGUMENTS}) == 1.0
    wanted = {"call": json.dumps({"name": "forecast", "arguments": ARGUMENTS})}
    assert calls.score(wanted, rendered(ARGUMENTS)) == 1.0
    assert calls.score(wanted, rendered(ARGUMENTS | {"days": 4})) == 0.0
    assert calls.grade(wanted, rendered(ARGUMENTS | {"days": 4})) == pytest.approx(0.9)


def test_the_type_is_that_of_what_is_wanted():
    (call,) = parse(tagged("f", {"a": "5"}))
    assert same(call["arguments"]["a"], 5)
    assert same(call["arguments"]["a"], "5")
    assert not same(call["arguments"]["a"], "6")
    assert not same(call["arguments"]["a"], True)
    assert not same(call["arguments"]["a"], [5])


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call><function=f></tool_call>",
        "<tool_call><function=f> x </function></tool_call>",
        "<tool_call><function=f><parameter=a>1</function></tool_call>",
        "<tool_call><function=f><parameter=a>1</parameter><parameter=a>2</parameter></function></tool_call>",
        "<tool_call><function=f></function> and then some</tool_call>",
        "<tool_call><function=f",
    ],
)
def test_what_cannot_be_read_is_no_call(text):
    assert parse(text) is None


def test_several_calls_and_none():
    both = tagged("f", {}) + '\n<tool_call>\n{"name": "g", "arguments": {}}\n</tool_call>'
    assert parse(both) == [{"name": "f", "arguments": {}}, {"name": "g", "arguments": {}}]
    assert parse("<function=f></function>") == []


@given(st.text(alphabet="<>/=\n ab", max_size=200), st.sampled_from(["", "<tool_call><function=f>"]))
def test_garbage_raises_nothing(text, start):
    assert isinstance(parse(start + text), list | None)
