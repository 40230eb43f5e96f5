from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixeltune.data.messages import UnusedDataWarning
from pixeltune.data.origin import origin
from pixeltune.data.rows import read_rows as read
from pixeltune.data.turns import each_turn
from pixeltune.errors import UserError

TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}


def write(path, *rows):
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def test_texts_and_messages_become_conversations(tmp_path):
    user, said = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
    path = write(
        tmp_path / "r.jsonl",
        {"prompt": "a", "completion": "b", "extra": 1},
        "",
        {"prompt": [user], "completion": [said], "tools": [TOOL]},
    )
    with pytest.warns(UnusedDataWarning, match="line 1: the column 'extra'"):
        rows = read(path)
    assert rows == [
        {"prompt": [user], "completion": [said], "tools": None},
        {"prompt": [user], "completion": [said], "tools": json.dumps([TOOL])},
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not JSON"),
        ("[1]", "line 2: not an object"),
        ("[" * 100_000, "line 2: not JSON"),
        ({"prompt": "a"}, "line 2: completion must be"),
        ({"completion": "a"}, "line 2: prompt must be"),
        ({"prompt": [], "completion": "b"}, "line 2: prompt must be"),
        ({"prompt": [{"role": "user", "content": [1]}], "completion": "b"}, "line 2: prompt must be"),
        ({"prompt": [{"role": "system", "content": "x"}], "completion": "b"}, "no user message"),
        ({"prompt": "a", "completion": "b", "tools": "{"}, "line 2: tools is no JSON"),
        ({"prompt": "a", "completion": "b", "tools": [1]}, "line 2: tools must be"),
    ],
)
def test_bad_lines_are_named(tmp_path, line, message):
    path = write(tmp_path / "r.jsonl", {"prompt": "a", "completion": "b"}, line)
    with pytest.raises(ValueError, match=message):
        read(path)


