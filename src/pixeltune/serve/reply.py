"""The answer to one client: an engine's passed on, or an error, and what is noted of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import zlib
from dataclasses import dataclass, field

import aiohttp
from starlette.types import Message, Send

from pixeltune.serve.bodies import RequestError
from pixeltune.serve.decoding import WINDOWS, Decoder
from pixeltune.serve.events import Events
from pixeltune.serve.telemetry import NOT_KNOWN, one_line, usage

UNREAD = (401, 408, 413, 415, 429)  # refused perhaps before the body was read: the rest of it is not wanted
MAX_ANSWER = 64 * 2**20  # bytes of an answer that is not a stream, decompressed
MAX_ERROR = 2**20  # bytes of an engine's error that is looked into

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
    model: str = NOT_KNOWN  # until it is known that there is such a name
    artwork: str = NOT_KNOWN  # "": the base model is asked for
    upstream: str = ""
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
        self._opaque = False  # compressed in a way that is not known here

    async def _out(self, message: Message) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await self._send(message)
        except TimeoutError:
            raise SlowReader from None

    async def error(self, error: RequestError) -> None:
        """Answer with an error, or end a stream that has begun with one.

        Raises:
            CutOff: the stream is compressed, and nothing can be added to it.
        """
        if self._started and self._opaque:
            raise CutOff
        if self._started:
            with contextlib.suppress(SlowReader):
                # The blank line ends whatever was not ended: the error is an event of its own.
                await self._out(_part(b"\n\ndata: " + error.body() + b"\n\n", last=True))
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
        given = {name.lower(): value for name, value in answer.raw_headers}
        kind = given.get(b"content-type", b"application/octet-stream")
        headers = [(n.lower(), value) for n, value in answer.raw_headers if n.lower() not in NOT_RETURNED]
        coding = ",".join(answer.headers.getall("Content-Encoding", [])).strip().lower()
        decoder = Decoder(coding) if coding in WINDOWS else None
        if coding not in (*WINDOWS, "", "identity"):  # the client may know it
            self._opaque = True
            headers.append((b"content-encoding", coding.encode("utf-8", "surrogateescape")))
        try:
            if kind.lower().startswith(b"text/event-stream") and answer.status < 400:
                await self._stream(answer, kind, headers, decoder, limits.pause, begin)
            else:
                await self._whole(answer, kind, headers, decoder, limits.answer, begin)
        except (aiohttp.ClientError, ConnectionError) as error:
            raise _broke_off(reason(error)) from None
        except zlib.error as error:
            raise RequestError(
                502, f"the answer is not compressed as it says ({reason(error)})", code="upstream_garbage"
            ) from None

    async def _stream(
        self,
        answer: aiohttp.ClientResponse,
        kind: bytes,
        headers: list,
        decoder: Decoder | None,
        pause: float,
        begin: float,
    ) -> None:
        now, tail, reading = asyncio.get_running_loop().time, b"", True
        events = None if self._opaque else Events()
        try:
            # One timer for both sides, put off at most four times per pause: a timer per part costs a fifth
            # of the throughput of streams (benchmarks/gateway.py, profiled with py-spy).
            async with asyncio.timeout(pause) as limit:
                self._note.status, self._started = answer.status, True
                await self._send(self._start(answer.status, kind, headers, None))
                while part := await answer.content.readany():
                    if self._note.first is None:
                        self._note.first = time.perf_counter() - begin
                    for piece in decoder.feed(part) if decoder else (part,):
                        if events is not None:
                            piece = events.feed(piece)
                        if not piece:
                            continue
                        reading = False
                        await self._send(_part(piece, last=False))
                        reading = True
                        tail = tail[-256:] + piece  # where a count may stand across two parts
                        if b"_tokens" in tail:
                            self._note.tokens |= usage(tail)
                    if (limit.when() or 0) - now() < 0.75 * pause:
                        limit.reschedule(now() + pause)
        except TimeoutError:
            if not reading:
                raise SlowReader from None
            raise RequestError(
                504, f"the engine went silent for {pause:g} s", code="upstream_timeout"
            ) from None
        rest = b"" if events is None else events.finish()
        if rest is None:
            raise _broke_off("in the middle of an event")
        if decoder is not None and not decoder.ended:
            raise _broke_off("in the middle of what it compressed")
        await self._out(_part(rest, last=True))

    async def _whole(
        self,
        answer: aiohttp.ClientResponse,
        kind: bytes,
        headers: list,
        decoder: Decoder | None,
        patience: float,
        begin: float,
    ) -> None:
        whole, size = [], 0
        try:
            async with asyncio.timeout(patience):
                while part := await answer.content.readany():
                    if self._note.first is None:
                        self._note.first = time.perf_counter() - begin
                    for piece in decoder.feed(part) if decoder else (part,):
                        whole.append(piece)
                        size += len(piece)
                        if size > MAX_ANSWER:
                            message = f"the answer is larger than {MAX_ANSWER:,} bytes"
                            raise RequestError(502, message, code="upstream_garbage")
        except TimeoutError:
            raise RequestError(
                504, f"the engine did not end within {patience:g} s", code="upstream_timeout"
            ) from None
        if decoder is not None and not decoder.ended:
            raise _broke_off("in the middle of what it compressed")
        body = b"".join(whole)
        if answer.status >= 400 and not self._opaque and (own := _own_words(answer.status, body)):
            body, kind = own, b"application/json"
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


class CutOff(Exception):
    """An answer ends early, and the client can be told only by closing its connection."""


def _part(body: bytes, *, last: bool) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": not last}


def _broke_off(why: str) -> RequestError:
    return RequestError(502, f"the engine broke off ({why})", code="upstream_broke_off")


def _own_words(status: int, body: bytes) -> bytes:
    """An engine's error in OpenAI's shape; b"": it is, however it is printed."""
    plain = body
    if body.lstrip().startswith((b"data:", b"event:")):  # as an event of a stream
        lines = [line.removeprefix(b"data:") for line in body.splitlines() if line.startswith(b"data:")]
        plain = b"\n".join(line for line in lines if line.strip() != b"[DONE]")
    try:
        said = json.loads(plain) if len(plain) <= MAX_ERROR else None
    except (ValueError, RecursionError):
        said = None
    if isinstance(said, list) and said:  # Google's
        said, plain = said[0], b""
    said = said if isinstance(said, dict) else {}
    if isinstance(said.get("error"), dict):
        return b"" if plain is body else json.dumps({"error": said["error"]}).encode()
    # {"error": "..."}; {"object": "error", "message": ..., "code": ...}; {"detail": ...}
    words = next((said[name] for name in ("error", "message", "detail") if said.get(name)), None)
    if not isinstance(words, str):
        words = body[:2000].decode("utf-8", "replace")[:500]
    code, param = said.get("code"), said.get("param")
    return RequestError(
        status,
        f"the engine says: {words[:2000].strip() or 'no reason given'}",
        code=code if isinstance(code, str | int) else "upstream_error",
        param=param if isinstance(param, str) else None,
    ).body()


def reason(error: Exception) -> str:
    """What an exception says, short enough for a client."""
    return one_line(error)[:200]
