"""What all requests share: who may ask for what, what a model name stands for, how an engine is asked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import aiohttp

from pixeltune.artwork.png import ArtworkError
from pixeltune.data.requests import ENDPOINTS
from pixeltune.engines.kept_pictures import MISSES
from pixeltune.serve import bodies
from pixeltune.serve.bodies import RequestError
from pixeltune.serve.intake import Intake
from pixeltune.serve.keys import ANYBODY, ApiKeys, Caller
from pixeltune.serve.reply import Limits, Note
from pixeltune.serve.shelf import Picture, Shelf
from pixeltune.serve.telemetry import Metrics
from pixeltune.serve.upstreams import CONNECT_TIMEOUT, KEEP_ALIVE, Upstream, Upstreams, unavailable

log = logging.getLogger("pixeltune.serve")

TAKES_ARTWORK = tuple(ENDPOINTS)
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


class Gateway:
    """All that requests share. `start` before the first one, `stop` after the last."""

    def __init__(
        self, shelf: Shelf, upstreams: Upstreams, keys: ApiKeys | None = None, limits: Limits | None = None
    ) -> None:
        self.shelf, self.upstreams, self.keys = shelf, upstreams, keys
        self.limits, self.metrics = limits or Limits(), Metrics()
        self.intake = Intake(self.limits)
        self.draining = False  # told to end: balancers are to send nothing more
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
        caller = self.keys.caller(header_text(headers.get(b"authorization", b"")))
        if caller is None:
            raise RequestError(
                401, "no valid API key: send it as `Authorization: Bearer KEY`", code="invalid_api_key"
            )
        return caller

    async def resolve(self, model: Any, caller: Caller, path: str) -> tuple[str, Picture | None]:
        """Base model and artwork behind a model name.

        Raises:
            RequestError: 404, there is no such model for this caller; 400, it needs a chat, or another base
                model; 503, its file is broken, or an engine that may serve it does not answer.
        """
        if not isinstance(model, str) or not model:
            raise RequestError(400, "`model` must be the name of a model: see /v1/models", param="model")
        if not caller.may_use(model):
            raise no_such_model(model)  # says no more than for a name that there is not
        if self.upstreams.serving(model):
            return model, None
        if model not in self.shelf.entries:
            if silent := self.upstreams.silent():
                raise unavailable(f"{model[:200]!r} is no artwork, and perhaps an engine's model", silent)
            raise no_such_model(model)
        picture = await artwork_named(model, self.shelf, path)
        base = next((base for base in picture.bases if self.upstreams.serving(base)), None)
        if base is None:
            wanted = " and ".join(map(repr, picture.bases))
            if silent := self.upstreams.silent():
                raise unavailable(f"the artwork {model!r} needs an engine that serves {wanted}", silent)
            served = ", ".join(sorted(self.upstreams.models()))
            raise RequestError(
                400,
                f"the artwork {model!r} was painted for {wanted}; the engines serve {served}: start one that "
                "serves it, or say what it is called there with --alias",
                code="wrong_base_model",
                param="model",
            )
        return base, picture

    async def ask(
        self,
        upstream: Upstream,
        path: str,
        body: dict,
        picture: Picture | None,
        headers: Mapping[str, str],
        note: Note,
    ) -> aiohttp.ClientResponse:
        """Send a request to an engine; the picture goes along only if the engine may not have it."""
        if picture is None:
            return await self._post(upstream, path, bodies.render(body), headers)
        named = upstream.has_uuids and path == "chat/completions"
        name = picture.name if named else None
        if name is not None and upstream.kept.holds(name):
            without = bodies.insert(body, path, name, with_bytes=False)
            answer = await self._post(upstream, path, bodies.render(without), headers)
            if answer.status not in MISSES:
                return answer
            # Either the request is at fault, and is so again, or the engine's cache has dropped the picture.
            answer.close()
            upstream.kept.forget(name)
            self.metrics.resent(upstream.name)
            note.resent = True
        whole = bodies.render(bodies.insert(body, path, name, with_bytes=True), picture.url)
        answer = await self._post(upstream, path, whole, headers)
        if name is not None and answer.status == 200:
            upstream.kept.remember(name)
        return answer

    async def _post(
        self, upstream: Upstream, path: str, data: bytes, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        async with asyncio.timeout(self.limits.answer):
            return await self.session.post(
                f"{upstream.url}/{path}", data=data, headers=headers, allow_redirects=False
            )


async def artwork_named(model: str, shelf: Shelf, path: str) -> Picture:
    """The artwork of a name on the shelf, for a request to `path`.

    Raises:
        RequestError: 400, there is no chat at that path; 404, it is gone; 503, its file is broken.
    """
    if path not in TAKES_ARTWORK:
        raise RequestError(
            400,
            f"{model!r} is an artwork and needs a chat: use /v1/chat/completions or /v1/responses",
            param="model",
        )
    try:
        return await shelf.picture(model)
    except KeyError:
        raise no_such_model(model) from None
    except ArtworkError as error:
        raise RequestError(
            503, f"the artwork {model!r} cannot be served: {error}", code="broken_artwork"
        ) from None


def header_text(value: bytes) -> str:
    """A header's value as a text; aiohttp writes it as UTF-8 again."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def no_such_model(name: str) -> RequestError:
    """The refusal of a name that is not there, or not for this caller."""
    return RequestError(
        404, f"the model {name[:200]!r} does not exist", code="model_not_found", param="model"
    )
