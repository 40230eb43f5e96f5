"""The answer to one client: an engine's passed on, or an error, and what is noted of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field

import aiohttp
from starlette.types import Message, Send

from pixeltune.serve.bodies import RequestError
from pixeltune.serve.telemetry import one_line, usage

UNREAD = (401, 408, 413, 415, 429)  # refused perhaps before the body was read: the rest of it is not wanted
MAX_ANSWER = 64 * 2**20  # bytes of an answer that is not a stream

# Of hop-by-hop nature, or written anew here.
NOT_RETURNED = frozenset(
    b"connection keep-alive proxy-authenticate te trailer transfer-encoding upgrade content-length "
    b"content-type content-encoding date server set-cookie x-request-id".split()
)


@dataclass
class Limits:
    """Bounds of what one request may take. Times in seconds."""

    body: int = 32 * 2**20  # bytes
    held: int = 2**30  # bytes of all bodies together
    upload: float = 60.0  # for the whole body of a request
    answer: float = 600.0  # until an engine begins to answer
    pause: float = 120.0  # between two parts of an answer
    reader: float = 60.0  # a client takes no more of its answer


@dataclass
class Note:
    """What is known of a request when it ends: one line of the log."""

    id: str
    path: str
    caller: str = ""
    model: str = ""
    artwork: str = ""
    upstream: str = ""
    size: int = 0  # bytes of the body
    status: int = 0
    first: float | None = None  # seconds to the first byte
    resent: bool = False
    tokens: dict[str, int] = field(default_factory=dict)
    problem: str = ""


class ClientReply:
    """The answer to one client, with a bound on how long it may take to read it."""

    def __init__(self, send: Send, note: Note, patience: float) -> None:
        self._send, self._note, self._patience = send, note, patience
        self._started = False

    async def _out(self, message: Message) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await self._send(message)
        except TimeoutError:
            raise SlowReader from None

    async def error(self, error: RequestError) -> None:
        """Answer with an error, or end a stream that has begun with one."""
        if self._started:
            with contextlib.suppress(SlowReader):
                await self._out(_part(b"data: " + error.body() + b"\n\n", last=True))
            return
        self._note.status, self._started = error.status, True
        body = error.body()
        headers = [(b"retry-after", b"%d" % error.retry_after)] if error.retry_after else []
        if error.status in UNREAD:
            headers.append((b"connection", b"close"))
        if error.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        with contextlib.suppress(SlowReader):
            await self._out(self._start(error.status, b"application/json", headers, len(body)))
            await self._out(_part(body, last=True))

    async def forward(self, answer: aiohttp.ClientResponse, limits: Limits, begin: float) -> None:
        """Pass an engine's answer on: a stream part by part as it comes, anything else whole.

        Raises:
            RequestError: the engine stops in the middle, stalls, or sends more than MAX_ANSWER at once.
        """
        kind = answer.headers.get("Content-Type", "application/octet-stream").encode("latin-1")
        headers = [(n.lower(), value) for n, value in answer.raw_headers if n.lower() not in NOT_RETURNED]
        try:
            if kind.startswith(b"text/event-stream"):
                await self._stream(answer, kind, headers, limits.pause, begin)
            else:
                await self._whole(answer, kind, headers, limits.answer, begin)
        except (aiohttp.ClientError, ConnectionError) as error:
            raise RequestError(
                502, f"the engine broke off ({reason(error)})", code="upstream_broke_off"
            ) from None

    async def _stream(
        self, answer: aiohttp.ClientResponse, kind: bytes, headers: list, pause: float, begin: float
    ) -> None:
        now, tail, reading = asyncio.get_running_loop().time, b"", True
        try:
            # One timer for both sides, put off at most four times per pause: a timer per part costs a fifth
            # of the throughput of streams (benchmarks/gateway.py, profiled with py-spy).
            async with asyncio.timeout(pause) as limit:
                self._note.status, self._started = answer.status, True
                await self._send(self._start(answer.status, kind, headers, None))
                while part := await answer.content.readany():
                    reading = False
                    if self._note.first is None:
                        self._note.first = time.perf_counter() - begin
                    await self._send(_part(part, last=False))
                    tail = tail[-256:] + part  # where a count may stand across two parts
                    if b"_tokens" in tail:
                        self._note.tokens |= usage(tail)
                    reading = True
                    if limit.when() - now() < 0.75 * pause:
                        limit.reschedule(now() + pause)
        except TimeoutError:
            if not reading:
                raise SlowReader from None
            raise RequestError(
                504, f"the engine went silent for {pause:g} s", code="upstream_timeout"
            ) from None
        await self._out(_part(b"", last=True))

    async def _whole(
        self, answer: aiohttp.ClientResponse, kind: bytes, headers: list, patience: float, begin: float
    ) -> None:
        whole, size = [], 0
        try:
            async with asyncio.timeout(patience):
                while part := await answer.content.readany():
                    if self._note.first is None:
                        self._note.first = time.perf_counter() - begin
                    whole.append(part)
                    size += len(part)
                    if size > MAX_ANSWER:
                        message = f"the answer is larger than {MAX_ANSWER:,} bytes"
                        raise RequestError(502, message, code="upstream_garbage")
        except TimeoutError:
            raise RequestError(
                504, f"the engine did not end within {patience:g} s", code="upstream_timeout"
            ) from None
        body = b"".join(whole)
        if answer.status >= 400 and not body.lstrip().startswith(b'{"error"'):
            text = body.decode("utf-8", "replace")[:500].strip() or "no reason given"
            body = RequestError(answer.status, f"the engine says: {text}", code="upstream_error").body()
            kind = b"application/json"
        self._note.status, self._started = answer.status, True
        self._note.tokens = usage(body)
        await self._out(self._start(answer.status, kind, headers, len(body)))
        await self._out(_part(body, last=True))

    def _start(
        self, status: int, kind: bytes, headers: list[tuple[bytes, bytes]], length: int | None
    ) -> Message:
        headers = [*headers, (b"content-type", kind), (b"x-request-id", self._note.id.encode())]
        if length is not None:
            headers.append((b"content-length", b"%d" % length))
        return {"type": "http.response.start", "status": status, "headers": headers}


class SlowReader(Exception):
    """The client takes nothing of its answer."""


def _part(body: bytes, *, last: bool) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": not last}


def reason(error: Exception) -> str:
    """What an exception says, short enough for a client."""
    return one_line(error)[:200]
