"""The way of a request: who asks, for which model, of which engine, with which picture; and back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from starlette.types import Message, Receive, Scope, Send

from pixeltune.artwork import ArtworkError
from pixeltune.serve import bodies
from pixeltune.serve.bodies import RequestError
from pixeltune.serve.keys import ANYBODY, Caller, Keys
from pixeltune.serve.records import Metrics, usage
from pixeltune.serve.shelf import Picture, Shelf
from pixeltune.serve.upstreams import CONNECT_TIMEOUT, GONE, KEEP_ALIVE, NOT_REACHED, Upstream, Upstreams

log = logging.getLogger("pixeltune.serve")

TAKES_ARTWORK = ("chat/completions", "responses")
# Passed on for base models alone. What administers an engine (adapters, sleep, profiles) is not.
PASSED_ON = (
    "completions",
    "embeddings",
    "messages",
    "messages/count_tokens",
    "rerank",
    "score",
    "moderations",
)
MAX_ANSWER = 64 * 2**20  # bytes of an answer that is not a stream

# Of hop-by-hop nature, written anew here, or nobody else's business.
NOT_FORWARDED = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization te trailer transfer-encoding upgrade "
    b"host content-length content-type content-encoding accept-encoding expect cookie x-request-id "
    b"authorization".split()
)
NOT_RETURNED = frozenset(
    b"connection keep-alive proxy-authenticate te trailer transfer-encoding upgrade content-length "
    b"content-type content-encoding date server set-cookie x-request-id".split()
)
REQUEST_ID = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)


@dataclass
class Limits:
    """Bounds of what one request may take. Times in seconds."""

    body: int = 32 * 2**20  # bytes
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
    status: int = 0
    first: float | None = None  # seconds to the first byte
    resent: bool = False
    tokens: dict[str, int] = field(default_factory=dict)
    problem: str = ""


class Gateway:
    """All that requests share. `start` before the first one, `stop` after the last."""

    def __init__(
        self, shelf: Shelf, upstreams: Upstreams, keys: Keys | None = None, limits: Limits | None = None
    ) -> None:
        self.shelf, self.upstreams, self.keys = shelf, upstreams, keys
        self.limits, self.metrics = limits or Limits(), Metrics()
        self.session: aiohttp.ClientSession

    async def start(self) -> None:
        """Open the connection pool. Needs a running loop."""
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
            auto_decompress=False,
            read_bufsize=2**18,
        )

    async def stop(self) -> None:
        """Close the connection pool."""
        await self.session.close()

    def caller(self, headers: dict[bytes, bytes]) -> Caller:
        """Who sends a request.

        Raises:
            RequestError: 401, there are keys and this is none of them.
        """
        if self.keys is None:
            return ANYBODY
        caller = self.keys.caller(headers.get(b"authorization", b"").decode("latin-1"))
        if caller is None:
            raise RequestError(
                401, "no valid API key: send it as `Authorization: Bearer KEY`", code="invalid_api_key"
            )
        return caller

    async def resolve(self, model: Any, caller: Caller, path: str) -> tuple[str, Picture | None]:
        """Base model and artwork behind a model name.

        Raises:
            RequestError: 404, there is no such model for this caller; 400, it needs a chat, or another base
                model; 503, its file is broken.
        """
        if not isinstance(model, str) or not model:
            raise RequestError(400, "`model` must be the name of a model: see /v1/models", param="model")
        unknown = RequestError(
            404, f"the model {model[:200]!r} does not exist", code="model_not_found", param="model"
        )
        if not caller.may_use(model):
            raise unknown  # says no more than for a name that there is not
        if self.upstreams.serving(model):
            return model, None
        if model not in self.shelf.entries:
            raise unknown
        if path not in TAKES_ARTWORK:
            raise RequestError(
                400,
                f"{model!r} is an artwork and needs a chat: use /v1/chat/completions or /v1/responses",
                param="model",
            )
        try:
            picture = await self.shelf.picture(model)
        except KeyError:
            raise unknown from None
        except ArtworkError as error:
            raise RequestError(
                503, f"the artwork {model!r} cannot be served: {error}", code="broken_artwork"
            ) from None
        if not self.upstreams.serving(picture.base):
            served = ", ".join(sorted(self.upstreams.models())) or "nothing reachable"
            raise RequestError(
                400,
                f"the artwork {model!r} was painted for {picture.base!r}; the engines serve {served}",
                code="wrong_base_model",
                param="model",
            )
        return picture.base, picture

    async def ask(
        self,
        upstream: Upstream,
        path: str,
        body: dict,
        picture: Picture | None,
        headers: dict[str, str],
        note: Note,
    ) -> aiohttp.ClientResponse:
        """Send a request to an engine; the picture goes along only if the engine may not have it."""
        if picture is None:
            return await self._post(upstream, path, bodies.render(body), headers)
        name = f"pixeltune-{picture.sha256}" if upstream.has_uuids and path == "chat/completions" else None
        if name is not None and upstream.holds(name):
            without = bodies.insert(body, path, name, with_bytes=False)
            answer = await self._post(upstream, path, bodies.render(without), headers)
            if answer.status not in (400, 422, 500):
                return answer
            # Either the request is at fault, and is so again, or the engine's cache has dropped the picture.
            answer.close()
            upstream.forget(name)
            self.metrics.resent(upstream.name)
            note.resent = True
        whole = bodies.render(bodies.insert(body, path, name, with_bytes=True), picture.url)
        answer = await self._post(upstream, path, whole, headers)
        if name is not None and answer.status == 200:
            upstream.remember(name)
        return answer

    async def _post(
        self, upstream: Upstream, path: str, data: bytes, headers: dict[str, str]
    ) -> aiohttp.ClientResponse:
        async with asyncio.timeout(self.limits.answer):
            return await self.session.post(
                f"{upstream.url}/{path}", data=data, headers=headers, allow_redirects=False
            )


class Forward:
    """An ASGI endpoint that passes a POST request on to an engine and the answer back."""

    def __init__(self, gateway: Gateway, path: str) -> None:
        self.gateway, self.path = gateway, path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        sent_id = headers.get(b"x-request-id", b"").decode("latin-1")
        note = Note(id=sent_id if REQUEST_ID.fullmatch(sent_id) else uuid.uuid4().hex, path=self.path)
        reply = _Reply(send, note, self.gateway.limits.reader)
        begin = time.perf_counter()
        try:
            caller = self.gateway.caller(headers)
            note.caller = caller.name
            raw = await self._read(headers, receive)
            begin = time.perf_counter()
            work = asyncio.create_task(self._answer(raw, caller, scope, reply, note, begin))
            left = asyncio.create_task(_left(receive))
            try:
                await asyncio.wait({work, left}, return_when=asyncio.FIRST_COMPLETED)
                if not work.done():  # nobody listens any more: so the engine need not go on, either
                    note.status, note.problem = 499, "the client left"
                else:
                    await work
            finally:
                for task in (work, left):
                    task.cancel()
                await asyncio.gather(work, left, return_exceptions=True)
        except RequestError as error:
            note.problem = error.message
            await reply.error(error)
        except _SlowReader:
            note.problem = "the client does not read"
            raise  # uvicorn then closes the connection
        except Exception:
            log.exception("gateway failed", extra={"request_id": note.id})
            note.problem = "internal error"
            await reply.error(RequestError(500, "the gateway failed: see its log"))
        finally:
            self._record(note, time.perf_counter() - begin)

    async def _read(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """The body, within its bounds of size and time."""
        limits = self.gateway.limits
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise RequestError(415, "compressed bodies are not read: send plain JSON")
        too_large = RequestError(413, f"the body is larger than {limits.body:,} bytes", code="body_too_large")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > limits.body:
            raise too_large
        parts, size = [], 0
        try:
            async with asyncio.timeout(limits.upload):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise RequestError(499, "the client left")
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > limits.body:
                        raise too_large
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError:
            raise RequestError(408, f"the body did not come within {limits.upload:g} s") from None

    async def _answer(
        self, raw: bytes, caller: Caller, scope: Scope, reply: _Reply, note: Note, begin: float
    ) -> None:
        gateway, upstreams = self.gateway, self.gateway.upstreams
        body = bodies.parse(raw)
        # Only a name that exists becomes a label or part of a log.
        base, picture = await gateway.resolve(body.get("model"), caller, self.path)
        note.model = body["model"]
        note.artwork = note.model if picture else ""
        if body.get("previous_response_id") is not None:
            raise RequestError(
                400, "no conversations are kept here: send the whole `input`", param="previous_response_id"
            )
        bodies.separate_uuids(body, caller.name)
        if picture is not None:
            bodies.insert(body, self.path, None, with_bytes=True)  # refused before an engine is bothered
        for attempt in (1, 2):
            upstream = upstreams.choose(base, picture.sha256 if picture else None)
            note.upstream = upstream.name
            body["model"] = upstreams.served_name(upstream, base)
            headers = self._headers(scope, note)
            with upstream.busy():
                try:
                    answer = await gateway.ask(upstream, self.path, body, picture, headers, note)
                except GONE as error:
                    if isinstance(error, NOT_REACHED):  # anything else may be the end of an idle connection
                        upstream.lost(_reason(error))
                    if attempt == 1:
                        continue  # nothing was answered yet, so nobody notices
                    raise RequestError(
                        502, f"the engine is gone ({_reason(error)})", code="upstream_gone"
                    ) from None
                except TimeoutError:
                    upstream.answered(504)
                    raise RequestError(
                        504,
                        f"the engine did not answer within {gateway.limits.answer:g} s",
                        code="upstream_timeout",
                    ) from None
                except aiohttp.ClientError as error:
                    upstream.answered(502)
                    raise RequestError(
                        502, f"the engine does not speak HTTP ({_reason(error)})", code="upstream_garbage"
                    ) from None
                try:
                    upstream.answered(answer.status)
                    await reply.forward(answer, gateway.limits, begin)
                finally:
                    answer.close()
                return

    def _headers(self, scope: Scope, note: Note) -> dict[str, str]:
        """Of a request to an engine: the client's own, but for those that end here."""
        headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in scope["headers"]
            if name not in NOT_FORWARDED
        }
        if self.gateway.keys is None:  # else the key is ours, and no engine's
            headers |= {n.decode(): v.decode("latin-1") for n, v in scope["headers"] if n == b"authorization"}
        return {
            **headers,
            **self.gateway.upstreams.headers(),
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "X-Request-Id": note.id,
        }

    def _record(self, note: Note, seconds: float) -> None:
        metrics = self.gateway.metrics
        metrics.request(note.artwork, note.upstream, note.status, seconds, note.first)
        if note.tokens:
            metrics.tokens(note.artwork, note.upstream, note.tokens)
        log.info(
            "request",
            extra={
                "request_id": note.id,
                "path": note.path,
                "caller": note.caller,
                "model": note.model,
                "upstream": note.upstream,
                "status": note.status,
                "seconds": round(seconds, 4),
                "first_byte_seconds": note.first and round(note.first, 4),
                "tokens": note.tokens,
                "picture_resent": note.resent,
                "problem": note.problem,
            },
        )


