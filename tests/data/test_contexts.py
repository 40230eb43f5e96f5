"""What may stand in front of rows: files of it, and which row gets which."""

from __future__ import annotations

import json

import pytest

from pixeltune.data import contexts
from pixeltune.data.contexts import Context, alone, as_rows, behind, read_contexts, write_contexts
from pixeltune.data.messages import UnusedDataWarning
from pixeltune.data.origin import Row
from pixeltune.errors import UserError


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def said(text: str) -> dict:
    return {"role": "assistant", "content": text}


def system(text: str) -> dict:
    return {"role": "system", "content": text}


CALL = {"type": "function", "function": {"name": "look", "arguments": {}}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": "4"}
CHAT = Context([user("Hi."), said("Hello!")], "chat", "talks.jsonl, line 1")
TOLD = Context([system("Be kind.")], "told", "talks.jsonl, line 2")


def file_of(folder, *lines) -> str:
    path = folder / "talks.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def test_a_file_is_read_and_written_the_same(tmp_path):
    given = [
        {"messages": [system("s"), user("Hi."), said("Hello!")], "kind": "chat"},
        {"messages": [system("s")], "kind": "told"},
        {"messages": [user("?"), CALLING, RESULT, said("Four.")]},
    ]
    found = read_contexts(file_of(tmp_path, *given))
    assert [one.kind for one in found] == ["chat", "told", "context"]
    assert found[0].messages == given[0]["messages"]
    assert found[2].messages[1] == {"role": "assistant", "content": "", "tool_calls": [CALL]}
    assert found[1].where.endswith("talks.jsonl, line 2")
    write_contexts(tmp_path / "again.jsonl", found)
    again = read_contexts(tmp_path / "again.jsonl")
    assert [(one.messages, one.kind) for one in again] == [(one.messages, one.kind) for one in found]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"messages": "Hi."}, "messages must be a list, and is a text"),
        ({"messages": []}, "messages must be a list, and is a list, empty"),
        ({"prompt": "Hi."}, "messages must be a list, and is null"),
        ({"messages": [{"content": "a"}]}, "message 1 has no role"),
        ({"messages": [said("a")], "kind": 3}, "kind must be a text of one line"),
        ({"messages": [said("a")], "kind": "x" * 61}, "at most 60 characters"),
        ({"messages": [said("a")], "kind": "a\nb"}, "kind must be a text of one line"),
        ({"messages": [user("a"), system("b"), said("c")]}, "message 2 is a system message: it stands first"),
        ({"messages": [user("a")]}, "ends with what user says, and a user's turn follows"),
        ({"messages": [user("a"), CALLING, RESULT]}, "ends with what tool says"),
        ({"messages": [user("a"), CALLING]}, "ends with a call"),
    ],
)
def test_what_is_no_context_is_refused_with_its_line(tmp_path, line, message):
    path = file_of(tmp_path, {"messages": [said("a")]}, line)
    with pytest.raises(UserError, match=message) as caught:
        read_contexts(path)
    assert f"{path}, line 2: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_are_bounded(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="there is no file of contexts nowhere"):
        read_contexts("nowhere.jsonl")
    with pytest.raises(UserError, match="holds no contexts"):
        read_contexts(file_of(tmp_path))
    path = file_of(tmp_path, *[{"messages": [said("a")]}] * 3)
    monkeypatch.setattr(contexts, "MAX_CONTEXTS", 2)
    with pytest.raises(UserError, match="more than 2 contexts"):
        read_contexts(path)
    monkeypatch.setattr(contexts, "MAX_BYTES", 20)
    with pytest.raises(UserError, match="larger than 0 MiB"):
        read_contexts(path)


def test_other_fields_are_named_once(tmp_path):
    path = file_of(tmp_path, *[{"messages": [said("a")], "tools": []}] * 2)
    with pytest.warns(
        UnusedDataWarning, match="line 1: the field 'tools' of a context is not used.*1 times more"
    ):
        read_contexts(path)


def test_a_row_stands_behind_its_context_and_system_messages_become_one():
    row = Row(prompt=[system("Add."), user("1 + 1?")], completion=[said("2")], answer=2)
    row.where = "rows.jsonl, line 7"
    (made,) = behind([row], [CHAT], 1, 0)
    assert made == {**row, "prompt": [system("Add."), *CHAT.messages, user("1 + 1?")]}
    assert (made.kind, made.where) == ("chat", "talks.jsonl, line 1, in front of rows.jsonl, line 7")
    assert alone(made) is row
    assert alone(row) is row
    (made,) = behind([row], [TOLD], 1, 0)
    assert made["prompt"] == [system("Be kind.\n\nAdd."), user("1 + 1?")]


def test_each_row_gets_one_or_none_by_the_seed_whatever_comes_after_it():
    rows = [{"prompt": [user(f"{i} + 1?")]} for i in range(400)]
    drawn = behind(rows, [CHAT, TOLD], 0.25, 3)
    assert drawn == behind(rows, [CHAT, TOLD], 0.25, 3)
    assert drawn[:10] == behind(rows[:10], [CHAT, TOLD], 0.25, 3)
    assert drawn != behind(rows, [CHAT, TOLD], 0.25, 4)
    kinds = [row.kind for row in drawn]
    assert 70 < len(kinds) - kinds.count(None) < 130  # 100 on average, four standard deviations around
    assert 30 < kinds.count("chat") < 70
    assert [row["prompt"] for row in drawn if row.kind is None] == [
        row["prompt"] for row, kind in zip(rows, kinds, strict=True) if kind is None
    ]
    assert None not in [row.kind for row in behind(rows, [CHAT, TOLD], 1, 3)]


def test_the_question_itself_is_no_context_where_there_are_others():
    asked = {"prompt": [CHAT.messages[0]]}
    for seed in range(20):
        assert behind([asked], [CHAT, TOLD], 1, seed)[0].kind == "told"
    assert behind([asked], [CHAT], 1, 0)[0].kind == "chat"


def test_a_prompt_that_another_begins_is_refused():
    row = {"id": "r1", "prompt": [system("s"), said("How can I help?"), user("1 + 1?")]}
    with pytest.raises(UserError, match="row r1: its prompt begins with what assistant says"):
        behind([row], [CHAT], 0.001, 0)


def test_as_rows_a_user_speaks_behind_them():
    (row,) = as_rows([CHAT])
    assert [turn["role"] for turn in row["prompt"]] == ["user", "assistant", "user"]
    assert row.where == CHAT.where
