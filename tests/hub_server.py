"""A stand-in for the Hugging Face hub: its real routes, as the unmodified huggingface_hub asks them, in memory.

What it answers is written from what the client reads and from https://huggingface.co/docs/hub/api; large files go
the way of Git LFS (https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import yaml

OWNER, READER = "hf_owner", "hf_reader"
"""Tokens of the user `me`: one may write, the other only read."""
LARGE = (".png", ".safetensors")  # go by LFS


@dataclass
class Repo:
    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)  # files by commit
    messages: list[str] = field(default_factory=list)
    branches: dict[str, str] = field(default_factory=dict)

    def add(self, files: dict[str, bytes], message: str = "", branch: str = "main") -> str:
        """A commit with all files that there are then."""
        told = repr((len(self.commits), message, sorted(files))).encode()
        sha = hashlib.sha1(told).hexdigest()
        self.commits[sha], self.branches[branch] = files, sha
        self.messages.append(message)
        return sha

    def at(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.branches.get(revision)


class StandInHub:
    """`repos` by name, `collections` by slug, and in `asked` every request."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.collections: dict[str, list[tuple[str, str]]] = {}
        self.blobs: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.status = 0  # with which it answers everything; 0: as it should
        self.silent = threading.Event()  # set: it takes requests and does not answer
        self.url = ""

    def repo(self, name: str, files: dict[str, bytes] | None = None, **facts: bool) -> Repo:
        """A new repository that holds what the hub lays into it, and the files."""
        self.repos[name] = repo = Repo(**facts)
        repo.add({".gitattributes": b"*.png filter=lfs\n", **(files or {})}, "initial commit")
        return repo

    @contextmanager
    def running(self) -> Iterator[StandInHub]:
        handler = type("Handler", (_Handler,), {"hub": self})
        with _Server(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self.url = f"http://127.0.0.1:{server.server_port}"
            yield self
            self.silent.clear()
            server.shutdown()

    def used_here(self, patch: pytest.MonkeyPatch, folder: Path, token: str | None = OWNER) -> None:
        """Let huggingface_hub in this process, and in those that it starts, ask here, with an empty cache."""
        from huggingface_hub import close_session, constants

        close_session()
        told = {"ENDPOINT": self.url, "HUB_CACHE": folder / "hub"}
        for name, value in told.items():
            patch.setenv(f"HF_{name}", str(value))
            patch.setattr(constants, name if name == "ENDPOINT" else f"HF_{name}", str(value))
        template = self.url + "/{repo_id}/resolve/{revision}/{filename}"
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        for name, value in {"OFFLINE": False, "DISABLE_XET": True}.items():
            patch.setenv(f"HF_HUB_{name}", str(int(value)))
            patch.setattr(constants, f"HF_HUB_{name}", value)
        patch.setattr(constants, "HF_TOKEN_PATH", str(folder / "no-token"))
        patch.setenv("HF_TOKEN_PATH", str(folder / "no-token"))
        if token is None:
            patch.delenv("HF_TOKEN", raising=False)
        else:
            patch.setenv("HF_TOKEN", token)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_) -> None:
        """A client that went away says nothing."""


class Refusal(Exception):
    def __init__(self, status: int, code: str = "", words: str = "") -> None:
        self.status, self.code, self.words = status, code, words


