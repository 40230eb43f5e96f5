"""The ASGI application: which path does what."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pixeltune.serve.bodies import RequestError
from pixeltune.serve.description import describe
from pixeltune.serve.gateway import PASSED_ON, TAKES_ARTWORK, Gateway, no_such_model
from pixeltune.serve.named import keep_current
from pixeltune.serve.proxy import Proxy
from pixeltune.version import __version__

FIRST_LOOK_SECONDS = 1.0  # that engines have to answer before requests are taken without them


def application(gateway: Gateway) -> Starlette:
    """The ASGI application; it looks after artworks and engines while it runs."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await gateway.start()
        # A look at both before the first request: a gateway that has just started knows its models.
        await gateway.shelf.refresh()
        upstreams = gateway.upstreams
        tasks = [asyncio.create_task(u.probe(gateway.session, upstreams.headers())) for u in upstreams.all]
        await asyncio.wait(tasks, timeout=FIRST_LOOK_SECONDS)
        tasks += [
            asyncio.create_task(keep_current(gateway.shelf)),
            asyncio.create_task(upstreams.watch(gateway.session)),
        ]
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
        raise no_such_model(name)

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok", "version": __version__})

    async def readyz(_: Request) -> Response:
        up = {upstream.name: upstream.reachable for upstream in gateway.upstreams.all}
        told = {"upstreams": up, "artworks": len(gateway.shelf.entries), "draining": gateway.draining}
        return JSONResponse(told, 200 if any(up.values()) and not gateway.draining else 503)

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
        Route(f"/v1/{path}", Proxy(gateway, path), methods=["POST"]) for path in (*TAKES_ARTWORK, *PASSED_ON)
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
