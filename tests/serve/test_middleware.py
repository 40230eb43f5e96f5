"""The middleware in front of other people's applications: what the gateway does, and nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount

from gateways import gateway, make_artwork
from pixeltune.errors import UserError
from pixeltune.serve import named
from pixeltune.serve.middleware import ArtworkMiddleware
from stub_engine import StubEngine

USER = [{"role": "user", "content": "hello"}]
PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64,xyz"}}


class Recorder:
    """An application that keeps what it is given."""

    def __init__(self) -> None:
        self.calls: list[tuple[dict, bytes]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        self.calls.append((scope, message["body"]))
        assert not message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


async def call(
    app: Any,
    body: Any,
    path: str = "/v1/chat/completions",
    *,
    parts: Iterable[bytes] | None = None,
    headers: Iterable[tuple[bytes, bytes]] = (),
    method: str = "POST",
) -> tuple[int, bytes]:
    """Status and body of the answer to one request, whose body may come in parts."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    incoming = [{"type": "http.request", "body": part, "more_body": True} for part in parts or [raw]]
    incoming[-1]["more_body"] = False
    incoming.append({"type": "http.disconnect"})
    sent: list[dict] = []

    async def receive() -> dict:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    length = [] if parts else [(b"content-length", b"%d" % len(raw))]
    scope = {"type": "http", "method": method, "path": path, "root_path": "", "query_string": b""}
    await app(scope | {"headers": [*length, *headers]}, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


def ask(app: Any, body: Any, path: str = "/v1/chat/completions", **options: Any) -> tuple[int, bytes]:
    return asyncio.run(call(app, body, path, **options))


@pytest.fixture
def behind() -> Recorder:
    return Recorder()


@pytest.fixture
def app(behind, folder) -> ArtworkMiddleware:
    return ArtworkMiddleware(behind, folder)


BODIES = [
    ("chat/completions", {"messages": USER}),
    (
        "chat/completions",
        {"messages": [{"role": "system", "content": "Be brief."}, *USER], "seed": 1, "stream": False},
    ),
    ("chat/completions", {"messages": [{"role": "user", "content": [PART, {"type": "text", "text": "é"}]}]}),
    ("responses", {"input": "hello", "instructions": "Be brief."}),
    ("responses", {"input": USER, "unknown": {"uuid": 5}}),
]


def test_an_engine_gets_what_it_gets_from_the_gateway(folder, tmp_path):
    """The whole request, with every other field, whichever of the two stands in front."""
    with StubEngine(like_vllm=False).running() as engine:
        app = ArtworkMiddleware(engine.application(), folder)
        for path, body in BODIES:
            status, answer = ask(app, body | {"model": "team-a/one"}, f"/v1/{path}")
            assert (status, json.loads(answer)["model"]) == (200, "base")
        ours, engine.requests = engine.requests, []
        with gateway(folder, "--upstream", engine.url, log=tmp_path / "log") as served:
            served_app = _over_http(served.root)
            for path, body in BODIES:
                assert ask(served_app, body | {"model": "team-a/one"}, f"/v1/{path}")[0] == 200
        assert ours == engine.requests
    assert all(make_artwork(1).data_url() in json.dumps(body) for body in ours)


def _over_http(root: str) -> Any:
    import aiohttp

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        async with (
            aiohttp.ClientSession() as session,
            session.post(root + scope["path"], data=body) as answer,
        ):
            await send({"type": "http.response.start", "status": answer.status, "headers": []})
            await send({"type": "http.response.body", "body": await answer.read()})

    return app


def test_the_length_is_that_of_the_new_body_and_other_headers_stay(app, behind):
    sent = [(b"transfer-encoding", b"chunked"), (b"x-tag", b"a"), (b"x-tag", "Zoë".encode())]
    raw = json.dumps({"model": "art", "messages": USER}).encode()
    assert ask(app, b"", parts=[raw[:9], raw[9:]], headers=sent)[0] == 200
    ((scope, body),) = behind.calls
    assert scope["headers"] == [*sent[1:], (b"content-length", b"%d" % len(body))]
    assert make_artwork(0).data_url().encode() in body


@pytest.mark.parametrize(
    ("path", "raw"),
    [
        ("/v1/chat/completions", b'{ "model":"base","messages" : [], "model":"base" }'),
        ("/v1/chat/completions", b'{"model": 5}'),
        ("/v1/chat/completions", b"no json"),
        ("/v1/completions", b'{"model": "base", "prompt": "x"}'),
        ("/v1/messages", b"--boundary"),
        ("/v1/chat/completions", b"[" * 100_000),
    ],
)
def test_what_names_no_artwork_goes_on_byte_for_byte(app, behind, path, raw):
    headers = [(b"authorization", b"Bearer x")]
    assert ask(app, raw, path, headers=headers)[0] == 200
    ((scope, body),) = behind.calls
    assert body == raw
    assert scope["headers"] == [(b"content-length", b"%d" % len(raw)), *headers]


@pytest.mark.parametrize(
    "scope",
    [
        {"type": "lifespan"},
        {"type": "websocket", "path": "/v1/responses"},
        {"type": "http", "method": "GET", "path": "/v1/chat/completions"},
        {"type": "http", "method": "POST", "path": "/v1/audio/transcriptions"},
        {"type": "http", "method": "POST", "path": "/chat/completions"},
        {"type": "http", "method": "POST", "path": "/v1/chat/completions/5"},
    ],
)
def test_everything_else_is_not_even_looked_at(folder, scope):
    given = []

    async def behind(*three: Any) -> None:
        given.append(three)

    three = (scope, object(), object())
    asyncio.run(ArtworkMiddleware(behind, folder)(*three))
    assert given == [three]


def test_streams_are_not_held_back_and_who_leaves_is_noticed(folder):
    async def run() -> None:
        came, left = asyncio.Event(), asyncio.Event()

        async def behind(scope: Any, receive: Any, send: Any) -> None:
            assert "data:image/png" in (await receive())["body"].decode()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
            await came.wait()  # nothing more before the client has this
            assert (await receive())["type"] == "http.disconnect"
            left.set()

        async def send(message: Any) -> None:
            if message.get("body") == b"data: 1\n\n":
                came.set()

        incoming = [{"type": "http.request", "body": json.dumps({"model": "art", "messages": USER}).encode()}]

        async def receive() -> dict:
            return incoming.pop() if incoming else {"type": "http.disconnect"}

        scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}
        await asyncio.wait_for(ArtworkMiddleware(behind, folder)(scope, receive, send), 10)
        assert left.is_set()

    asyncio.run(run())


