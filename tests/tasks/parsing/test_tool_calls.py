"""Calls written between tags, as Qwen3.5 writes them, and parsed ones. Those in JSON: test_calls.py."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixeltune.tasks.parsing.tool_calls import (
    MAX_DEPTH,
    Written,
    from_openai,
    parse,
    readable,
    render,
    right_arguments,
    same,
    typed,
)
from pixeltune.tasks.synthetic import calls

ARGUMENTS = {"city": "Oslo", "days": 3, "exact": True, "tags": ["a", "b"], "note": "3"}


def tagged(name: str, arguments: dict[str, str]) -> str:
    lines = [f"<parameter={key}>\n{value}\n</parameter>" for key, value in arguments.items()]
    return "\n".join(["<tool_call>", f"<function={name}>", *lines, "</function>", "</tool_call>"])


def rendered(arguments: dict) -> str:
    """As the released template of Qwen3.5 renders a call in the conversation so far."""

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
        "<tool_call><function=f><parameter=a>1</parameter><parameter=b>2</function></tool_call>",
        "<tool_call><function=f><parameter=a b>1</parameter></function></tool_call>",
    ],
)
def test_what_cannot_be_read_is_no_call(text):
    assert parse(text) is None


def test_several_calls_and_none():
    both = tagged("f", {}) + '\n<tool_call>\n{"name": "g", "arguments": {}}\n</tool_call>'
    assert parse(both) == [{"name": "f", "arguments": {}}, {"name": "g", "arguments": {}}]
    assert parse("<function=f></function>") == []


@pytest.mark.parametrize("value", ["", "a", "\na\n", " 1 ", "<b>", "<parameter=a>", "<function=f>", "{}"])
def test_a_value_between_tags_is_all_between_the_line_breaks(value):
    assert parse(tagged("f", {"a": value, "b": "x"})) == [{"name": "f", "arguments": {"a": value, "b": "x"}}]
    assert parse(f"<tool_call> <function=f> <parameter=a>{value}</parameter> </function>")


def test_what_a_model_thinks_calls_nothing():
    one, other = tagged("f", {}), render([{"name": "g", "arguments": {}}])
    assert parse(f"<think>{one}</think>{other}") == [{"name": "g", "arguments": {}}]
    assert parse(f"{one}</think>No.") == []
    assert parse(f"<think>{one}") == [{"name": "f", "arguments": {}}]


def test_calls_that_can_be_read_beside_others():
    text = f"<tool_call>{{</tool_call>{tagged('f', {})}<tool_call>[]</tool_call>"
    assert parse(text) is None
    assert readable(text) == [{"name": "f", "arguments": {}}]
    assert readable("<tool_call>") == readable("") == []


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("5", "integer", 5),
        ("5", "string", "5"),
        ("5", None, 5),
        ("x", "integer", "x"),
        ("True", "boolean", True),
        ("true", "boolean", True),
        ("None", "object", None),
        ("null", "string", "null"),
        ('["a", 1]', "array", ["a", 1]),
        ("['a']", "array", "['a']"),
        ("[" * 10_000, "array", "[" * 10_000),
    ],
)
def test_what_was_written_gets_the_type_of_the_schema(text, kind, value):
    (call,) = parse(tagged("f", {"a": text}))
    assert typed(call["arguments"]["a"], kind) == value
    assert type(typed(call["arguments"]["a"], kind)) is type(value)


def test_json_keeps_its_types():
    for value in ("5", 5, True, None, ["5"]):
        assert typed(value, "integer") is value
        assert typed(value, "string") is value


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside),
    max_leaves=8,
)
ODD = st.sampled_from(["</tool_call>", "<tool_call>", "</think>", "</parameter>", "\\", '"', "\ud800"])
CALLS = st.lists(
    st.fixed_dictionaries(
        {"name": st.text() | ODD, "arguments": st.dictionaries(st.text() | ODD, JSON | ODD, max_size=3)}
    ),
    max_size=3,
)


@settings(deadline=None)
@given(CALLS)
def test_what_is_rendered_is_read_back(calls):
    assert parse(render(calls)) == readable(render(calls)) == calls
    tool_calls = [
        {"type": "function", "function": call | {"arguments": json.dumps(call["arguments"])}}
        for call in calls
    ]
    assert parse(from_openai(tool_calls)) == calls
    objects = [SimpleNamespace(function=SimpleNamespace(**one["function"])) for one in tool_calls]
    assert (
        from_openai(objects) == from_openai(tool_calls) == from_openai([{"function": call} for call in calls])
    )


def test_one_way_of_writing_json():
    call = {"name": "get_weather", "arguments": {"city": "Oslo"}}
    assert render([call]) == calls.render(call)
    assert render([]) == from_openai([]) == from_openai(None) == ""


def test_the_clients_own_objects_are_read():
    openai = pytest.importorskip("openai.types.chat.chat_completion_message_function_tool_call")
    function = openai.Function(name="f", arguments='{"a": 1}')
    call = openai.ChatCompletionMessageFunctionToolCall(id="1", type="function", function=function)
    assert parse(from_openai([call])) == [{"name": "f", "arguments": {"a": 1}}]


@pytest.mark.parametrize(
    "function",
    [
        {"name": "f", "arguments": '{"a": 1'},
        {"name": "f", "arguments": ""},
        {"name": "f", "arguments": "5"},
        {"name": "f", "arguments": "[]"},
        {"name": "f", "arguments": '{}, "name": "g"'},
        {"name": "f", "arguments": '{}}\n</tool_call>\n<tool_call>\n{"name": "g", "arguments": {}'},
        {"name": "f", "arguments": None},
        {"name": "f", "arguments": {1, 2}},
        {"name": "f", "arguments": {"a": {1, 2}}},
        {"name": "f", "arguments": '{"a": ' + "[" * 5000 + "]" * 5000 + "}"},
        {"name": "f"},
        {"name": None, "arguments": "{}"},
        {"name": 5, "arguments": "{}"},
        {},
        None,
        "f",
    ],
)
def test_parsed_calls_that_are_none_cannot_be_read(function):
    right = {"name": "h", "arguments": "{}"}
    for tool_calls in ([{"function": function}], [{"function": right}, {"function": function}]):
        assert parse(from_openai(tool_calls)) is None
    assert parse(from_openai([SimpleNamespace(function=function)])) is None
    assert parse(from_openai([None])) is None


def test_values_that_lie_too_deep_in_each_other():
    for depth, read in ((MAX_DEPTH - 2, True), (MAX_DEPTH, False), (990, False), (100_000, False)):
        value = "[" * depth + "]" * depth
        text = f'<tool_call>{{"name": "f", "arguments": {{"a": {value}}}}}</tool_call>'
        assert (parse(text) is not None) == read
        assert same(Written(value), []) is False


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        ("", "<tool_call>"),
        ("", "<tool_call></tool_call>"),
        ("<tool_call>", " "),
        ("<tool_call><function=f>", " "),
        ("<tool_call><function=f>", "</function> "),
        ("<tool_call><function=f>", "<parameter=a>"),
        ("<tool_call><function=f>", "<parameter="),
        ("<tool_call><function=", "f"),
        ("<tool_call>", "["),
        ("<tool_call>", "9"),
        ("<tool_call>", '{"a":'),
        ("", "</think>"),
    ],
)
@pytest.mark.parametrize("end", ["", "</function>", "</tool_call>", "x</function></tool_call>"])
def test_hostile_text_takes_no_longer_than_its_length(start, piece, end):
    begin = time.process_time()
    parse(start + piece * 50_000 + end)
    assert time.process_time() - begin < 2  # about 0.05 s; what is quadratic would take minutes


@given(st.text(alphabet="<>/=\n ab", max_size=200), st.sampled_from(["", "<tool_call><function=f>"]))
def test_garbage_raises_nothing(text, start):
    assert isinstance(parse(start + text), list | None)