def test_files_that_are_none(tmp_path):
    with pytest.raises(ValueError, match="no file"):
        read(tmp_path / "none.jsonl")
    with pytest.raises(ValueError, match="holds no rows"):
        read(write(tmp_path / "empty.jsonl", "\n"))


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_garbage_is_refused_in_one_way(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("garbage") / "r.jsonl"
    path.write_bytes(data)
    with pytest.raises(ValueError):  # noqa: PT011 - which line is wrong depends on the garbage
        read(path)


def test_every_turn_of_the_assistant_is_a_row_of_its_own():
    ask, call, result, answer = (
        {"role": role, "content": text}
        for role, text in [("user", "?"), ("assistant", "call"), ("tool", "1"), ("assistant", "Answer: 1")]
    )
    row = {"prompt": [ask], "completion": [call, result, answer], "tools": "[]"}
    assert each_turn([row]) == [
        {"prompt": [ask], "completion": [call], "tools": "[]"},
        {"prompt": [ask, call, result], "completion": [answer], "tools": "[]"},
    ]
    single = {"prompt": [ask], "completion": [answer]}
    assert each_turn([single]) == [single]


CASES = Path(__file__).parents[1] / "fixtures" / "cases" / "rows"
USER, SAID = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
OTHER = {"role": "assistant", "content": "c"}


def test_calls_in_completions_and_in_history_are_kept():
    (row,) = read(CASES / "rows.jsonl")
    (call,) = row["completion"][0]["tool_calls"]
    assert call["function"] == {"name": "get_weather", "arguments": {"city": "Oslo"}}
    (row,) = read(CASES / "tool-history.jsonl")
    assert row["prompt"][1]["tool_calls"][0]["function"] == {"name": "f", "arguments": {}}
    assert row["prompt"][2] == {"role": "tool", "tool_call_id": "1", "name": "f", "content": "4"}
    (row,) = read(CASES / "null-content.jsonl")
    assert row["completion"][0]["content"] == ""
    assert row["completion"][0]["tool_calls"][0]["function"] == {"name": "f", "arguments": {}}


def test_what_is_not_used_is_named_once_with_its_first_line(tmp_path):
    odd = {"role": "user", "content": "a", "eot": True, "weight": None}
    path = write(
        tmp_path / "r.jsonl",
        {"prompt": "a", "completion": "b", "note": None},
        {"prompt": [odd], "completion": "b", "note": "x"},
        {"prompt": [odd, odd], "completion": [SAID, USER], "note": "x"},
    )
    with pytest.warns(UnusedDataWarning) as said:
        rows = read(path)
    texts = sorted(str(one.message).replace(str(path), "F") for one in said)
    assert len(texts) == 3
    assert texts[0].startswith("F, line 2: prompt, message 1: the field 'eot'")
    assert "here and 2 times more" in texts[0]
    assert texts[1].startswith("F, line 2: the column 'note' is not used")
    assert texts[2].startswith("F, line 3: what comes behind the assistant's last message")
    assert rows[1]["prompt"][0]["eot"] is True
    assert "weight" not in rows[1]["prompt"][0]


def test_rewards_get_all_other_columns_without_a_word(tmp_path, recwarn):
    path = write(tmp_path / "r.jsonl", {"prompt": "a", "answer": 3, "box": [1, 2]})
    assert read(path, ("prompt",)) == [{"prompt": [USER], "answer": 3, "box": [1, 2]}]
    assert not recwarn.list
    with pytest.warns(UnusedDataWarning, match="'box'"):
        assert read(path, ("prompt",), keep=False) == [{"prompt": [USER]}]


def test_rows_remember_their_lines(tmp_path):
    path = write(tmp_path / "r.jsonl", "", {"prompt": "a", "completion": "b"})
    (row,) = read(path)
    assert origin(row, 0) == f"{path}, line 2"
    assert origin({"id": "seal-7"}, 0) == "row seal-7"
    assert origin({}, 0) == "row 1"


SFT, DPO, KTO = ("prompt", "completion"), ("prompt", "chosen", "rejected"), ("prompt", "completion", "label")
SYSTEM, TOOL_SAID = {"role": "system", "content": "s"}, {"role": "tool", "content": "4"}


@pytest.mark.parametrize(
    ("columns", "line", "row"),
    [
        (SFT, {"messages": [SYSTEM, USER, SAID]}, {"prompt": [SYSTEM, USER], "completion": [SAID]}),
        (SFT, {"messages": [USER, SAID, USER, OTHER]}, {"prompt": [USER], "completion": [SAID, USER, OTHER]}),
        (
            KTO,
            {"messages": [USER, SAID, USER, OTHER], "label": False},
            {"prompt": [USER, SAID, USER], "completion": [OTHER], "label": False},
        ),
        (("prompt",), {"messages": [SYSTEM, USER], "n": 3}, {"prompt": [SYSTEM, USER], "n": 3}),
        (DPO, {"chosen": [USER, SAID], "rejected": [USER, OTHER]}, None),
        (DPO, {"prompt": "a", "chosen": [USER, SAID], "rejected": [USER, OTHER]}, None),
        (DPO, {"prompt": [USER], "chosen": "b", "rejected": [OTHER]}, None),
        (DPO, {"prompt": "a", "chosen": "b", "rejected": [{**OTHER, "content": ""}]}, "empty"),
        (DPO, {"prompt": "a", "chosen": "b", "rejected": ""}, "empty"),
        (
            KTO,
            {"prompt": "a", "completion": "", "label": False},
            {"prompt": [USER], "completion": [{**OTHER, "content": ""}], "label": False},
        ),
    ],
)
def test_other_ways_to_write_a_row(tmp_path, recwarn, columns, line, row):
    if row is None or row == "empty":
        bad = {**OTHER, "content": ""} if row else OTHER
        row = {"prompt": [USER], "chosen": [SAID], "rejected": [bad]}
    assert read(write(tmp_path / "r.jsonl", line), columns) == [row]
    assert not recwarn.list


CALLED = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "g", "arguments": {}}}]}