def messages(content: Any) -> dict:
    return {"model": "art", "messages": [{"role": "user", "content": content}]}


def deep(levels: int) -> Any:
    return [deep(levels - 1)] if levels else []


@pytest.mark.parametrize(
    ("body", "path", "status", "words"),
    [
        ({"model": "art", "prompt": "x"}, "completions", 400, "needs a chat"),
        ({"model": "art", "input": "x"}, "embeddings", 400, "needs a chat"),
        ({"model": "art", "messages": []}, "chat/completions", 400, "`messages` must be a list"),
        ({"model": "art", "messages": [{"role": "system", "content": "x"}]}, "chat/completions", 400, "user"),
        (messages("<|image_pad|>"), "chat/completions", 400, "stands for pictures"),
        ({"model": "art", "input": "x", "previous_response_id": "1"}, "responses", 400, "kept by the server"),
        ({"model": "broken", "messages": USER}, "chat/completions", 503, "cannot be served"),
        (messages("x") | {"tools": deep(80)}, "chat/completions", 400, "nested deeper"),
    ],
)
def test_refusals_are_the_gateways(app, behind, body, path, status, words):
    got, answer = ask(app, body, f"/v1/{path}", headers=[(b"x-request-id", b"mine")])
    error = json.loads(answer)["error"]
    assert got == status
    assert words in error["message"]
    assert behind.calls == []


