"""A model that is not there: where it was looked for, said within seconds, before torch is imported."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from huggingface_hub import constants

from pixeltune.errors import UserError
from pixeltune.model import finding
from pixeltune.model.finding import find_model

COMMIT = "0" * 40


class Hub(http.server.BaseHTTPRequestHandler):
    """A stand-in for the hub: knows owner/there, owner/gated, owner/broken and owner/processor."""

    answers = {  # noqa: RUF012
        "there": (200, ""),
        "gated": (403, "GatedRepo"),
        "broken": (500, ""),
        "processor": (404, "EntryNotFound"),
    }

    def do_HEAD(self) -> None:
        _, _, name, _, revision, *_ = self.path.split("/")
        status, code = self.answers.get(name, (404, "RepoNotFound"))
        if name == "there" and revision != "main":
            status, code = 404, "RevisionNotFound"
        if name == "slow":
            time.sleep(3)
        self.send_response(status)
        self.send_header("X-Error-Code", code) if code else None
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", "2")
        self.end_headers()

    def log_message(self, *_) -> None:
        pass


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def ask(hub, tmp_path, monkeypatch):
    """`ask(name, ...)` with an empty cache, and the hub at an address."""
    monkeypatch.chdir(tmp_path)

    def ask(name: str, revision: str | None = None, at: str = hub, offline: bool = False):
        finding._on_hub.cache_clear()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        monkeypatch.setattr(constants, "ENDPOINT", at)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", at + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        return find_model(name, revision)

    yield ask
    finding._on_hub.cache_clear()


NOBODY = "http://127.0.0.1:9"


def test_what_is_there_is_found(ask, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    for name in ("tiny", "mine", "./mine", str(tmp_path / "mine")):
        assert ask(name, at=NOBODY) == {}
    assert ask("owner/there") == ask("owner/processor") == {}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("./nowhere", "there is no such folder, and a name on the hub is owner/model"),
        ("../runs/a/b", "there is no such folder"),
        ("~/model", "there is no such folder"),
        ("owner/", "there is no such folder"),
        ("", "there is no such folder|has no config.json"),
        ("models/mnie", r"there is no such folder \(did you mean models/mine\?\)"),
        ("./models/mnie", r"\(did you mean models/mine\?\), and"),
        ("tinny", r"did you mean tiny\?"),
        ("models", "the folder has no config.json, give a folder with a whole model"),
        ("adapter", "it is an adapter's: give its base model"),
        ("models/mine/config.json", "it is a file"),
        (
            "owner/none",
            r"no such folder; the hub \(http://127.0.0.1:\d+\) has no model of that name, or it is",
        ),
        ("nowhere", "has no model of that name"),
        ("owner/gated", "accept its terms"),
        ("owner/broken", "answers 500, and it is not in the cache"),
    ],
)
def test_what_is_not_there_says_where_it_was_looked_for(name, said, ask, tmp_path):
    for folder in ("models/mine", "adapter"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "models" / "mine" / "config.json").write_text("{}")
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match=said) as caught:
        ask(name)
    assert str(caught.value).startswith(f"cannot load {name!r}: ")


def test_a_revision_that_is_not_there(ask):
    with pytest.raises(UserError, match="has the model, but no revision 'v9' of it: check --revision"):
        ask("owner/there", "v9")


def test_no_network(ask):
    with pytest.raises(UserError, match=rf"the hub \({NOBODY}\) cannot be reached \(.*not in the cache"):
        ask("owner/there", at=NOBODY)
    with pytest.raises(UserError, match=r"not asked \(HF_HUB_OFFLINE is set\), and it is not in the cache"):
        ask("owner/there", offline=True)


def test_a_hub_that_hangs_is_not_waited_for(ask, monkeypatch):
    monkeypatch.setattr(finding, "SECONDS", 0.3)
    begin = time.monotonic()
    with pytest.raises(UserError, match=r"cannot be reached \("):
        ask("owner/slow")
    assert time.monotonic() - begin < 2


def test_what_is_in_the_cache_is_loaded_without_the_hub_where_that_is_away(ask, tmp_path):
    folder = tmp_path / "cache" / "models--owner--there"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    (folder / "snapshots" / COMMIT).mkdir(parents=True)
    (folder / "snapshots" / COMMIT / "config.json").write_text("{}")
    alone = {"local_files_only": True}
    assert ask("owner/there") == {}
    assert ask("owner/there", at=NOBODY) == ask("owner/there", offline=True) == alone
    with pytest.raises(UserError, match="not in the cache"):
        ask("owner/there", "v9", at=NOBODY)


@pytest.mark.parametrize("verb", ["sft --task sums", "eval --task sums", "check {art}", "grpo --task sums"])
@pytest.mark.parametrize(
    ("name", "offline", "said"),
    [
        ("./nowhere", "0", "no such folder, and a name on the hub"),
        ("nowhere/nothing", "0", "cannot be reached"),
        ("nowhere", "1", "HF_HUB_OFFLINE is set"),
    ],
)
def test_it_is_one_line_within_ten_seconds(verb, name, offline, said, tmp_path):
    words = [*verb.format(art="a.png").split(), "--model", name]
    known = {**os.environ, "HF_HUB_OFFLINE": offline, "HF_ENDPOINT": NOBODY, "HF_HOME": str(tmp_path)}
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pixeltune.cli.main", *words],
        cwd=tmp_path,
        env=known,
        capture_output=True,
        text=True,
    )
    assert time.monotonic() - begin < 10
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
