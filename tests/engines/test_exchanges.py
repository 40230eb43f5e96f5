"""A picture's bytes go to an engine once: in front of a stand-in that counts bytes, and on a real vLLM server."""

import asyncio
import json
import sys
import threading
from pathlib import Path

import numpy as np
import openai
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "serve"))

from gateways import make_artwork
from pixeltune.artwork.png import encode_png
from pixeltune.data.placement import place_image
from pixeltune.engines.client import with_artwork
from pixeltune.engines.engine import Engine
from pixeltune.engines.exchanges import OnceClient
from pixeltune.engines.kept_pictures import KeptPictures, kept_name
from pixeltune.engines.replies import EngineError, RequestRefused
from pixeltune.evaluation.backends import OnEngine
from pixeltune.evaluation.scoring import score_rows
from pixeltune.picture.files import data_url
from pixeltune.tasks.base import Task
from pixeltune.tasks.synthetic import sums
from stub_engine import StubEngine
from test_engine import Canned, choice

USER = [{"role": "user", "content": "How many?"}]
NOISE = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
PICTURE = data_url(encode_png(NOISE, {}))  # as large as an artwork
TASK = Task(name="hi", max_new_tokens=8, score=lambda row, text: float(text == "hi"))


class Keeper(Canned):
    """Keeps pictures by name as vLLM does, and counts; `miss` is the status of a name that it does not know."""

    def __init__(self, owner: str = "vllm") -> None:
        super().__init__()
        self.models = json.dumps({"data": [{"id": "one", "object": "model", "owned_by": owner}]}).encode()
        self.answer, self.miss, self.cache, self.ill = self.respond, 400, {}, 0

    def respond(self, body: dict) -> dict:
        if self.ill:
            self.ill -= 1
            return {"status": 503, "error": {"message": "overloaded"}}
        for part in pictures(body):
            if part["image_url"] is not None:
                if "uuid" in part:
                    self.cache.setdefault(part["uuid"], part["image_url"]["url"])
            elif part["uuid"] not in self.cache:
                return {"status": self.miss, "error": {"message": "Cache miss for image at index 0"}}
        return {"choices": [choice("hi")]}

    @property
    def bytes(self) -> int:
        """Of all bodies."""
        return sum(int(headers["Content-Length"]) for _, headers in self.seen)

    @property
    def whole(self) -> list[bool]:
        """Of each request with a picture, whether it held the bytes."""
        return [bool(part["image_url"]) for body, _ in self.seen for part in pictures(body)]


def pictures(body: dict) -> list[dict]:
    """Image parts of a request."""
    parts = [part for m in body["messages"] if isinstance(m["content"], list) for part in m["content"]]
    return [part for part in parts if part["type"] == "image_url"]


@pytest.fixture
def keeper():
    yield from running(Keeper())


@pytest.fixture
def stranger():
    yield from running(Keeper("somebody"))


def running(server: Keeper):
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def shown(url: str = PICTURE) -> list[dict]:
    return place_image(USER, url)


def test_bytes_of_a_hundred_rows(keeper, stranger):
    """Sixteen at a time; before, each row carried the picture."""
    rows = [{"prompt": USER}] * 100
    for server in (keeper, stranger):
        assert score_rows(TASK, rows, OnEngine(Engine(server.url), PICTURE)).score == 1.0
    assert stranger.whole == [True] * 100
    assert keeper.whole == [True] + [False] * 100
    assert stranger.bytes > 100 * len(PICTURE)
    assert keeper.bytes < len(PICTURE) + 101 * 500


def test_an_engine_that_keeps_none_gets_the_request_as_it_was(stranger):
    engine = Engine(stranger.url)
    engine.show(PICTURE)
    assert not stranger.seen
    for _ in range(2):
        engine.complete(shown())
    assert [body["messages"] for body, _ in stranger.seen] == [shown()] * 2


@pytest.mark.parametrize("status", [400, 422, 500])
def test_a_picture_that_was_dropped_is_sent_again_at_once(keeper, status):
    """Also where openai's client would wait and repeat a request without bytes."""
    engine, keeper.miss = Engine(keeper.url), status
    for _ in range(2):
        assert engine.complete(shown()).text == "hi"
    keeper.cache.clear()  # as after a restart
    for _ in range(2):
        assert engine.complete(shown()).text == "hi"
    assert keeper.whole == [True, False, False, True, False]
    assert list(keeper.cache.values()) == [PICTURE]


def test_a_restarted_engine_is_sent_the_bytes_again(keeper):
    engine = Engine(keeper.url, retries=0)
    engine.complete(shown())
    port = keeper.server_port
    keeper.shutdown()
    keeper.server_close()
    with pytest.raises(EngineError, match="nobody answers"):
        Engine(keeper.url, retries=0)
    stub = StubEngine(("one",), port=port)
    with stub.running():
        engine.complete(shown())
        assert [bool(pictures(body)[0]["image_url"]) for body in stub.requests] == [False, True]


def test_a_request_at_fault_is_refused_as_before_and_an_overload_is_retried(keeper):
    engine = Engine(keeper.url, retries=1)
    engine.complete(shown())
    keeper.ill = 1
    assert engine.complete(shown()).text == "hi"
    assert keeper.whole == [True, False, False]
    keeper.answer = lambda body: {"status": 400, "error": {"message": "too long"}}
    with pytest.raises(RequestRefused, match="too long"):
        engine.complete(shown())
    assert keeper.whole[3:] == [False, True]


