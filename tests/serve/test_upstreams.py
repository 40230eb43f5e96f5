"""Which engine gets a request, and what happens when one falls ill, goes, and comes back."""

import collections
import contextlib
import json

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
    assert caught.value.status == 503


@pytest.mark.parametrize("url", ["", "host:8000", "ftp://host/v1", "http://", "file:///etc/passwd"])
def test_addresses_are_checked_before_anything_starts(url):
    with pytest.raises(ValueError, match="--upstream"):
        Upstreams([url])


def test_passwords_in_addresses_are_not_shown():
    (upstream,) = Upstreams(["http://user:password@host:8000"]).all
    assert upstream.name == "host:8000"


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
