"""Short hashes of rows, by which an evaluation knows what an artwork was painted on."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from pixeltune.data.hashes import prompt_hash, trained, write_trained
from pixeltune.data.rows import read_rows as read

TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"a": 1, "b": 2}}}]
TURNED = [{"function": {"parameters": {"b": 2, "a": 1}, "name": "f"}, "type": "function"}]


def hashes(path, *lines, columns=("prompt", "completion")):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return [prompt_hash(row) for row in read(path, columns)]


def test_rows_that_ask_the_same_have_the_same_hash(tmp_path):
    said = {"role": "assistant", "content": "c"}
    lines = [
        {"prompt": "a", "completion": "b"},
        {"prompt": [{"role": "user", "content": "a"}], "completion": "other"},
        {"messages": [{"role": "user", "content": "a", "name": None}, said]},
        {"prompt": "a", "completion": "b", "tools": TOOLS},
        {"prompt": "a", "completion": "b", "tools": json.dumps(TURNED)},
        {"prompt": "b", "completion": "b"},
    ]
    one, two, three, offered, turned, other = hashes(tmp_path / "rows.jsonl", *lines)
    assert one == two == three
    assert offered == turned
    assert len({one, offered, other}) == 3
    assert hashes(tmp_path / "more.jsonl", {"prompt": "a", "id": 7}, columns=("prompt",)) == [one]


def test_pictures_count_by_what_they_show(tmp_path):
    (tmp_path / "deep").mkdir()
    for name, colour in (("a.png", "red"), ("deep/b.png", "red"), ("c.png", "blue")):
        Image.new("RGB", (8, 8), colour).save(tmp_path / name)
    lines = [
        {"prompt": "a", "completion": "b", "images": [name]} for name in ("a.png", "deep/b.png", "c.png")
    ]
    same, moved, other = hashes(tmp_path / "rows.jsonl", *lines)
    assert same == moved != other


@pytest.mark.parametrize("name", ["", "artwork.png", "checkpoint-2", "snapshots/step-000002.png"])
def test_a_run_says_what_it_was_trained_on(tmp_path, name):
    run = tmp_path / "run"
    for folder in ("snapshots", "checkpoint-2"):
        (run / folder).mkdir(parents=True)
    write_trained(run, ["b" * 16, "a" * 16, "b" * 16])
    assert trained(run / name) == {"a" * 16, "b" * 16}
    assert trained(tmp_path / "moved.png") == frozenset()
