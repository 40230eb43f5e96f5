from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixeltune.data.rows import each_turn, read

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
    assert read(path) == [
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
