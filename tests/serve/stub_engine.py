"""A stand-in for an engine, for tests: speaks the OpenAI protocol and is ill as engines are, on command.

What it does is told by the words of the last user message: "stall", "garbage", "break off", "status 503", ...
It can keep pictures by `uuid` as vLLM does, and says in its answer what it was sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route


class StubEngine:
    """One engine: `url`, the `requests` it got, the `cache` of pictures by uuid."""

    def __init__(self, models: tuple[str, ...] = ("base",), *, like_vllm: bool = True, port: int = 0) -> None:
        self.models, self.like_vllm = models, like_vllm
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.raw_headers: list[list[tuple[bytes, bytes]]] = []
        self.authorizations: list[list[str]] = []
        self.cache: dict[str, str] = {}
        self.open_streams = 0
        self.breaks_at = 0  # bytes of an event that still come where it breaks off
        self.ill = False
        self.packs = ""  # how it compresses its list of models
        self._listener = socket.create_server(("127.0.0.1", port), reuse_port=False)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def application(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/models", self._models),
                Route("/v1/{path:path}", self._answer, methods=["POST"]),
            ]
        )

    async def _models(self, _: Request) -> Response:
        if self.ill:
            return Response("ill", 500)
        owner = {"owned_by": "vllm", "root": "/weights"} if self.like_vllm else {"owned_by": "somebody"}
        data = [{"id": name, "object": "model", **owner} for name in self.models]
        response = JSONResponse({"object": "list", "data": data})
        return _compressed(response, self.packs) if self.packs else response

    async def _answer(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        self.raw_headers.append(request.headers.raw)
        self.authorizations.append(request.headers.getlist("authorization"))
        items = body.get("messages") or body.get("input") or [{"content": body.get("prompt", "")}]
        if isinstance(items, str):
            items = [{"content": items}]
        seen = []
        for item in items:
            for part in item["content"] if isinstance(item.get("content"), list) else []:
                if "image" in part.get("type", ""):
                    url = (
                        part["image_url"]["url"] if isinstance(part["image_url"], dict) else part["image_url"]
                    )
                    if url is None and part.get("uuid") not in self.cache:
                        return _error(400, "Cache miss for image at index 0 but data is not provided.")
                    if part.get("uuid"):
                        url = self.cache.setdefault(part["uuid"], url)
                    seen.append(url)
        said = items[-1].get("content") or ""
        if isinstance(said, list):
            said = " ".join(part["text"] for part in said if "text" in part)
        if said.startswith("status "):
            return _error(int(said.split()[1]), "as you wish")
        if said.startswith("error "):
            return Response(said.removeprefix("error "), 400, media_type="application/json")
        if said.startswith("event of error "):
            event = f"event: error\ndata: {said.removeprefix('event of error ')}\n\ndata: [DONE]\n\n"
            return Response(event, 400, media_type="text/event-stream")
        if said == "plain error":
            return Response("<h1>Bad</h1>", 400, media_type="text/html")
        if said == "stall":
            await asyncio.sleep(3600)
        if said == "huge":
            return Response(b"x" * (80 * 2**20), media_type="application/json")
        answer = {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": body.get("model"),
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": said, "seen": seen},
                }
            ],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        }
        response = JSONResponse(answer)
        if said.startswith("compressed error"):
            response = _error(400, "as you wish")
        if body.get("stream"):
            response = StreamingResponse(self._stream(said), media_type="text/event-stream")
        if "compressed" in said:
            return _compressed(response, said.split()[-1])
        if said == "headers":
            response.raw_headers += [(b"x-tag", b"a"), (b"x-tag", b"b"), (b"x-name", "Zoë".encode())]
        return response

    async def _stream(self, said: str) -> Any:
        self.open_streams += 1
        try:
            words = (said.split() or ["."]) * (100_000 if "endless" in said else 1)
            for number, word in enumerate(words):
                if number and "slowly" in said:
                    await asyncio.sleep(0.2)
                if number and "break off" in said:
                    yield _event({"id": "1", "choices": [{"text": "x" * 50}]})[: self.breaks_at]
                    raise RuntimeError("broken off")
                if number and "end early" in said:
                    yield _event({"id": "1", "choices": []})[:20]
                    return
                if number and "silence" in said:
                    await asyncio.sleep(3600)
                choice = {"index": 0, "delta": {"content": word}, "finish_reason": None}
                yield _event(
                    {"id": "1", "object": "chat.completion.chunk", "created": 1, "choices": [choice]}
                )
            yield _event(
                {"id": "1", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": len(words)}}
            )
            yield b"data: [DONE]\n\n"
        finally:
            self.open_streams -= 1

    @contextlib.contextmanager
    def running(self) -> Iterator[StubEngine]:
        """Serve in a thread of this process."""
        config = uvicorn.Config(self.application(), log_level="critical", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [self._listener]}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.should_exit = server.force_exit = True
            thread.join(10)
            self._listener.close()


def _compressed(response: Response, coding: str) -> Response:
    """As an engine behind a compressing proxy answers, whatever was asked for."""
    windows = {"gzip": 31, "deflate": 15, "raw": -15}
    stream = zlib.compressobj(wbits=windows.get(coding, 31))
    response.headers["content-encoding"] = {"raw": "deflate", "cut": "gzip"}.get(coding, coding)
    if isinstance(response, StreamingResponse):
        parts = response.body_iterator

        async def packed() -> Any:
            async for part in parts:
                yield stream.compress(part) + stream.flush(zlib.Z_SYNC_FLUSH)
            if coding != "cut":
                yield stream.flush()

        response.body_iterator = packed()
        return response
    response.body = stream.compress(response.body) + stream.flush()
    if coding == "bomb":
        response.headers["content-encoding"] = "gzip"
        response.body = 80 * gzip.compress(b"\0" * 2**20)
    response.headers["content-length"] = str(len(response.body))
    return response


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message, "type": "x", "param": None, "code": status}}, status)


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"
