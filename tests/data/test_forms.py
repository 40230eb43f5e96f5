"""Columns of other names, and the forms of ShareGPT and Alpaca, become TRL's rows, with a line that says so."""

from __future__ import annotations

import json

import pandas
import pytest
from datasets import Dataset

from pixeltune.data.forms import read_names
from pixeltune.data.messages import UnusedDataWarning
from pixeltune.data.rows import read_rows as read
from pixeltune.errors import UserError

SFT, DPO, KTO = ("prompt", "completion"), ("prompt", "chosen", "rejected"), ("prompt", "completion", "label")


def jsonl(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def said(question, answer):
    return {
        "prompt": [{"role": "user", "content": question}],
        "completion": [{"role": "assistant", "content": answer}],
    }


def test_columns_of_other_names(tmp_path):
    rows = [{"question": "a", "answer": "b"}, {"question": "c", "answer": "d"}]
    pandas.DataFrame(rows).to_csv(tmp_path / "rows.csv", index=False)
    Dataset.from_list(rows).to_parquet(tmp_path / "rows.parquet")
    names = ["prompt=question", "completion=answer"]
    for path in (jsonl(tmp_path / "rows.jsonl", *rows), tmp_path / "rows.csv", tmp_path / "rows.parquet"):
        found = read(path, names=names)
        assert found == [said("a", "b"), said("c", "d")]
        assert found.notes[0].endswith(
            "2 rows with the columns question, answer; prompt is question, completion is answer"
        )


def test_names_may_change_places(tmp_path, recwarn):
    path = jsonl(tmp_path / "rows.jsonl", {"prompt": "b", "completion": "a"})
    assert read(path, names=["prompt=completion", "completion=prompt"]) == [said("a", "b")]
    assert not recwarn


def test_pairs_labels_tools_and_ids_of_other_names(tmp_path):
    pair = {
        "q": "a",
        "better": "b",
        "worse": "c",
        "functions_on_offer": [{"type": "function", "function": {"name": "f"}}],
    }
    names = ["prompt=q", "chosen=better", "rejected=worse", "tools=functions_on_offer"]
    (row,) = read(jsonl(tmp_path / "pairs.jsonl", pair), DPO, names=names)
    assert row["chosen"][0]["content"] == "b"
    assert json.loads(row["tools"]) == TOOLS
    (tmp_path / "labels.csv").write_text("q,a,good,no\n1,2,TRUE,x\n1,3,false,y\n")
    rows = read(
        tmp_path / "labels.csv", KTO, names=["prompt=q", "completion=a", "label=good", "id=no"], ids=True
    )
    assert [(row["label"], row["id"]) for row in rows] == [(True, "x"), (False, "y")]


def test_a_column_that_gives_way_is_named(tmp_path):
    path = jsonl(tmp_path / "rows.jsonl", {"prompt": "x", "question": "a", "completion": "b"})
    with pytest.warns(
        UnusedDataWarning, match=r"line 1: the column 'prompt' is not used: 'question' stands in"
    ):
        assert read(path, names=["prompt=question"]) == [said("a", "b")]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["prompt"], "--columns prompt: write NAME=COLUMN, as in prompt=question completion=answer"),
        (["=a"], "write NAME=COLUMN"),
        (
            ["promt=a"],
            r"there is no 'promt' \(did you mean prompt\?\); rows have prompt, completion, messages",
        ),
        (["prompt=a", "prompt=b"], "prompt is given twice, a and b"),
    ],
)
def test_names_that_are_none(names, message):
    with pytest.raises(UserError, match=message):
        read_names(names)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["prompt=question"],
            r"rows.jsonl, line 1: there is no column 'question' \(--columns\); .* found: answer, q$",
        ),
        (
            ["prompt=q"],
            "completion must be there; columns found: answer, q; .*, or --columns completion=COLUMN$",
        ),
        ([], "columns found: answer, q; .*, or --columns prompt=COLUMN completion=COLUMN$"),
        (None, '"completion": "answer"}$'),
        (["prompt=q", "completion=answer", "tools=tols"], r"rows.jsonl has no column 'tols' \(--columns\)"),
    ],
)
def test_columns_that_are_not_there(tmp_path, names, message):
    with pytest.raises(UserError, match=message):
        read(jsonl(tmp_path / "rows.jsonl", {"q": "a", "answer": "b"}), names=names)


