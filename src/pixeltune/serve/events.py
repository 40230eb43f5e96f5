"""Streams of server-sent events, cut between events: a client never gets half of one."""

from __future__ import annotations

import json

MAX_EVENT = 4 * 2**20  # bytes of an event that are held back; a longer one goes out as it comes
ENDS = (b"\n\n", b"\n\r\n", b"\r\r")


class Events:
    """Holds the beginning of an event back until its end has come."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, part: bytes) -> bytes:
        """The whole events that are there now; comments, which keep connections alive, are never held."""
        if not self._held and part.endswith(b"\n\n"):
            return part
        begin = max(0, len(self._held) - 3)  # an end may come in two parts
        part = self._held + part
        cut = max(at + len(end) if (at := part.rfind(end, begin)) >= 0 else 0 for end in ENDS)
        rest = part[cut:]
        if len(rest) > MAX_EVENT or (
            rest.endswith(b"\n") and all(line[:1] in (b":", b"") for line in rest.split(b"\n"))
        ):
            cut, rest = len(part), b""
        self._held = rest
        return part[:cut]

    def finish(self) -> bytes | None:
        """What is left where the stream ends; None: it is the beginning of an event that was cut off."""
        rest, self._held = self._held, b""
        lines = [line for line in rest.splitlines() if line and not line.startswith(b":")]
        data = b"\n".join(line[5:] for line in lines if line.startswith(b"data:")).strip()
        if lines and data != b"[DONE]":
            try:
                json.loads(data)
            except (ValueError, RecursionError):
                return None
        return rest + b"\n\n" if lines else rest