class _Reply:
    """The answer to one client, with a bound on how long it may take to read it."""

    def __init__(self, send: Send, note: Note, patience: float) -> None:
        self._send, self._note, self._patience = send, note, patience
        self._started = False

    async def _out(self, message: Message) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await self._send(message)
        except TimeoutError:
            raise _SlowReader from None

    async def error(self, error: RequestError) -> None:
        """Answer with an error, or end a stream that has begun with one."""
        if self._started:
            with contextlib.suppress(_SlowReader):
                await self._out(_part(b"data: " + error.body() + b"\n\n", last=True))
            return
        self._note.status, self._started = error.status, True
        body = error.body()
        headers = [(b"retry-after", b"%d" % error.retry_after)] if error.retry_after else []
        if error.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        with contextlib.suppress(_SlowReader):
            await self._out(self._start(error.status, b"application/json", headers, len(body)))
            await self._out(_part(body, last=True))

    async def forward(self, answer: aiohttp.ClientResponse, limits: Limits, begin: float) -> None:
        """Pass an engine's answer on: a stream part by part as it comes, anything else whole.

        Raises:
            RequestError: the engine stops in the middle, stalls, or sends more than MAX_ANSWER at once.
        """
        kind = answer.headers.get("Content-Type", "application/octet-stream").encode("latin-1")
        headers = [
            (name.lower(), value) for name, value in answer.raw_headers if name.lower() not in NOT_RETURNED
        ]
        if kind.startswith(b"text/event-stream"):
            self._note.status, self._started = answer.status, True
            await self._out(self._start(answer.status, kind, headers, None))
            tail = b""
            async for part in _parts(answer, limits.pause):
                if self._note.first is None:
                    self._note.first = time.perf_counter() - begin
                await self._out(_part(part, last=False))
                tail = tail[-256:] + part  # where a count may stand across two parts
                self._note.tokens |= usage(tail)
            await self._out(_part(b"", last=True))
            return
        whole, size = [], 0
        async for part in _parts(answer, limits.answer):
            if self._note.first is None:
                self._note.first = time.perf_counter() - begin
            whole.append(part)
            size += len(part)
            if size > MAX_ANSWER:
                raise RequestError(
                    502, f"the answer is larger than {MAX_ANSWER:,} bytes", code="upstream_garbage"
                )
        body = b"".join(whole)
        if answer.status >= 400 and not body.lstrip().startswith(b'{"error"'):
            text = body.decode("utf-8", "replace")[:500].strip() or "no reason given"
            body, kind = (
                RequestError(answer.status, f"the engine says: {text}", code="upstream_error").body(),
                b"application/json",
            )
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


class _SlowReader(Exception):
    """The client takes nothing of its answer."""


def _part(body: bytes, *, last: bool) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": not last}


async def _parts(answer: aiohttp.ClientResponse, pause: float) -> AsyncIterator[bytes]:
    """The body of an answer as it comes.

    Raises:
        RequestError: it breaks off, or nothing comes for `pause` seconds.
    """
    try:
        while True:
            async with asyncio.timeout(pause):
                part = await answer.content.readany()
            if not part:
                return
            yield part
    except TimeoutError:
        raise RequestError(504, f"the engine went silent for {pause:g} s", code="upstream_timeout") from None
    except (aiohttp.ClientError, ConnectionError) as error:
        raise RequestError(
            502, f"the engine broke off ({_reason(error)})", code="upstream_broke_off"
        ) from None


async def _left(receive: Receive) -> None:
    """Returns when the client has closed its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
