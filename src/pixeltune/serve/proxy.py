"""A request on its way: in from a client, out to an engine, and the answer back."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Mapping

import aiohttp
from multidict import CIMultiDict
from starlette.types import Receive, Scope, Send

from pixeltune.serve import bodies
from pixeltune.serve.bodies import RequestError
from pixeltune.serve.gateway import Gateway, header_text
from pixeltune.serve.keys import Caller
from pixeltune.serve.reply import ClientReply, Note, SlowReader, reason
from pixeltune.serve.upstreams import GONE, NOT_REACHED

log = logging.getLogger("pixeltune.serve")

# Of hop-by-hop nature, written anew here, or nobody else's business.
NOT_FORWARDED = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization te trailer transfer-encoding upgrade "
    b"host content-length content-type content-encoding accept-encoding expect cookie x-request-id "
    b"authorization".split()
)
REQUEST_ID = re.compile(r"[\w.:/+=@-]{1,128}", re.ASCII)


class Proxy:
    """An ASGI endpoint that passes a POST request on to an engine and the answer back."""

    def __init__(self, gateway: Gateway, path: str) -> None:
        self.gateway, self.path = gateway, path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        note = Note(id=request_id(headers), path=self.path)
        reply = ClientReply(send, note, self.gateway.limits.reader)
        begin = time.perf_counter()
        try:
            caller = self.gateway.caller(headers)
            note.caller = caller.name
            async with self.gateway.intake.whole(headers, receive) as raw:
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
        except SlowReader:
            note.problem = "the client does not read"
            raise  # uvicorn then closes the connection
        except Exception:
            log.exception("gateway failed", extra={"request_id": note.id})
            note.problem = "internal error"
            await reply.error(RequestError(500, "the gateway failed: see its log"))
        finally:
            self._record(note, time.perf_counter() - begin)

    async def _answer(
        self, raw: bytes, caller: Caller, scope: Scope, reply: ClientReply, note: Note, begin: float
    ) -> None:
        gateway, upstreams = self.gateway, self.gateway.upstreams
        body = bodies.parse(raw)
        # Only a name that exists becomes a label or part of a log.
        base, picture = await gateway.resolve(body.get("model"), caller, self.path)
        note.model = body["model"]
        note.artwork = note.model if picture else ""
        for field in ("previous_response_id", "conversation"):
            if body.get(field) is not None:
                message = "no conversations are kept here: send the whole conversation as `input`"
                raise RequestError(400, message, param=field)
        bodies.guard_media(body, caller.name)
        if picture is not None:
            bodies.check(body, self.path, picture.tokens)  # refused before an engine is bothered
        hung_up = False
        while True:
            upstream = upstreams.choose(base, picture.sha256 if picture else None)
            note.upstream = upstream.name
            body["model"] = upstreams.served_name(upstream, base)
            headers = self._headers(scope, note)
            with upstream.busy():
                try:
                    answer = await gateway.ask(upstream, self.path, body, picture, headers, note)
                except GONE as error:
                    # Nothing was answered yet, so nobody notices when it is asked for again.
                    if isinstance(error, NOT_REACHED):
                        upstream.lost(reason(error))  # not chosen again until a probe finds it: this ends
                        continue
                    if not hung_up:  # it may have been the end of an idle connection, or of the engine
                        hung_up = True
                        continue
                    raise RequestError(
                        502,
                        f"the engine at {upstream.address} hung up before it answered ({reason(error)}): see "
                        "its log, and try again",
                        code="upstream_gone",
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
                        502, f"the engine does not speak HTTP ({reason(error)})", code="upstream_garbage"
                    ) from None
                try:
                    upstream.answered(answer.status)
                    await reply.forward(answer, gateway.limits, begin)
                finally:
                    answer.close()
                return

    def _headers(self, scope: Scope, note: Note) -> CIMultiDict[str]:
        """Of a request to an engine: the client's own, but for those that end here."""
        headers = CIMultiDict(
            (name.decode("latin-1"), header_text(value))
            for name, value in scope["headers"]
            if name not in NOT_FORWARDED
        )
        own = self.gateway.upstreams.headers()
        if self.gateway.keys is None and not own:  # else the client's key is meant for the gateway
            own = {n.decode(): header_text(v) for n, v in scope["headers"] if n == b"authorization"}
        headers.update(own)
        headers.update(
            {"Content-Type": "application/json", "Accept-Encoding": "identity", "X-Request-Id": note.id}
        )
        return headers

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


def request_id(headers: Mapping[bytes, bytes]) -> str:
    """The client's own, if it is sensible, or a new one."""
    sent = headers.get(b"x-request-id", b"").decode("latin-1")
    return sent if REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex


async def _left(receive: Receive) -> None:
    """Returns when the client has closed its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