def test_functions_of_older_logs_become_tools(tmp_path, recwarn):
    functions = [TOOL["function"]]
    for form in (functions, json.dumps(functions)):
        line = {"prompt": "a", "completion": "b", "functions": form}
        (row,) = read(write(tmp_path / "r.jsonl", line))
        assert json.loads(row["tools"]) == [TOOL]
        assert row.keys() == {"prompt", "completion", "tools"}
    (row,) = read(tmp_path / "r.jsonl", ("prompt",))
    assert json.loads(row["tools"]) == [TOOL]
    assert row["functions"] == json.dumps(functions)
    assert not recwarn.list
    with pytest.warns(UnusedDataWarning, match="the column 'functions' is not used"):
        read(write(tmp_path / "r.jsonl", {"prompt": "a", "completion": "b", "functions": ["f"]}))


def test_calls_of_tools_that_are_not_there_are_named_once(tmp_path):
    path = write(
        tmp_path / "r.jsonl",
        {"prompt": "a", "completion": [CALLED]},
        {"prompt": [USER, CALLED, {"role": "tool", "content": "4"}], "completion": "b"},
        {"prompt": "a", "completion": [CALLED], "tools": [TOOL]},
        {"prompt": "a", "completion": "b", "tools": [TOOL]},
    )
    with pytest.warns(UnusedDataWarning) as said:
        read(path)
    texts = [str(one.message).replace(str(path), "F") for one in said]
    assert len(texts) == 2
    assert texts[0].startswith("F, line 1: tools are called, and the row has no column tools")
    assert texts[0].endswith("(here and 1 times more)")
    assert texts[1] == "F, line 3: the tool 'g' is called, and the row's tools do not name it"


@pytest.mark.parametrize(
    ("columns", "line", "message"),
    [
        (SFT, {"prompt": "a", "completion": " \n"}, "completion must be .* white space alone"),
        (SFT, {"prompt": "\u3000", "completion": "b"}, "prompt must be .* white space alone"),
        (SFT, {"prompt": "a", "completion": [{**SAID, "content": " "}]}, "must say something"),
        (SFT, {"prompt": "a", "completion": 12}, r"it is a number \(12\)"),
        (SFT, {"prompt": "a", "completion": None}, "it is null"),
        (SFT, {"prompt": [["a"]], "completion": "b"}, "message 1 is a list"),
        (DPO, {"prompt": "a", "chosen": " ", "rejected": "b"}, "chosen must be .* white space alone"),
        (DPO, {"prompt": "a", "chosen": "b", "rejected": " "}, "rejected must be .* white space alone"),
        (
            DPO,
            {"prompt": "a", "chosen": "b", "rejected": [{**SAID, "content": " "}]},
            "message 1 of rejected is white space alone",
        ),
        (KTO, {"prompt": "a", "completion": [{**SAID, "content": " "}], "label": False}, "white space alone"),
        (DPO, {"prompt": "a", "chosen": "b", "rejected": [SAID]}, "chosen and rejected are the same"),
        (DPO, {"chosen": [USER, SAID], "rejected": [USER, SAID]}, "chosen and rejected are the same"),
        (
            DPO,
            {"chosen": [USER, SAID], "rejected": [{**USER, "content": "x"}, OTHER]},
            "differ, in message 1",
        ),
        (
            DPO,
            {"chosen": [SYSTEM, USER, SAID], "rejected": [SYSTEM, {**USER, "content": "x"}, OTHER]},
            "differ, in message 2",
        ),
        (
            DPO,
            {"prompt": "q", "chosen": [USER, SAID], "rejected": [USER, OTHER]},
            "chosen begins with another prompt than the row's",
        ),
        (
            SFT,
            {"instruction": "a", "answer": "b"},
            "prompt must be there; columns found: answer, instruction",
        ),
        (SFT, {"prompt": "a", "text": "b"}, "found: prompt, text; expected: .*completion"),
        (
            ("prompt", "completion"),
            {"messages": [USER]},
            "messages must be a conversation in which the assistant says something",
        ),
        (SFT, {"prompt": "a", "completion": ""}, "completion must be .* empty"),
        (SFT, {"prompt": "a", "completion": [{**SAID, "content": ""}]}, "message 1 is empty"),
        (SFT, {"prompt": "a", "completion": [SAID, USER, {**SAID, "content": []}]}, "message 3 is empty"),
        (SFT, {"prompt": "a", "completion": [USER]}, "must have a message of the assistant"),
        (SFT, {"messages": [USER]}, "assistant says something"),
        (SFT, {"messages": "a"}, "messages must be"),
        (SFT, {"messages": 4}, "messages must be"),
        (SFT, {"messages": [SAID]}, "prompt must be"),
        (DPO, {"prompt": "a", "chosen": [TOOL_SAID, OTHER], "rejected": "b"}, "earlier turns into the"),
        (DPO, {"prompt": "a", "chosen": [{**SAID, "content": ""}], "rejected": "b"}, "must say something"),
        (KTO, {"prompt": "a", "completion": "b", "label": 1}, r"label must be .* a number \(1\)"),
        (KTO, {"prompt": "a", "completion": [USER, OTHER], "label": True}, "earlier turns"),
        (SFT, {"prompt": "a", "completion": "b", "tools": [{"function": "f"}]}, "tools must be"),
        (SFT, {"prompt": "a", "completion": "b", "tools": [{"name": "f"}]}, "tools must be"),
        (SFT, {"prompt": "a", "completion": "b", "tools": {"f": 1}}, "tools must be"),
        (SFT, {"prompt": "a", "completion": "b", "tools": 4}, "tools must be"),
        (SFT, {"prompt": "a", "completion": "b", "tools": True}, "tools must be"),
    ],
)
def test_rows_that_lack_something_are_refused_with_what_is_wanted(tmp_path, columns, line, message):
    path = write(tmp_path / "r.jsonl", line)
    with pytest.raises(UserError, match=f"line 1: .*{message}|line 1: {message}"):
        read(path, columns)


