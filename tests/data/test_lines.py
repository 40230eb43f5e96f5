"""JSONL files as people have them: other encodings, other formats, JSON that means two things."""

from __future__ import annotations

import gzip
import json

import pytest

from pixeltune.data.messages import Unused
from pixeltune.data.sources import find
from pixeltune.errors import UserError

ROW = {"prompt": "é\u2028x", "completion": "b"}


def lines(path, data: bytes):
    path.write_bytes(data)
    return list(find(path).records(Unused()))


@pytest.mark.parametrize("escaped", [True, False])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n \n"])
def test_marks_and_line_ends_of_other_systems_are_read(tmp_path, mark, end, escaped):
    line = json.dumps(ROW, ensure_ascii=escaped).encode()
    read = lines(tmp_path / "r.jsonl", mark + line + end + line)
    assert [row for _, row in read] == [ROW, ROW]
    assert read[0][0] == f"{tmp_path / 'r.jsonl'}, line 1"
    assert read[1][0].endswith(f"line {1 + end.count(10)}")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("r.jsonl", json.dumps(ROW).encode("utf-16"), "UTF-16.*iconv"),
        ("r.jsonl", b"\xfe\xff\x00{", "UTF-16"),
        ("r.jsonl", '{"prompt": "é"}'.encode("latin-1"), "line 1: not UTF-8"),
        ("r.jsonl.gz", gzip.compress(b"{}", mtime=0), "gzip"),
        ("r.xlsx", b"PK\x03\x04....", "ZIP"),
        ("r.csv", b"PK\x03\x04\x00\x00,prompt", "ZIP"),
        ("r.csv", "prompt,completion\né,b\n".encode("utf-16"), "UTF-16.*iconv"),
        ("r.txt", b"Hello, world\n", "each line must be one whole object$"),
        ("r.json", b'{\n  "prompt": "a"\n}', "line 1: not JSON.*one whole object"),
        ("r.jsonl", b'{"prompt": "a"}{"prompt": "b"}', "line 1: not JSON"),
        ("r.jsonl", b'{}\n[{"prompt": "a"}]', "line 2: not an object.*a list"),
        ("r.jsonl", b'{"a": 1}\n{"a": "' + b"x" * (4 << 20) + b'"}', "line 2: longer than 4 MiB"),
        ("r.jsonl", b'{}\n{"prompt": "a", "prompt": "b"}', "line 2.*'prompt' stands twice"),
        ("r.jsonl", b'{"tools": [{"x": {"a": 1, "a": 1}}]}', "'a' stands twice"),
        ("r.jsonl", b'{"score": NaN}', "NaN"),
        ("r.jsonl", b'{"prompt": "\\ud800"}', "surrogate"),
        ("r.jsonl", b'{"a": ' + b"[" * 100_000, "line 1: not JSON"),
    ],
    ids=range(17),
)
def test_other_files_are_refused_with_a_remedy(tmp_path, name, data, message):
    with pytest.raises(UserError, match=f"(?s){message}") as refusal:
        lines(tmp_path / name, data)
    assert str(tmp_path / name) in str(refusal.value)


def test_whole_surrogate_pairs_are_text(tmp_path):
    assert lines(tmp_path / "r.jsonl", b'{"prompt": "\\ud83d\\ude00"}')[0][1] == {"prompt": "\U0001f600"}


def test_a_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="is a folder"):
        find(tmp_path)