@pytest.mark.parametrize("model", ["art", "base"])
@pytest.mark.parametrize("parts", [None, 100])
def test_too_large_a_body_is_refused(folder, behind, model, parts):
    app = ArtworkMiddleware(behind, folder, max_body=1000)
    raw = json.dumps({"model": model, "messages": USER, "more": "x" * 1000}).encode()
    cut = [raw[at : at + parts] for at in range(0, len(raw), parts)] if parts else None
    status, answer = ask(app, raw, parts=cut)
    assert (status, json.loads(answer)["error"]["code"]) == (413, "body_too_large")
    assert behind.calls == []
    assert app.intake.held == 0
    assert ask(app, {"model": model, "messages": USER})[0] == 200


def test_a_compressed_body_is_refused(app, behind):
    assert ask(app, b"\x1f\x8b", headers=[(b"content-encoding", b"gzip")])[0] == 415
    assert behind.calls == []


def test_a_base_model_may_have_another_name_and_the_paths_another_beginning(folder, behind):
    app = ArtworkMiddleware(behind, folder, aliases={"base": "served"}, prefix="/api/")
    for model in ("art", "both"):  # of two base models the one that is served
        assert ask(app, {"model": model, "messages": USER}, "/api/chat/completions")[0] == 200
        assert json.loads(behind.calls[-1][1])["model"] == "served"
    assert ask(app, {"model": "art", "messages": USER}, "/v1/chat/completions")[0] == 200
    assert json.loads(behind.calls[-1][1]) == {"model": "art", "messages": USER}


def test_starlette_takes_it_in_its_own_ways(folder):
    engine = StubEngine()
    within = Starlette(routes=engine.application().routes, middleware=[Middleware(ArtworkMiddleware, folder)])
    for app, path in (
        (within, "/v1/chat/completions"),
        (Starlette(routes=[Mount("/llm", within)]), "/llm/v1/chat/completions"),
    ):
        status, answer = ask(app, {"model": "art", "messages": USER}, path)
        assert status == 200
        assert json.loads(answer)["choices"][0]["message"]["seen"] == [make_artwork(0).data_url()]


def test_the_folder_may_change_and_so_may_the_event_loop(tmp_path, behind, monkeypatch):
    monkeypatch.setattr(named, "REFRESH_SECONDS", 0.02)
    app = ArtworkMiddleware(behind, tmp_path)

    async def models() -> tuple[str, str]:
        await call(app, {"model": "new", "messages": USER})
        before = json.loads(behind.calls[-1][1])["model"]
        make_artwork(0).save(tmp_path / "new.png")
        for _ in range(500):
            await asyncio.sleep(0.02)
            await call(app, {"model": "new", "messages": USER})
            if (after := json.loads(behind.calls[-1][1])["model"]) != before:
                break
        return before, after

    assert asyncio.run(models()) == ("new", "base")
    (tmp_path / "new.png").unlink()
    assert asyncio.run(models()) == ("new", "base")


def test_many_first_requests_look_once_and_one_that_leaves_ends_nobodys_look(folder, behind, monkeypatch):
    app, looks = ArtworkMiddleware(behind, folder), []
    real = app.named.shelf.find
    monkeypatch.setattr(app.named.shelf, "find", lambda: looks.append(1) or real())

    async def run() -> None:
        tasks = [asyncio.create_task(call(app, {"model": "art", "messages": USER})) for _ in range(20)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [answer[0] for answer in done[1:]] == [200] * 19

    asyncio.run(run())
    assert len(looks) == 1


def test_a_look_that_fails_is_not_the_last(folder, behind, monkeypatch):
    app = ArtworkMiddleware(behind, folder)
    real, fails = app.named.shelf.find, [OSError("away")]
    monkeypatch.setattr(
        app.named.shelf, "find", lambda: real() if not fails else (_ for _ in ()).throw(fails.pop())
    )

    async def run() -> int:
        with pytest.raises(OSError, match="away"):
            await call(app, {"model": "art", "messages": USER})
        await asyncio.sleep(0)
        return (await call(app, {"model": "art", "messages": USER}))[0]

    assert asyncio.run(run()) == 200


def test_no_folder_is_an_error_when_it_is_built(behind, tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        ArtworkMiddleware(behind, tmp_path / "nowhere")