TURNS = [
    {"from": "system", "value": "s"},
    {"from": "human", "value": "a"},
    {"from": "function_call", "value": '{"name": "f", "arguments": {"x": 1}}'},
    {"from": "observation", "value": "7"},
    {"from": "gpt", "value": "b"},
]
TALK = [
    {"role": "system", "content": "s"},
    {"role": "user", "content": "a"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}],
    },
    {"role": "tool", "content": "7"},
    {"role": "assistant", "content": "b"},
]
TOOLS = [{"type": "function", "function": {"name": "f"}}]


def test_sharegpt_in_every_form(tmp_path):
    rows = [{"conversations": TURNS, "tools": json.dumps(TOOLS)}] * 2
    (tmp_path / "list.json").write_text(json.dumps(rows, indent=1))
    Dataset.from_list(rows).to_parquet(tmp_path / "rows.parquet")
    pandas.DataFrame([{**row, "conversations": json.dumps(TURNS)} for row in rows]).to_csv(
        tmp_path / "rows.csv", index=False
    )
    for path in (
        jsonl(tmp_path / "rows.jsonl", *rows),
        *(tmp_path / name for name in ("list.json", "rows.parquet", "rows.csv")),
    ):
        found = read(path)
        assert found == [{"prompt": TALK[:2], "completion": TALK[2:], "tools": json.dumps(TOOLS)}] * 2, path
        (note,) = found.notes
        assert note.endswith("; ShareGPT's conversations are read as messages")


def test_conversations_with_roles_and_of_one_side(tmp_path):
    mixed = [*TALK[:2], TURNS[-1]]
    assert read(jsonl(tmp_path / "r.jsonl", {"conversations": mixed})) == [
        {"prompt": TALK[:2], "completion": TALK[-1:]}
    ]
    (row,) = read(jsonl(tmp_path / "r.jsonl", {"conversations": TURNS[:2], "answer": 7}), ("prompt",))
    assert row == {"prompt": TALK[:2], "answer": 7}


def test_alpaca(tmp_path):
    rows = [
        {"instruction": "Add.", "input": "2 + 2", "output": "4"},
        {"instruction": "Hi", "input": "", "output": "Ho"},
    ]
    pandas.DataFrame(rows).to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "rows.json").write_text(json.dumps([*rows[:1], {"instruction": "Hi", "output": "Ho"}]))
    for path in (jsonl(tmp_path / "rows.jsonl", *rows), tmp_path / "rows.csv", tmp_path / "rows.json"):
        found = read(path)
        assert found == [said("Add.\n\n2 + 2", "4"), said("Hi", "Ho")]
        assert (
            "Alpaca's instruction and input are read as the prompt, output as the completion"
            in found.notes[0]
        )


def test_what_columns_of_other_names_leave_is_not_converted(tmp_path):
    row = {"instruction": "a", "output": "b", "prompt": "c"}
    with pytest.raises(UserError, match="completion must be there"):
        read(jsonl(tmp_path / "r.jsonl", row))
    with pytest.warns(UnusedDataWarning, match="'instruction' is not used"):
        assert read(jsonl(tmp_path / "r.jsonl", row), names=["completion=output"]) == [said("c", "b")]


@pytest.mark.parametrize(
    ("row", "columns", "message"),
    [
        (
            {"instruction": "a", "output": "b"},
            DPO,
            "chosen must be there; columns found: instruction, output",
        ),
        ({"instruction": 7, "output": "b"}, SFT, "prompt must be there; columns found: instruction, output"),
        ({"conversations": "a"}, SFT, "prompt must be there; columns found: conversations"),
        ({"conversations": []}, SFT, "prompt must be there; columns found: conversations"),
        ({"conversations": TURNS[:2]}, SFT, "messages must be a conversation in which the assistant says"),
        ({"conversations": [*TURNS[:2], {"from": "gpt"}]}, SFT, "message 1 has no content"),
    ],
)
def test_what_cannot_be_converted(tmp_path, row, columns, message):
    with pytest.raises(UserError, match=f"line 1: .*{message}|line 1: {message}") as refusal:
        read(jsonl(tmp_path / "r.jsonl", row), columns)
    assert "python" not in str(refusal.value)
