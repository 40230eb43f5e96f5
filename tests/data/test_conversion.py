"""JSON that is neither lines nor a list is refused with a command, and what that writes can be read."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from pixeltune.data.rows import read_rows as read
from pixeltune.errors import UserError

ROWS = [{"prompt": "What is 2 + 2?", "completion": 'é "4"'}, {"prompt": "b", "completion": "{\n}\n{"}]


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
        json.dumps({"data": ROWS}),
        json.dumps({"train": ROWS}, indent=4),
        "\n".join(json.dumps(row, indent=2) for row in ROWS),
        "\n\n".join(json.dumps(row, indent=2) for row in ROWS).replace("{\n", '{ "x": 1,\n'),
    ],
)
@pytest.mark.filterwarnings("ignore::pixeltune.data.messages.UnusedDataWarning")
def test_files_that_are_no_jsonl(tmp_path, data):
    rows = [{**row, "tools": None} for row in (said("What is 2 + 2?", 'é "4"'), said("b", "{\n}\n{"))]
    assert converted(tmp_path / "my rows.json", data) == [
        {name: value for name, value in row.items() if value is not None} for row in rows
    ]
