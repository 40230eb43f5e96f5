"""Which engine gets a request, and what happens when one falls ill, goes, and comes back."""

import collections
import contextlib
import http.server
import json
import threading

import openai
import pytest

from gateways import gateway, make_artwork, wait
from pixeltune.serve import upstreams as module
from pixeltune.serve.bodies import RequestError
from pixeltune.serve.upstreams import Upstreams
from stub_engine import StubEngine

URLS = [f"http://engine-{i}:8000" for i in range(4)]


def fleet(count=4, **options):
    upstreams = Upstreams(URLS[:count], **options)
    for upstream in upstreams.all:
        upstream.models, upstream.names, upstream.reachable = {"base": {}}, {"base": "base"}, True
    return upstreams


def test_a_picture_stays_with_its_engine_and_pictures_spread():
    upstreams = fleet()
    chosen = {art: upstreams.choose("base", str(art)) for art in range(400)}
    assert all(upstreams.choose("base", str(art)) is upstream for art, upstream in chosen.items())
    counts = collections.Counter(upstream.url for upstream in chosen.values())
    assert min(counts.values()) > 60  # of 100 on average


def test_two_copies_of_the_gateway_agree():
    one, other = fleet(), fleet()
    other.all.reverse()
    for art in map(str, range(50)):
        assert one.choose("base", art).url == other.choose("base", art).url


def test_when_an_engine_goes_only_its_pictures_move():
    upstreams = fleet()
    before = {art: upstreams.choose("base", str(art)) for art in range(200)}
    gone = upstreams.all[0]
    gone.lost("test")
    for art, upstream in before.items():
        assert (upstreams.choose("base", str(art)) is upstream) == (upstream is not gone)


def test_load_goes_before_affinity():
    upstreams = fleet()
    for _ in range(400):
        upstreams.choose("base", "one picture").in_flight += 1
    assert max(upstream.in_flight for upstream in upstreams.all) <= 126


def test_without_a_picture_the_least_busy_one_is_chosen():
    upstreams = fleet()
    for _ in range(8):
        upstreams.choose("base", None).in_flight += 1
    assert [upstream.in_flight for upstream in upstreams.all] == [2, 2, 2, 2]


def test_capacity_is_a_bound():
    upstreams = fleet(2, capacity=3)
    for _ in range(6):
        upstreams.choose("base", "x").in_flight += 1
    with pytest.raises(RequestError) as caught:
        upstreams.choose("base", "x")
    assert (caught.value.status, caught.value.retry_after) == (429, 1)


def test_failures_in_a_row_put_an_engine_to_rest():
    upstreams = fleet(2)
    ill = upstreams.choose("base", "x")
    for status in [500] * 4 + [200] + [500] * 4:
        ill.answered(status)
    assert ill.well
    ill.answered(503)
    assert not ill.well
    assert upstreams.choose("base", "x") is not ill
    ill._rests_until -= module.REST_SECONDS
    assert upstreams.choose("base", "x") is ill


def test_an_ill_engine_is_better_than_none():
    upstreams = fleet(1)
    for _ in range(10):
        upstreams.all[0].answered(500)
    assert upstreams.choose("base", None) is upstreams.all[0]


def test_nobody_there():
    upstreams = fleet(2)
    for upstream in upstreams.all:
        upstream.lost("test")
    with pytest.raises(RequestError) as caught:
        upstreams.choose("base", None)
    assert (caught.value.status, caught.value.code) == (503, "engine_unavailable")
    assert "no engine that serves 'base' is reachable: the engine at http://engine-0:8000/v1 does not" in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("reachable", "told", "silent"),
    [([True, True], [True, True], 0), ([True, False], [True, True], 0), ([True, False], [True, False], 1),
     ([False, False], [True, True], 2), ([False, False], [False, False], 2)],
)  # fmt: skip
def test_who_may_serve_anything_for_all_we_know(reachable, told, silent):
    upstreams = fleet(2)
    for upstream, there, known in zip(upstreams.all, reachable, told, strict=True):
        upstream.reachable, upstream.names = there, upstream.names if known else {}
    assert len(upstreams.silent()) == silent


@pytest.mark.parametrize("url", ["", "host:8000", "ftp://host/v1", "http://", "file:///etc/passwd"])
def test_addresses_are_checked_before_anything_starts(url):
    with pytest.raises(ValueError, match="--upstream"):
        Upstreams([url])


