"""Who may ask: API keys, each with the model names it opens."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pixeltune.errors import UserError

MAX_FILE_BYTES = 2**20


@dataclass(frozen=True)
class Caller:
    """Who sends a request. `models`: names or patterns such as "team-a/*"."""

    name: str
    models: tuple[str, ...]

    def may_use(self, model: str) -> bool:
        """Whether one of the patterns covers a model name."""
        return any(fnmatchcase(model, pattern) for pattern in self.models)

    @property
    def sees_all(self) -> bool:
        """Whether this caller may read what concerns everybody: the metrics."""
        return "*" in self.models


ANYBODY = Caller("anybody", ("*",))


class ApiKeys:
    """The callers of a JSON file: `[{"name": "team-a", "sha256": "...", "models": ["team-a/*", "base"]}]`.

    The file holds no key, only SHA-256 sums of keys (`printf %s "$KEY" | sha256sum`).

    Raises:
        UserError: the file cannot be read or says something else.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._callers: list[tuple[bytes, Caller]] = []
        try:
            with open(path, "rb") as file:
                entries = json.loads(file.read(MAX_FILE_BYTES))
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{path}: cannot read the API keys ({error})") from None
        if not isinstance(entries, list) or not entries:
            raise UserError(f'{path}: must be a list of {{"name", "sha256", "models"}}, at least one')
        for entry in entries:
            if not isinstance(entry, dict) or entry.keys() != {"name", "sha256", "models"}:
                raise UserError(f'{path}: every entry has "name", "sha256" and "models", and nothing else')
            name, digest, models = entry["name"], entry["sha256"], entry["models"]
            if not isinstance(name, str) or not name:
                raise UserError(f"{path}: a name must be a text: {name!r}")
            if not isinstance(models, list) or not all(isinstance(model, str) for model in models):
                raise UserError(f'{path}: "models" of {name!r} must be a list of names or patterns')
            try:
                digest = bytes.fromhex(digest)
            except (TypeError, ValueError):
                digest = b""
            if len(digest) != 32:
                raise UserError(
                    f'{path}: "sha256" of {name!r} must be 64 hex digits: of the key, not the key'
                )
            self._callers.append((digest, Caller(name, tuple(models))))

    def caller(self, authorization: str) -> Caller | None:
        """The owner of a key in an `Authorization: Bearer ...` header; None: nobody.

        Every key is compared, each in constant time, so that the time taken tells nothing.
        """
        scheme, _, key = authorization.partition(" ")
        digest, found = hashlib.sha256(key.strip().encode()).digest(), None
        for known, caller in self._callers:
            if hmac.compare_digest(known, digest):
                found = caller
        return found if scheme.lower() == "bearer" else None