TOLD = {"role": "tool", "content": "4"}
CALL = {"role": "assistant", "content": "call"}


@pytest.mark.parametrize(
    ("columns", "line", "row"),
    [
        (
            DPO,
            {"prompt": [USER], "chosen": [CALL, TOLD, SAID], "rejected": [CALL, TOLD, OTHER]},
            {"prompt": [USER, CALL, TOLD], "chosen": [SAID], "rejected": [OTHER]},
        ),
        (
            DPO,
            {"chosen": [USER, CALL, TOLD, SAID, TOLD, SAID], "rejected": [USER, CALL, TOLD, OTHER]},
            {"prompt": [USER, CALL, TOLD], "chosen": [SAID, TOLD, SAID], "rejected": [OTHER]},
        ),
        (  # the same call with other results: what is said of them is told apart from its turn on
            DPO,
            {"chosen": [USER, CALL, TOLD, SAID], "rejected": [USER, CALL, {**TOLD, "content": "5"}, OTHER]},
            {
                "prompt": [USER],
                "chosen": [CALL, TOLD, SAID],
                "rejected": [CALL, {**TOLD, "content": "5"}, OTHER],
            },
        ),
        (  # one ends where the other goes on
            DPO,
            {"chosen": [USER, CALL, TOLD, SAID], "rejected": [USER, CALL]},
            {"prompt": [USER], "chosen": [CALL, TOLD, SAID], "rejected": [CALL]},
        ),
        (
            DPO,
            {"prompt": [USER], "chosen": [SAID, USER, SAID], "rejected": "c"},
            {"prompt": [USER], "chosen": [SAID, USER, SAID], "rejected": [OTHER]},
        ),
        (
            KTO,
            {"prompt": [USER], "completion": [CALL, TOLD, SAID], "label": True},
            {"prompt": [USER], "completion": [CALL, TOLD, SAID], "label": True},
        ),
        (  # a label is of all that answers the last question
            KTO,
            {"messages": [USER, SAID, USER, CALL, TOLD, SAID], "label": False},
            {"prompt": [USER, SAID, USER], "completion": [CALL, TOLD, SAID], "label": False},
        ),
    ],
)
def test_answers_of_several_turns(tmp_path, columns, line, row):
    assert read(write(tmp_path / "r.jsonl", line), columns) == [row]


def test_what_differs_behind_the_last_word_alone_is_nothing_to_prefer(tmp_path):
    line = {"prompt": "a", "chosen": [CALL, TOLD], "rejected": [CALL, {**TOLD, "content": "5"}]}
    with pytest.raises(UserError, match="chosen and rejected are the same"):
        read(write(tmp_path / "r.jsonl", line), DPO)
