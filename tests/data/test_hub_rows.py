"""Rows on the hub: read through `datasets` from a stand-in for it, from the cache without it, or refused in seconds."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

from pixeltune.data.hub import HubName, parse_name
from pixeltune.data.sources import HUB, find
from pixeltune.errors import UserError

COMMIT = "a" * 40
CARD = """---
configs:
- {config_name: main, data_files: [{split: train, path: train.jsonl}, {split: test, path: test.jsonl}]}
- {config_name: other, data_files: other.jsonl}
---
"""
TRAIN = [{"question": f"{number} + 1 = ?", "answer": str(number + 1)} for number in range(30)]
REPOSITORIES = {
    "rows": {
        "README.md": CARD.encode(),
        "train.jsonl": b"".join(json.dumps(row).encode() + b"\n" for row in TRAIN),
        "test.jsonl": b'{"question": "a", "answer": "b"}\n',
        "other.jsonl": b'{"question": "a", "answer": "b"}\n',
        "rows.md": b"",
    },
    "plain": {"data.csv": b"prompt,completion\na,b\n"},
    "large": {"train.jsonl": b"{}\n"},
    "broken": {"train.jsonl": b'{"prompt": \n'},
    "pictures": {"a.png": b"\x89PNG", "b.png": b"\x89PNG"},
}
"""Files by repository of ``owner``."""


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub as `datasets` asks of it for a few small files."""

    def do_GET(self) -> None:
        _, *parts = unquote(urlparse(self.path).path).split("/")
        api = parts[0] == "api"
        files = REPOSITORIES.get(parts[3 if api else 2]) if len(parts) > 3 else None
        if files is None:
            return self.answer(404, b"", code="GatedRepo" if parts[3:4] == ["gated"] else "RepoNotFound")
        if not api:  # /datasets/owner/name/resolve/revision/file
            data = files.get("/".join(parts[5:]))
            return self.answer(404, b"", code="EntryNotFound") if data is None else self.answer(200, data)
        sizes = {name: len(data) for name, data in files.items()}
        if parts[3] == "large":
            sizes = dict.fromkeys(sizes, 5 << 30)
        if parts[4:5] == ["tree"]:
            found = [{"type": "file", "path": n, "size": s, "oid": "0" * 40} for n, s in sizes.items()]
        else:
            siblings = [{"rfilename": name, "size": size} for name, size in sizes.items()]
            found = {"id": f"owner/{parts[3]}", "sha": COMMIT, "siblings": siblings}
        return self.answer(200, json.dumps(found).encode())

    do_HEAD = do_GET

    def answer(self, status: int, body: bytes, code: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


NOBODY = "http://127.0.0.1:9"
READ = """
import json, sys
from pixeltune.data.rows import read_rows as read
from pixeltune.errors import UserError
for name in json.loads(sys.argv[1]):
    try:
        rows = read(name, names=[] if "plain" in name else ["prompt=question", "completion=answer"])
        print(json.dumps([rows.notes, rows, rows[-1].where]))
    except UserError as error:
        print(json.dumps(str(error)))
"""


def ask(home: Path, at: str, *names: str, offline: str = "0") -> list:
    """What reading some names gives, or says, in a session of its own: addresses are read when libraries load."""
    env = {**os.environ, "HF_ENDPOINT": at, "HF_HOME": str(home), "HF_HUB_OFFLINE": offline}
    command = [sys.executable, "-c", READ, json.dumps(names)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_rows_of_the_hub_and_then_of_its_cache(hub, tmp_path):
    main, part, plain = ask(tmp_path, hub, "owner/rows:main", "owner/rows:main:train[:5]", "owner/plain")
    notes, rows, where = main
    assert notes == [
        "owner/rows:main: on the hub, 30 rows with the columns question, answer; prompt is question, "
        "completion is answer"
    ]
    assert [row["prompt"][0]["content"] for row in rows] == [row["question"] for row in TRAIN]
    assert [row["completion"][0]["content"] for row in rows] == [row["answer"] for row in TRAIN]
    assert where == "owner/rows:main, row 30"
    assert part[1] == rows[:5]
    assert plain[1] == [
        {
            "prompt": [{"role": "user", "content": "a"}],
            "completion": [{"role": "assistant", "content": "b"}],
        }
    ]
    for at, offline in ((hub, "1"), (NOBODY, "0")):
        again, test, missing, other = ask(
            tmp_path,
            at,
            *("owner/rows:main", "owner/rows:main:test", "owner/rows:main:dev", "owner/rows:other"),
            offline=offline,
        )
        assert again == main
        assert len(test[1]) == 1
        assert "Should be one of ['train', 'test']" in missing
        assert f"it is not in the cache ({tmp_path}" in other


def test_what_the_hub_does_not_give(hub, tmp_path):
    said = {
        "owner/none": f"the hub ({hub}) has none of that name, or it is private",
        "owner/gated": f"accept its terms: do so on {hub}/datasets/owner/gated",
        "owner/rows": "Config name is missing. Please pick one among the available configs: ['main', 'other']",
        "owner/rows:nix": "BuilderConfig 'nix' not found. Available: ['main', 'other']",
        "owner/rows:main:dev": "Should be one of ['train', 'test']: name one, owner/name:config:split",
        "owner/large": "owner/large is 5 GiB, and rows are read whole, up to 2 GiB: keep a part of it",
        "owner/broken": "owner/broken: it cannot be read (",
        "owner/pictures": "its files are of the form imagefolder, and rows are read from parquet, json, csv",
    }
    for name, message in zip(said, ask(tmp_path, hub, *said), strict=True):
        assert isinstance(message, str), name
        assert said[name] in message
        assert "\n" not in message
        assert len(message) < 600


@pytest.mark.parametrize(("offline", "why"), [("1", "HF_HUB_OFFLINE is set"), ("0", "cannot be reached")])
def test_without_a_hub_it_is_said_within_seconds(tmp_path, offline, why):
    began = time.monotonic()
    (message,) = ask(tmp_path, NOBODY, "owner/rows:main:train", offline=offline)
    assert message.startswith("there is no file or folder owner/rows:main:train; as a data set the hub")
    assert why in message
    assert f"it is not in the cache ({tmp_path}/datasets)" in message
    assert time.monotonic() - began < 20  # with the imports


def test_the_command_line_says_it_before_it_imports_torch(tmp_path):
    env = {**os.environ, "HF_ENDPOINT": NOBODY, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    code = (
        "import sys\nfrom pixeltune.cli.main import main\n"
        "status = main(['sft', '--data', 'owner/rows:main:train'])\n"
        "assert not {'torch', 'transformers', 'trl'} & set(sys.modules)\nsys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "HF_HUB_OFFLINE is set" in done.stderr


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("openai/gsm8k", HubName("openai/gsm8k", None, "train")),
        ("openai/gsm8k:main", HubName("openai/gsm8k", "main", "train")),
        ("openai/gsm8k:main:test", HubName("openai/gsm8k", "main", "test")),
        ("a.b/c-d_e::test[10%:20%]", HubName("a.b/c-d_e", None, "test[10%:20%]")),
        ("gsm8k", None),
        ("./rows", None),
        ("../rows", None),
        ("/tmp/rows", None),
        ("a/b/c", None),
        ("a/b:c:d:e", None),
        ("https://a/b", None),
        ("C:\\rows", None),
    ],
)
def test_names(data, name):
    assert parse_name(data) == name


def test_what_is_there_is_no_name_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find("owner/rows").form == HUB
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner" / "rows").write_text('{"prompt": "a", "completion": "b"}')
    assert find("owner/rows").form == "JSONL"
    for name in ("owner/none.jsonl", "owner/none.csv"):
        with pytest.raises(UserError, match=f"there is no file {name}$"):
            find(name)
    with pytest.raises(
        UserError, match="there is no file gsm8k:main; a data set on the hub is owner/name:config:split"
    ):
        find("gsm8k:main")
