"""Files in other forms are refused with a command, and what that writes can be read."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from pixeltune.data.messages import UnusedDataWarning
from pixeltune.data.rows import read
from pixeltune.errors import UserError

ROWS = [{"prompt": "What is 2 + 2?", "completion": 'é "4"'}, {"prompt": "b", "completion": "{\n}\n{"}]
TURNS = [{"from": "system", "value": "s"}, {"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
TALK = [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}]
SAID = [{"role": "assistant", "content": "b"}]


def said(question, answer):
    return {
        "prompt": [{"role": "user", "content": question}],
        "completion": [{"role": "assistant", "content": answer}],
    }


def converted(path, data, columns=("prompt", "completion")):
    """The rows of a file that is refused, once for every form that it is in."""
    path.write_text(data, encoding="utf-8")
    for _ in range(3):
        try:
            return read(path, columns)
        except UserError as error:
            message = str(error)
        assert str(path) in message
        assert "\n" not in message
        command = sys.executable + message[message.index("python -c") + len("python") :]
        subprocess.run(command, shell=True, check=True)
        before, path = path, path.with_suffix(".rows.jsonl")
        assert before != path
        assert before.read_text(encoding="utf-8")
    pytest.fail(message)


@pytest.mark.parametrize(
    "data",
    [
        json.dumps(ROWS),
        json.dumps(ROWS, indent=1),
        "\ufeff" + json.dumps(ROWS, indent=2, ensure_ascii=False),
        json.dumps({"data": ROWS}),
        json.dumps({"train": ROWS}, indent=4),
        "\n".join(json.dumps(row, indent=2) for row in ROWS),
        "\n\n".join(json.dumps(row, indent=2) for row in ROWS).replace("{\n", '{ "x": 1,\n'),
        'prompt,completion\nWhat is 2 + 2?,"é ""4"""\nb,"{\n}\n{"\n',
        '"completion";"prompt"\r\n"é ""4""";What is 2 + 2?\r\n"{\n}\n{";b\r\n',
        'prompt\tcompletion\nWhat is 2 + 2?\t"é ""4"""\nb\t"{\n}\n{"\n',
    ],
)
@pytest.mark.filterwarnings("ignore::pixeltune.data.messages.UnusedDataWarning")
def test_files_that_are_no_jsonl(tmp_path, data):
    rows = [{**row, "tools": None} for row in (said("What is 2 + 2?", 'é "4"'), said("b", "{\n}\n{"))]
    assert converted(tmp_path / "my rows.json", data) == [
        {name: value for name, value in row.items() if value is not None} for row in rows
    ]


def test_sharegpt(tmp_path):
    tools = [{"type": "function", "function": {"name": "f"}}]
    lines = [{"conversations": TURNS, "tools": tools, "source": "web"}, {"conversations": [*TALK, *SAID]}]
    with pytest.warns(UnusedDataWarning, match="the column 'source' is not used"):
        rows = converted(tmp_path / "r.jsonl", "\n\n".join(map(json.dumps, lines)))
    assert rows == [
        {"prompt": TALK, "completion": SAID, "tools": json.dumps(tools)},
        {"prompt": TALK, "completion": SAID, "tools": None},
    ]
    assert converted(tmp_path / "r.json", json.dumps(lines[1:], indent=1)) == [
        {"prompt": TALK, "completion": SAID}
    ]


def test_alpaca(tmp_path):
    lines = [
        {"instruction": "Add.", "input": "2 + 2", "output": "4"},
        {"instruction": "Hi", "input": "", "output": "Ho"},
        {"instruction": "Hi", "output": "Ho"},
    ]
    rows = converted(tmp_path / "r.jsonl", "\n".join(map(json.dumps, lines)))
    assert rows == [said("Add.\n\n2 + 2", "4"), said("Hi", "Ho"), said("Hi", "Ho")]


def test_pairs_are_not_made_of_single_answers(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps({"instruction": "a", "output": "b"}))
    with pytest.raises(UserError) as refusal:
        read(path, ("prompt", "chosen", "rejected"))
    assert "python" not in str(refusal.value)