def test_no_two_pictures_share_a_name_and_none_is_a_clients_own(keeper):
    engine, other = Engine(keeper.url), data_url(encode_png(255 - NOISE, {}))
    for url in (PICTURE, other, PICTURE, other):
        engine.complete(shown(url))
    assert keeper.whole == [True, True, False, False]
    assert {*keeper.cache.values()} == {PICTURE, other}
    assert all(name.startswith("pixeltune-") and len(name) == 74 for name in keeper.cache)
    named = shown()
    named[0]["content"][0]["uuid"] = "mine"
    for _ in range(2):
        engine.complete(named)
    assert keeper.whole[4:] == [True, True]
    assert "mine" in keeper.cache


def test_what_is_no_picture_at_the_front_stays_as_it_was(keeper):
    client = openai.OpenAI(base_url=f"{keeper.url}/v1", api_key="x", http_client=OnceClient())
    by_address = place_image(USER, "http://host/picture.png")
    behind = [{"role": "user", "content": [{"type": "text", "text": "x"}, shown()[0]["content"][0]]}]
    for messages in (USER, by_address, behind, [], [{"role": "system", "content": '"image_url"'}]):
        client.chat.completions.create(model="one", messages=messages)
        assert keeper.seen[-1][0]["messages"] == messages


def test_show_says_nothing_of_a_failure_and_the_request_then_does(keeper):
    engine = Engine(keeper.url, retries=0)
    keeper.ill = 2
    engine.show(PICTURE)
    with pytest.raises(EngineError, match="overloaded"):
        engine.complete(shown())
    assert engine.complete(shown()).text == "hi"
    assert keeper.whole == [True] * 3


@pytest.mark.parametrize("kind", [openai.OpenAI, openai.AsyncOpenAI])
def test_with_artwork_sends_its_bytes_once_also_in_streams(kind):
    with StubEngine().running() as engine:
        client = with_artwork(kind(base_url=engine.url, api_key="key"), make_artwork(0))

        async def ask(**options):
            answer = client.chat.completions.create(model="base", messages=USER, **options)
            return await answer if kind is openai.AsyncOpenAI else answer

        async def all_of_it():
            await ask(stream=True)
            await ask()
            engine.cache.clear()
            await ask(stream=True)
            await ask()

        asyncio.run(all_of_it())
        parts = [pictures(body)[0] for body in engine.requests]
        assert [bool(part["image_url"]) for part in parts] == [True, False, False, True, False]
        assert len({part["uuid"] for part in parts}) == 1
        assert {*engine.cache.values()} == {make_artwork(0).data_url()}


@pytest.mark.parametrize("models", [b"<html>", b"[]", b'{"data": 5}', b'{"data": [7, {"id": "one"}]}'])
def test_with_artwork_an_engine_that_lists_anything_else_gets_bytes_without_a_name(keeper, models):
    keeper.models = models
    client = with_artwork(openai.OpenAI(base_url=f"{keeper.url}/v1", api_key="x"), make_artwork(0))
    for _ in range(2):
        client.chat.completions.create(model="one", messages=USER)
    assert keeper.whole == [True, True]
    assert not keeper.cache


def test_as_many_names_are_kept_as_may_be_and_the_oldest_goes(monkeypatch):
    monkeypatch.setattr("pixeltune.engines.kept_pictures.REMEMBERED", 2)
    kept = KeptPictures()
    kept.remember("a")
    kept.remember("b")
    assert kept.holds("a")  # and so is younger than b
    kept.remember("c")
    assert [kept.holds(name) for name in "abc"] == [True, False, True]


def test_a_real_vllm_server_is_sent_the_bytes_once_and_answers_the_same(vllm_url, monkeypatch):
    """With a name that it does not know, too: then the bytes follow."""
    sent, rows = [], sums.TASK.rows("test", 12, seed=9)
    send = openai.DefaultHttpxClient.send

    def counted(self, request, **options):
        if request.method == "POST":
            sent.append(len(request.read()))
        return send(self, request, **options)

    monkeypatch.setattr(openai.DefaultHttpxClient, "send", counted)
    engine = Engine(vllm_url)
    once = score_rows(sums.TASK, rows, OnEngine(engine, PICTURE, concurrency=4))
    assert [size > len(PICTURE) for size in sent] == [True] + [False] * 12
    sent.clear()
    engine._exchanges.told(engine.url, [])  # as to an engine that keeps none
    plain = score_rows(sums.TASK, rows, OnEngine(engine, PICTURE, concurrency=4))
    assert [size > len(PICTURE) for size in sent] == [True] * 12
    assert [one["completions"] for one in once.records] == [one["completions"] for one in plain.records]
    sent.clear()
    unseen = data_url(encode_png(255 - NOISE, {}))
    engine._exchanges.told(engine.url, [{"owned_by": "vllm"}])
    monkeypatch.setattr(KeptPictures, "holds", lambda *_: True)  # it restarted, and nobody noticed
    answer = engine.complete(place_image(USER, unseen), max_tokens=4)
    assert [size > len(PICTURE) for size in sent] == [False, True]
    assert engine.complete(place_image(USER, unseen), max_tokens=4).text == answer.text
    assert [size > len(PICTURE) for size in sent] == [False, True, False]


def test_pictures_with_the_same_bytes_of_pixels_have_two_names():
    square, strip = np.full((28, 56, 3), 128, np.uint8), np.full((56, 28, 3), 128, np.uint8)
    names = {kept_name(data_url(encode_png(one, {})).encode()) for one in (square, strip)}
    assert square.tobytes() == strip.tobytes()
    assert len(names) == 2
