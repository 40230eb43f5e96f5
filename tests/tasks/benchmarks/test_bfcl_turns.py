"""BFCL's conversations of several turns."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pixeltune.tasks.benchmarks import bfcl, bfcl_turns
from pixeltune.tasks.parsing.tool_calls import parse, render

FIXTURES = Path(__file__).parents[2] / "fixtures" / "bfcl"
FIXED = bfcl.rows("test", folder=FIXTURES)


def row(identity: str) -> dict:
    """A row of the fixtures."""
    return next(row for row in FIXED if row["id"] == identity)


def said(row: dict) -> list[str]:
    return [turn["content"] for turn in row["completion"] if turn["role"] == "assistant"]


def tagged(name: str, **arguments: str) -> str:
    lines = [f"<parameter={key}>\n{value}\n</parameter>" for key, value in arguments.items()]
    return "\n".join(["<tool_call>", f"<function={name}>", *lines, "</function>", "</tool_call>"])


def play(found: dict, texts: list[str]) -> list[dict]:
    """The conversation as the evaluation plays it."""
    conversation = list(found["prompt"])
    for number in range(1, len(texts) + 1):
        conversation += bfcl.next_turn(found, texts[:number]) or []
    return conversation


def test_a_conversation_goes_on_to_its_end_whatever_was_said():
    found = row("multi_turn_base_1")
    texts = said(found)
    conversation = play(found, texts)
    user = [message["content"] for message in conversation if message["role"] == "user"]
    assert len(user) == len(texts) == 4
    assert user[1].startswith("Go to workspace directory")
    assert conversation[1:4] == [
        {"role": "assistant", "content": texts[0]},
        {"role": "tool", "content": bfcl_turns.RESULT},
        {"role": "user", "content": user[1]},
    ]
    roles = "".join(message["role"][0] for message in conversation)
    assert roles == "uat" + "uatt" + "uatt" + "u"  # the last answer ends it
    assert bfcl.next_turn(found, texts) is None
    garbage = ["<tool_call>{", "No.", "", "?"]
    assert "".join(message["role"][0] for message in play(found, garbage)) == "uauauau"
    assert [m["content"] for m in play(found, garbage) if m["role"] == "user"] == user


def test_every_turn_has_to_match():
    found = row("multi_turn_base_1")
    texts = said(found)
    for place in range(4):
        for wrong in ("", "<tool_call>{", texts[place] * 2, texts[place].replace('"name": "', '"name": "x')):
            changed = [*texts[:place], wrong, *texts[place + 1 :]]
            assert bfcl.score(found, changed) == 0.0
            assert bfcl.grade(found, changed) == 0.75
    assert bfcl.grade(found, texts[:2]) == 0.5
    assert bfcl.score(found, [*texts, texts[0]]) == 0.0
    swapped = render(parse(texts[1])[::-1])
    assert bfcl.grade(found, [texts[0], swapped, *texts[2:]]) == 0.75  # the order counts
    columns = {key: [found[key]] for key in ("group", "functions", "ground_truth")}
    assert bfcl.reward([found["completion"]], **columns) == [1.0]
    assert bfcl.shaped_reward([texts[0]], **columns) == [0.25]


def test_what_is_on_offer_and_what_the_reference_means():
    found = row("multi_turn_base_31")
    names = {tool["function"]["name"] for tool in json.loads(found["tools"])}
    assert {"cd", "mv", "mean"} <= names
    assert "cp" not in names  # it is an excluded function
    last = json.loads(found["ground_truth"])[-1]
    assert last[0] == {"name": "cd", "arguments": {"folder": "Reports"}}  # cd('Reports')
    assert last[2] == {"name": "mean", "arguments": {"numbers": [37]}}  # mean([37])


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ({"a": True}, True),
        ({"a": 1}, False),
        ({"a": "True"}, False),
        ({}, False),
        ({"a": True, "b": 1}, False),
        (None, False),
    ],
)
def test_arguments_of_a_turn(given, right):
    found = row("multi_turn_base_1")
    text = render([{"name": "ls", "arguments": given}])
    assert bfcl.grade(found, [text]) == 0.25 * right


def test_texts_as_in_bfcls_rule_and_numbers_by_value():
    found = row("multi_turn_base_1")
    wanted = [{"lines": 20, "file_name": "log.txt"}, {"lines": 20.0, "file_name": "LOG txt"}]
    for arguments in wanted:
        assert bfcl.grade(found, ["", "", "", render([{"name": "tail", "arguments": arguments}])]) == 0.25
    for arguments in ({"lines": "20", "file_name": "log.txt"}, {"lines": 21, "file_name": "log.txt"}):
        assert bfcl.grade(found, ["", "", "", render([{"name": "tail", "arguments": arguments}])]) == 0.0
    assert (
        bfcl.grade(found, [tagged("ls", a="True"), "", "", tagged("tail", lines="20", file_name="log.txt")])
        == 0.5
    )


def test_a_turn_without_calls(tmp_path):
    folder = Path(shutil.copytree(FIXTURES, tmp_path / "bfcl"))
    first = {"id": "multi_turn_base_1", "ground_truth": [["ls(a=True)"], [], [], []]}
    answers = folder / "possible_answer" / "multi_turn_base.jsonl"
    answers.write_text("\n".join([json.dumps(first), *answers.read_text().splitlines()[1:]]))
    found = bfcl.rows("test", folder=folder, category="multi_turn_base")[0]
    assert "completion" not in found
    assert bfcl.score(found, [render([{"name": "ls", "arguments": {"a": True}}]), "Done.", "", "Yes."]) == 1.0
    assert bfcl.grade(found, [render([{"name": "ls", "arguments": {"a": True}}])] * 4) == 0.25


DOCUMENTS = [{"name": "f", "parameters": {"properties": {"a": {}, "b": {}}}}]


@pytest.mark.parametrize(
    ("source", "arguments"),
    [
        ("f()", {}),
        (" f('x', 2) ", {"a": "x", "b": 2}),
        ("f('x', b=[-1.5, None])", {"a": "x", "b": [-1.5, None]}),
        ("f(b={'k': True})", {"b": {"k": True}}),
    ],
)
def test_calls_of_a_reference(source, arguments):
    assert bfcl_turns.reference([[source]], DOCUMENTS, 1, "") == [[{"name": "f", "arguments": arguments}]]


@pytest.mark.parametrize(
    "source",
    [
        "f",
        "f(",
        "f(x)",
        "f(open('x'))",
        "f(*[1])",
        "f(**{'a': 1})",
        "os.system('x')",
        "f(1, 2, 3)",
        "f(1, a=2)",
        "g()",
        "f({1, 2})",
        "f(b'x')",
        "f('" + "x" * 20_000 + "')",
        "f(" + "[" * 5000,
        "f(" + "-" * 9000 + "1)",
        "f(\0)",
        None,
    ],
)
def test_what_is_no_literal_call_of_a_function_on_offer(source):
    with pytest.raises(ValueError, match=r"here: .* in 'ground_truth'"):
        bfcl_turns.reference([[source]], DOCUMENTS, 1, "here")