def test_passwords_in_addresses_are_not_shown():
    (upstream,) = Upstreams(["http://user:password@host:8000"]).all
    assert (upstream.name, upstream.address) == ("host:8000", "http://host:8000/v1")


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_an_engine_that_compresses_its_list_of_models_is_found(tmp_path, coding):
    make_artwork(0).save(tmp_path / "artworks" / "art.png")
    engine = StubEngine()
    engine.packs = coding
    with (
        engine.running(),
        gateway(tmp_path / "artworks", "--upstream", engine.url, log=tmp_path / "log") as served,
    ):
        assert {model["id"] for model in json.loads(served.get("/v1/models")[1])["data"]} == {"base", "art"}


def test_engines_go_and_come_back(tmp_path):
    """Two engines of one base and one of another. Whoever holds the picture dies, and no request fails."""
    make_artwork(0).save(tmp_path / "artworks" / "art.png")
    make_artwork(1, base="another").save(tmp_path / "artworks" / "foreign.png")
    with contextlib.ExitStack() as stack:
        twins = [StubEngine(), StubEngine()]
        running = {twin: twin.running() for twin in twins}
        for context in running.values():
            context.__enter__()
            stack.push(context)
        third = stack.enter_context(StubEngine(("another",)).running())
        flags = [flag for engine in (*twins, third) for flag in ("--upstream", engine.url)]
        served = stack.enter_context(gateway(tmp_path / "artworks", *flags, log=tmp_path / "log"))
        client = openai.OpenAI(base_url=served.url, api_key="x", max_retries=0)

        def ask(model="art"):
            said = [{"role": "user", "content": "x"}]
            return client.chat.completions.create(model=model, messages=said).choices[0].message.seen

        def up():
            return sum(json.loads(served.get("/readyz")[1])["upstreams"].values())

        wait(lambda: up() == 3)
        for _ in range(5):
            assert len(ask()) == 1
        assert len(ask("foreign")) == 1
        assert third.requests[-1]["model"] == "another"
        holder, other = twins if twins[0].requests else reversed(twins)
        assert (len(holder.requests), len(other.requests)) == (5, 0)
        running[holder].__exit__(None, None, None)
        for _ in range(5):
            assert len(ask()) == 1
        assert len(other.requests) == 5
        wait(lambda: up() == 2)
        returned = stack.enter_context(StubEngine(port=holder.port).running())
        wait(lambda: up() == 3)
        assert len(ask()) == 1
        assert returned.requests[-1]["messages"][0]["content"][0]["image_url"]  # its cache is a new one


def asked(served, model):
    """Status and error of a chat with a model."""
    client = openai.OpenAI(base_url=served.url, api_key="x", max_retries=0)
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}])
    return caught.value.status_code, caught.value.body


@pytest.mark.parametrize("model", ["art", "base"])
def test_an_engine_that_is_down_is_said_to_be_down_and_is_found_when_it_comes_up(model, tmp_path):
    make_artwork(0).save(tmp_path / "artworks" / "art.png")
    with StubEngine().running() as free:  # a port that nobody has, afterwards
        port, url = free.port, free.url
    with gateway(tmp_path / "artworks", "--upstream", url, log=tmp_path / "log", ready=503) as served:
        (told,) = [line for line in served.lines() if line["event"] == "the engine does not answer"]
        assert (told["address"], told["level"]) == (url, "warning")
        assert told["advice"] == "Start it, or correct --upstream."
        status, error = asked(served, model)
        assert (status, error["code"]) == (503, "engine_unavailable")
        for words in (model, f"the engine at {url} does not answer", "Start it", "looks again every 1 s"):
            assert words in error["message"]
        with StubEngine(port=port).running():
            wait(lambda: served.get("/readyz")[0] == 200)
            client = openai.OpenAI(base_url=served.url, api_key="x", max_retries=0)
            client.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}])
            assert asked(served, "nobody")[0] == 404
        wait(lambda: served.get("/readyz")[0] == 503)
        assert asked(served, model)[1]["code"] == "engine_unavailable"
    assert sum(line["event"] == "the engine does not answer" for line in served.lines()) == 1


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "wants an API key (/models answers 401). Put its key"),
        (404, "does not list its models (/models"),
        (503, "is not ready (/models answers 503). Wait until it is, or see its log."),
    ],
)
def test_an_engine_that_answers_otherwise_is_not_said_to_be_down(status, words, tmp_path):
    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    make_artwork(0).save(tmp_path / "artworks" / "art.png")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/v1"
        with gateway(tmp_path / "artworks", "--upstream", url, log=tmp_path / "log", ready=503) as served:
            wait(lambda: words.partition(" (")[0] in asked(served, "art")[1]["message"])
            got, error = asked(served, "art")
        server.shutdown()
    assert (got, error["code"]) == (503, "engine_unavailable")
    assert words in error["message"]
