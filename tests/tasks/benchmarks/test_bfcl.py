"""Scores of BFCL's single turns, and garbage of all kinds. The rule itself: test_bfcl_rules.py."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixeltune.tasks.benchmarks import bfcl
from pixeltune.tasks.parsing.tool_calls import parse, readable, render

FIXTURES = Path(__file__).parents[2] / "fixtures" / "bfcl"
FIXED = bfcl.rows("test", folder=FIXTURES)
FUZZ = 200  # examples for hypothesis, for each category


def row(identity: str) -> dict:
    """A row of the fixtures."""
    return next(row for row in FIXED if row["id"] == identity)


def said(row: dict) -> list[str]:
    return [turn["content"] for turn in row["completion"] if turn["role"] == "assistant"]


def tagged(name: str, **arguments: str) -> str:
    lines = [f"<parameter={key}>\n{value}\n</parameter>" for key, value in arguments.items()]
    return "\n".join(["<tool_call>", f"<function={name}>", *lines, "</function>", "</tool_call>"])


CALL = {"name": "math.factorial", "arguments": {"number": 5}}


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (render([CALL]), 1.0),
        (f"<think>\n5? {render([CALL | {'name': 'f'}])}\n</think>\n\n{render([CALL])}", 1.0),
        (f"<tool_call>{json.dumps(CALL)}", 1.0),
        (tagged("math.factorial", number="5"), 1.0),
        (tagged("math.factorial", number="5.0"), 0.0),
        (tagged("math.factorial", number="five"), 0.0),
        (render([CALL | {"arguments": {"number": "5"}}]), 0.0),
        (render([CALL | {"arguments": '{"number": 5}'}]), 0.0),
        (render([CALL | {"name": "math_factorial"}]), 0.0),
        (render([CALL, CALL]), 0.0),
        (render([CALL]) + "<tool_call>{</tool_call>", 0.0),  # upstream would score the other call
        (json.dumps(CALL), 0.0),
        ("math.factorial(number=5)", 0.0),
        ("120", 0.0),
        ("", 0.0),
    ],
)
def test_one_call(text, right):
    found = row("simple_python_1")
    assert bfcl.score(found, text) == bfcl.score(found, [text]) == bfcl.grade(found, text) == right
    columns = {key: [found[key]] * 2 for key in ("group", "functions", "ground_truth", "turns", "id")}
    completions = [text, [{"role": "assistant", "content": text}]]
    assert bfcl.reward(completions, **columns) == bfcl.shaped_reward(completions, **columns) == [right] * 2
    assert bfcl.next_turn(found, [text]) is None


def test_a_message_without_content_is_no_answer():
    found = row("simple_python_1")
    columns = {key: [found[key]] for key in ("group", "functions", "ground_truth")}
    for message in ([], [{"role": "assistant", "content": None}], [{"role": "assistant"}]):
        assert bfcl.reward([message], **columns) == [0.0]


def test_arguments_between_tags_have_the_types_of_the_document():
    conditions = '[{"field": "age", "operation": ">", "value": "25"}, {"field": "job", "operation": "=", '
    conditions += '"value": "engineer"}]'
    assert bfcl.score(row("simple_python_96"), tagged("database.query", table="User", conditions=conditions))
    # A text stays one, even if it looks like a number; a variable is a text where a list was expected.
    history = {"account": "00125648", "days": "7"}
    balance = {"account": "00125648", "transactions": "[]", "starting_balance": "0"}
    calls = [("bank.get_transaction_history", history), ("bank.calculate_balance", balance)]
    texts = "\n".join(tagged(name, **arguments) for name, arguments in calls)
    assert bfcl.score(row("parallel_multiple_26"), texts) == 1.0
    assert bfcl.score(row("parallel_multiple_26"), texts.replace("00125648", "125648")) == 0.0
    load = {"file_path": "dataset.csv"}
    fit = {"x": "data['sales']", "y": "data['future_sales']", "return_residuals": "True"}
    texts = tagged("data_loading", **load) + tagged("linear_regression_fit", **fit)
    assert bfcl.score(row("parallel_multiple_21"), texts) == 1.0
    assert bfcl.score(row("parallel_multiple_21"), texts.replace("True", "1")) == 0.0


def test_calls_in_any_order():
    found = row("parallel_1")
    calls = parse(said(found)[0])
    assert bfcl.score(found, render(calls[::-1])) == 1.0
    assert bfcl.score(found, render(calls[:1] * 2)) == 0.0
    assert bfcl.score(found, render(calls[:1])) == 0.0


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("None of the functions solves equations.", 1.0),
        ("", 1.0),
        (render([{"name": "math.sum", "arguments": {"numbers": [1, 2, 3]}}]), 0.0),
        (render([{"name": "anything", "arguments": {}}]), 0.0),
        (tagged("math.sum", numbers="[1]"), 0.0),
        ("math.sum(numbers=[1, 2, 3])", 1.0),
        ("<tool_call>\n{\n</tool_call>", 1.0),  # upstream: what does not decode calls nothing
        ("<tool_call>\n{\n</tool_call>\n" + render([{"name": "math.sum", "arguments": {}}]), 0.0),
        (render([{"name": "math.sum", "arguments": "all"}]), 1.0),
        (render([{"name": "math.sum"}]), 1.0),
        (f"<think>{render([CALL])}</think>No function fits.", 1.0),
    ],
)
def test_irrelevance_is_right_when_nothing_is_called(text, right):
    assert bfcl.score(row("irrelevance_1"), text) == right
    assert bfcl.reward([text], group=["irrelevance"], functions=["[]"], ground_truth=["[]"]) == [right]


PIECES = st.sampled_from(
    [
        "<tool_call>",
        "</tool_call>",
        "</think>",
        "<function=",
        "math.factorial",
        ">",
        "<parameter=number>",
        "</parameter>",
        "</function>",
        '{"name": "',
        '"math.sum"',
        '", "arguments": ',
        '{"number": ',
        "}",
        "[",
        "{",
        "null",
        "NaN",
        "1e999",
        "\n",
    ]
)


@pytest.mark.parametrize("category", bfcl.CATEGORIES)
def test_garbage_raises_nothing_and_earns_nothing(category):
    rows = [row for row in FIXED if row["group"] == category]

    @settings(max_examples=FUZZ, deadline=None)
    @given(st.sampled_from(rows), st.lists(PIECES | st.text(max_size=5), max_size=30).map("".join))
    def fuzz(row: dict, text: str) -> None:
        calls = any(isinstance(call["arguments"], dict) for call in readable(text))
        right = float(category == bfcl.IRRELEVANCE and not calls)
        assert bfcl.score(row, text) == bfcl.score(row, [text]) == bfcl.grade(row, text) == right
        assert (bfcl.next_turn(row, [text]) is None) == (category != bfcl.MULTI_TURN)

    fuzz()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=3), inside, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("category", bfcl.CATEGORIES)
def test_any_arguments_of_the_right_function_raise_nothing(category):
    rows = [row for row in FIXED if row["group"] == category]

    @settings(max_examples=FUZZ, deadline=None)
    @given(st.sampled_from(rows), st.data())
    def fuzz(row: dict, data: st.DataObject) -> None:
        calls = []
        for tool in json.loads(row["tools"])[:3]:
            names = st.sampled_from([*tool["function"]["parameters"]["properties"], "x"])
            arguments = data.draw(st.dictionaries(names, JSON, max_size=6) | JSON)
            calls.append({"name": tool["function"]["name"], "arguments": arguments})
        assert bfcl.score(row, render(calls)) in (0.0, 1.0)
        written = (
            {key: json.dumps(one) for key, one in arguments.items()} if isinstance(arguments, dict) else {}
        )
        text = "".join(f"<parameter={key}>{value}</parameter>" for key, value in written.items())
        name = calls[-1]["name"]
        assert bfcl.score(row, f"<tool_call><function={name}>{text}</function></tool_call>") in (0.0, 1.0)

    fuzz()


@pytest.mark.parametrize(
    "value",
    [
        "[" * 100_000,
        "[" * 500 + "]" * 500,
        '{"a":' * 300 + "1" + "}" * 300,
        "9" * 5000,
        "9" * 4000,
        "1e999",
        "NaN",
    ],
)
def test_hostile_values(value):
    text = '<tool_call>{"name": "%s", "arguments": {"%s": ' + value + "}}</tool_call>"
    begin = time.process_time()
    for identity, name, parameter in [
        ("simple_python_1", "math.factorial", "number"),
        ("simple_python_89", "db_fetch_records", "conditions"),
        ("multi_turn_base_1", "ls", "a"),
    ]:
        assert bfcl.score(row(identity), text % (name, parameter)) == 0.0
        assert bfcl.score(row(identity), tagged(name, **{parameter: value})) == 0.0
    assert time.process_time() - begin < 5
