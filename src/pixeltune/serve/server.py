"""The process: `pixeltune serve`, its routes, its bounds on connections, its orderly end."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pixeltune import __version__
from pixeltune.serve.bodies import RequestError
from pixeltune.serve.description import describe
from pixeltune.serve.gateway import PASSED_ON, TAKES_ARTWORK, Forward, Gateway, Limits
from pixeltune.serve.keys import Keys
from pixeltune.serve.records import log_to_stderr
from pixeltune.serve.shelf import Shelf
from pixeltune.serve.upstreams import Upstreams

log = logging.getLogger("pixeltune.serve")

REFRESH_SECONDS = 1.0  # between two looks at the gallery
HEAD_BYTES = 64 * 2**10  # of a request's first line and headers
HEAD_SECONDS = 15.0  # for them to come
UNREAD_SECONDS = 60  # after which the kernel gives up a client that acknowledges nothing


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which has no bound on the size of headers nor on the time they take.

    A test fails when uvicorn has one: `tests/serve/test_server.py`.
    """

    _head_bytes = 0
    _in_head = True
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_SECONDS * 1000)
        self._deadline = self.loop.call_later(HEAD_SECONDS, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._met()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
                b"connection: close\r\ncontent-length: 0\r\n\r\n"
            )
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def on_headers_complete(self) -> None:
        self._met()
        super().on_headers_complete()

    def _met(self) -> None:
        self._in_head = False
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def application(gateway: Gateway) -> Starlette:
    """The ASGI application; it looks after gallery and engines while it runs."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await gateway.start()
        tasks = [asyncio.create_task(_keep_current(gateway)), asyncio.create_task(_watch(gateway))]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await gateway.stop()

    def models(request: Request) -> list[dict[str, Any]]:
        caller = gateway.caller(dict(request.scope["headers"]))
        bases = gateway.upstreams.models()
        listed = [entry for name, entry in bases.items() if caller.may_use(name)]
        for name, entry in gateway.shelf.entries.items():
            if entry.error is None and name not in bases and caller.may_use(name):
                listed.append(
                    {
                        "id": name,
                        "object": "model",
                        "created": entry.created,
                        "owned_by": "pixeltune",
                        "parent": entry.base,
                        "artwork": {"base": entry.base, "task": entry.task, "sha256": entry.sha256},
                    }
                )
        return listed

    async def list_models(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": models(request)})

    async def one_model(request: Request) -> Response:
        name = request.path_params["name"]
        for entry in models(request):
            if entry["id"] == name:
                return JSONResponse(entry)
        raise RequestError(
            404, f"the model {name[:200]!r} does not exist", code="model_not_found", param="model"
        )

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok", "version": __version__})

    async def readyz(_: Request) -> Response:
        up = {upstream.name: upstream.reachable for upstream in gateway.upstreams.all}
        return JSONResponse(
            {"upstreams": up, "artworks": len(gateway.shelf.entries)}, 200 if any(up.values()) else 503
        )

    async def metrics(request: Request) -> Response:
        if not gateway.caller(dict(request.scope["headers"])).sees_all:
            raise RequestError(403, 'the metrics are about everybody: use a key with the model "*"')
        text = gateway.metrics.text(gateway.upstreams.all, gateway.shelf.entries)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def openapi(_: Request) -> Response:
        return JSONResponse(describe())

    async def refused(_: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            known = {404: "no such path here: see /openapi.json", 405: "this path does not know that method"}
            headers = error.headers
            error = RequestError(
                error.status_code, known.get(error.status_code, error.detail), code="not_found"
            )
        else:
            headers = None
        assert isinstance(error, RequestError)
        return Response(error.body(), error.status, headers, "application/json")

    posts = [
        Route(f"/v1/{path}", Forward(gateway, path), methods=["POST"])
        for path in (*TAKES_ARTWORK, *PASSED_ON)
    ]
    gets = {
        "/v1/models": list_models,
        "/v1/models/{name:path}": one_model,
        "/healthz": healthz,
        "/readyz": readyz,
        "/metrics": metrics,
        "/openapi.json": openapi,
    }
    return Starlette(
        routes=[*posts, *(Route(path, function, methods=["GET"]) for path, function in gets.items())],
        exception_handlers={HTTPException: refused, RequestError: refused},
        lifespan=lifespan,
    )


async def _keep_current(gateway: Gateway) -> None:
    while True:
        try:
            await gateway.shelf.refresh()
        except OSError as error:  # the folder is away for a moment: what is known stays
            log.error("gallery cannot be read", extra={"reason": str(error)})
        await asyncio.sleep(REFRESH_SECONDS)


async def _watch(gateway: Gateway) -> None:
    await gateway.upstreams.watch(gateway.session)


def parser() -> argparse.ArgumentParser:
    """The options of `pixeltune serve`."""
    limits = Limits()
    parser = argparse.ArgumentParser(
        prog="pixeltune serve",
        description="a gateway in front of an engine: every PNG of a folder is a model name",
    )
    parser.add_argument(
        "--gallery", required=True, help="folder of artworks; team/calls.png is the model team/calls"
    )
    parser.add_argument(
        "--upstream",
        required=True,
        action="append",
        help="an engine, such as http://host:8000/v1; may be repeated",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1, this machine)"
    )
    parser.add_argument(
        "--port", type=int, default=8080, help="port to listen on (default 8080; 0: any free one)"
    )
    parser.add_argument("--api-keys", help="JSON file of callers (docs/serving.md); none: anybody may ask")
    parser.add_argument(
        "--alias",
        action="append",
        default=[],
        metavar="BASE=SERVED",
        help="an artwork's base model and the name under which the engines serve it, where they differ",
    )
    parser.add_argument(
        "--upstream-key-env",
        default="PIXELTUNE_UPSTREAM_KEY",
        help="environment variable with the engines' API key (default PIXELTUNE_UPSTREAM_KEY)",
    )
    parser.add_argument(
        "--max-body", type=int, default=limits.body, help="bytes of a request (default 32 MiB)"
    )
    parser.add_argument(
        "--max-concurrency", type=int, default=1024, help="requests at one engine at a time (default 1024)"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=limits.answer,
        help="seconds for an engine to begin its answer (default 600)",
    )
    parser.add_argument(
        "--pause",
        type=float,
        default=limits.pause,
        help="seconds between two parts of a stream (default 120)",
    )
    parser.add_argument(
        "--drain", type=int, default=60, help="seconds that SIGTERM leaves to requests (default 60)"
    )
    parser.add_argument("--cache", type=int, default=512, help="MiB of artworks in memory (default 512)")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    return parser


def run(argv: list[str]) -> int:
    """`pixeltune serve`: until SIGTERM or SIGINT, then lets running requests end.

    Raises:
        ValueError: an option is wrong; nothing has been started.
        OSError: the address is taken.
    """
    arguments = parser().parse_args(argv)
    for name in ("max_body", "max_concurrency", "timeout", "pause", "cache"):
        if not getattr(arguments, name) > 0:
            raise ValueError(f"--{name.replace('_', '-')} must be positive")
    aliases = dict(alias.partition("=")[::2] for alias in arguments.alias)
    if not all(aliases) or not all(aliases.values()):
        raise ValueError("--alias takes BASE=SERVED, such as Qwen/Qwen3.5-0.8B=qwen")
    gateway = Gateway(
        Shelf(arguments.gallery, arguments.cache * 2**20),
        Upstreams(
            arguments.upstream,
            aliases=aliases,
            key=os.environ.get(arguments.upstream_key_env),
            capacity=arguments.max_concurrency,
        ),
        Keys(arguments.api_keys) if arguments.api_keys else None,
        Limits(body=arguments.max_body, answer=arguments.timeout, pause=arguments.pause),
    )
    family = socket.AF_INET6 if ":" in arguments.host else socket.AF_INET
    listener = socket.create_server(
        (arguments.host, arguments.port), family=family, backlog=2048, reuse_port=False
    )  # here, so that a taken port is an error like any other
    log_to_stderr(arguments.log_level)
    if gateway.keys is None and arguments.host not in ("127.0.0.1", "::1", "localhost"):
        log.warning(
            "open to everybody who reaches this address: give --api-keys", extra={"host": arguments.host}
        )
    port = listener.getsockname()[1]
    log.info("ready to listen", extra={"address": f"http://{arguments.host}:{port}/v1"})
    config = uvicorn.Config(
        application(gateway),
        http=BoundedProtocol,
        ws="none",
        loop="uvloop",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=arguments.drain,
    )
    uvicorn.Server(config).run(sockets=[listener])
    return 0