class _Handler(BaseHTTPRequestHandler):
    hub: StandInHub
    protocol_version = "HTTP/1.1"

    def _any(self) -> None:
        self.hub.asked.append((self.command, self.path))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        while self.hub.silent.is_set():
            time.sleep(0.02)
        url = urlsplit(self.path)
        try:
            if self.hub.status:
                raise Refusal(self.hub.status)
            for method, pattern, answer in ROUTES:
                if (match := pattern.fullmatch(url.path)) and self.command in method.split():
                    answer(self, body, parse_qs(url.query), *map(unquote, match.groups()))
                    return
            raise Refusal(404)
        except Refusal as refusal:
            said = {"X-Error-Code": refusal.code, "X-Error-Message": refusal.words}
            self._send({"error": refusal.words}, refusal.status, {k: v for k, v in said.items() if v})

    do_GET = do_HEAD = do_POST = do_PUT = _any

    def log_message(self, *_) -> None:
        pass

    def _send(self, what: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = what if isinstance(what, bytes) else json.dumps(what).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _token(self) -> str:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token not in ("", OWNER, READER):
            raise Refusal(401, words="Invalid credentials in Authorization header")
        return token

    def _writes(self) -> None:
        if self._token() != OWNER:
            raise Refusal(403 if self._token() else 401, words="You don't have the required permissions")

    def _repo(self, name: str, revision: str = "main") -> tuple[Repo, str]:
        token, repo = self._token(), self.hub.repos.get(name)
        if repo is None or (repo.private and not token):
            raise Refusal(404 if token else 401, "RepoNotFound", "Repository not found")
        if (sha := repo.at(revision)) is None:
            raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repo, sha

    def whoami(self, body, query) -> None:
        if not self._token():
            raise Refusal(401, words="Invalid username or password.")
        self._send({"type": "user", "name": "me", "fullname": "Me", "orgs": []})

    def create(self, body, query) -> None:
        self._writes()
        asked = json.loads(body)
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        if name in self.hub.repos:
            raise Refusal(409, words="You already created this model repo")
        if not name.startswith("me/"):
            raise Refusal(403, words="You don't have the rights to create a model under this namespace")
        self.hub.repo(name, private=asked.get("private") or asked.get("visibility") == "private")
        self._send({"url": f"{self.hub.url}/{name}", "name": name, "id": name})

    def info(self, body, query, name, revision="main") -> None:
        repo, sha = self._repo(name, revision)
        siblings = [{"rfilename": path, "size": len(data)} for path, data in repo.commits[sha].items()]
        facts = {"private": repo.private, "gated": "auto" if repo.gated else False, "disabled": False}
        self._send(
            {"_id": name, "id": name, "modelId": name, "sha": sha, "siblings": siblings, "tags": [], **facts}
        )

    def branch(self, body, query, name, branch) -> None:
        self._writes()
        repo, sha = self._repo(name)
        if branch in repo.branches:
            raise Refusal(409, words="Reference already exists")
        if branch.startswith("refs/"):
            raise Refusal(400, words="Invalid reference for a branch")
        repo.branches[branch] = sha
        self._send({})

    def validate_yaml(self, body, query) -> None:
        header = re.match(r"---\n(.*?)\n---\n", json.loads(body)["content"], re.S)
        try:
            assert isinstance(yaml.safe_load(header[1]), dict)
        except (TypeError, AssertionError, yaml.YAMLError) as error:
            self._send({"errors": [{"message": repr(error)}]}, 400)
        else:
            self._send({"errors": [], "warnings": []})

    def preupload(self, body, query, name, revision) -> None:
        self._writes()
        repo, sha = self._repo(name, revision)
        files = []
        for asked in json.loads(body)["files"]:
            large, path = asked["path"].endswith(LARGE), asked["path"]
            has = repo.commits[sha].get(path)
            oid = None if has is None else (hashlib.sha256(has).hexdigest() if large else _git_sha(has))
            mode = "lfs" if large else "regular"
            files.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self._send({"files": files})

    def lfs_batch(self, body, query, name) -> None:
        self._writes()
        self._repo(name)
        objects = []
        for one in json.loads(body)["objects"]:
            href = f"{self.hub.url}/lfs/{one['oid']}"
            actions = {} if one["oid"] in self.hub.blobs else {"actions": {"upload": {"href": href}}}
            objects.append({**one, **actions})
        self._send({"transfer": "basic", "objects": objects})

    def lfs_put(self, body, query, oid) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            raise Refusal(400, words="wrong hash")
        self.hub.blobs[oid] = body
        self._send({})

    def commit(self, body, query, name, revision) -> None:
        self._writes()
        repo, sha = self._repo(name, revision)
        files, message = dict(repo.commits[sha]), ""
        for line in body.splitlines():
            key, value = (said := json.loads(line))["key"], said["value"]
            if key == "header":
                message = value["summary"]
                if value.get("parentCommit", sha) != sha:
                    raise Refusal(412, words="A commit has happened since")
            elif key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
            elif key == "deletedFile":
                del files[value["path"]]
        new = repo.add(files, message, revision)
        self._send({"success": True, "commitOid": new, "commitUrl": f"{self.hub.url}/{name}/commit/{new}"})

    def resolve(self, body, query, name, revision, path) -> None:
        repo, sha = self._repo(name, revision)
        if repo.gated:
            raise Refusal(403 if self._token() else 401, "GatedRepo", "Access to this model is restricted")
        if path not in repo.commits[sha]:
            raise Refusal(404, "EntryNotFound", "Entry not found")
        data, told = repo.commits[sha][path], {"X-Repo-Commit": sha}
        if path.endswith(LARGE):
            oid = hashlib.sha256(data).hexdigest()
            self.hub.blobs[oid] = data
            linked = {"X-Linked-Etag": f'"{oid}"', "X-Linked-Size": str(len(data))}
            cdn = self.hub.url.replace("127.0.0.1", "localhost")  # as with the real one another host's
            self._send(b"", 302, {**told, **linked, "Location": f"{cdn}/cdn/{oid}"})
        else:
            self._send(data, headers={**told, "ETag": f'"{_git_sha(data)}"'})

    def cdn(self, body, query, oid) -> None:
        self._send(self.hub.blobs[oid])

    def collection(self, body, query, slug) -> None:
        if slug not in self.hub.collections:
            raise Refusal(404, words="Collection not found")
        items = [
            {"_id": str(at), "id": name, "type": kind, "position": at}
            for at, (kind, name) in enumerate(self.hub.collections[slug])
        ]
        when = "2026-01-02T03:04:05.000Z"
        facts = {"lastUpdated": when, "position": 0, "private": False, "theme": "green", "upvotes": 0}
        self._send({"slug": slug, "title": "Artworks", "owner": {"name": "me"}, "items": items, **facts})


def _git_sha(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


_REPO = r"([^/]+/[^/]+)"
ROUTES = [
    (method, re.compile(pattern), answer)
    for method, pattern, answer in (
        ("GET", r"/api/whoami-v2", _Handler.whoami),
        ("POST", r"/api/repos/create", _Handler.create),
        ("GET", rf"/api/models/{_REPO}", _Handler.info),
        ("GET", rf"/api/models/{_REPO}/revision/([^/]+)", _Handler.info),
        ("POST", rf"/api/models/{_REPO}/branch/([^/]+)", _Handler.branch),
        ("POST", r"/api/validate-yaml", _Handler.validate_yaml),
        ("POST", rf"/api/models/{_REPO}/preupload/([^/]+)", _Handler.preupload),
        ("POST", rf"/{_REPO}\.git/info/lfs/objects/batch", _Handler.lfs_batch),
        ("PUT", r"/lfs/(\w+)", _Handler.lfs_put),
        ("POST", rf"/api/models/{_REPO}/commit/([^/]+)", _Handler.commit),
        ("GET HEAD", rf"/{_REPO}/resolve/([^/]+)/(.+)", _Handler.resolve),
        ("GET HEAD", r"/cdn/(\w+)", _Handler.cdn),
        ("GET", r"/api/collections/(.+)", _Handler.collection),
    )
]
