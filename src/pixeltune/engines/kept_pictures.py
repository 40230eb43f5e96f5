"""Pictures that an engine keeps: vLLM knows one again by a name beside it, and then needs only the name."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

REMEMBERED = 4096  # pictures an engine is thought to hold in its cache
MISSES = (400, 422, 500)
"""Statuses that may mean a name whose picture is gone, by vLLM's front or by its core; or anything else."""


def keeps_pictures(models: Iterable[Mapping[str, Any]]) -> bool:
    """Whether an engine that lists these models keeps pictures by name: only vLLM does."""
    return any(entry.get("owned_by") == "vllm" for entry in models)


def kept_name(url: bytes) -> str:
    """What a picture is called in an engine's cache: with a prefix, so that it is no client's own name.

    Args:
        url: the picture as a `data:` URL. Its pixels alone would not tell a grey square from a grey strip.
    """
    return f"pixeltune-{hashlib.sha256(url).hexdigest()}"


def name_part(part: dict[str, Any], name: str, *, with_bytes: bool) -> None:
    """Name the picture of an image part, in place; without its bytes the engine is to take it from its cache."""
    part["uuid"] = name
    if not with_bytes:
        part["image_url"] = None


class KeptPictures:
    """Names of the pictures that one engine was sent, and so may have. Thread-safe."""

    def __init__(self) -> None:
        self._names: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def holds(self, name: str) -> bool:
        """Whether the engine was sent this picture, and so may have it in its cache."""
        with self._lock:
            if name in self._names:
                self._names.move_to_end(name)
            return name in self._names

    def remember(self, name: str) -> None:
        """The engine has this picture now."""
        with self._lock:
            self._names[name] = None
            if len(self._names) > REMEMBERED:
                self._names.popitem(last=False)

    def forget(self, name: str) -> None:
        """The engine does not have this picture any more."""
        with self._lock:
            self._names.pop(name, None)

    def clear(self) -> None:
        """The engine may have restarted, with an empty cache."""
        with self._lock:
            self._names.clear()
