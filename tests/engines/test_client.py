"""An openai client that sends an artwork along, in front of a stand-in for an engine."""

import asyncio
import base64
import sys
from pathlib import Path

import openai
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "serve"))

from gateways import make_artwork
from pixeltune.artwork.png import ArtworkError
from pixeltune.data.placement import place_image
from pixeltune.engines.client import ArtworkClient, with_artwork
from pixeltune.errors import UserError
from stub_engine import StubEngine

USER = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How many?"}]


@pytest.fixture(scope="module")
def engine():
    with StubEngine().running() as stub:
        yield stub


@pytest.fixture(scope="module")
def png(tmp_path_factory):
    return make_artwork(0).save(tmp_path_factory.mktemp("art") / "art.png")


def sent(engine, png):
    """Whether the last request showed the artwork in front of the first user message, itself or by its name."""
    part = engine.requests[-1]["messages"][1]["content"][0]
    url = part["image_url"]["url"] if part["image_url"] else engine.cache[part["uuid"]]
    return base64.b64decode(url.partition(",")[2]) == make_artwork(0).png()


def test_every_way_to_ask_for_a_chat_completion(engine, png):
    client = with_artwork(openai.OpenAI(base_url=engine.url, api_key="x"), png)
    completions = client.chat.completions
    completions.create(model="base", messages=USER)
    assert sent(engine, png)
    list(completions.create(model="base", messages=USER, stream=True))
    assert sent(engine, png)
    completions.with_raw_response.create(model="base", messages=USER)
    assert sent(engine, png)
    completions.parse(model="base", messages=USER)
    assert sent(engine, png)
    with completions.with_streaming_response.create(model="base", messages=USER) as answer:
        assert answer.status_code == 200
    assert sent(engine, png)
    client.with_options(max_retries=0).chat.completions.create(model="base", messages=USER)
    assert sent(engine, png)


def test_async(engine, png):
    async def ask():
        async with with_artwork(openai.AsyncOpenAI(base_url=engine.url, api_key="x"), png) as client:
            await client.chat.completions.create(model="base", messages=USER)

    asyncio.run(ask())
    assert sent(engine, png)


def test_responses(engine, png):
    client = with_artwork(openai.OpenAI(base_url=engine.url, api_key="x"), png)
    client.responses.with_raw_response.create(model="base", input="How many?")
    picture, text = engine.requests[-1]["input"][0]["content"]
    assert picture["type"] == "input_image"
    assert text == {"type": "input_text", "text": "How many?"}


def test_everything_else_stays_as_it_was(engine, png):
    plain = openai.OpenAI(base_url=engine.url, api_key="mine", timeout=7, max_retries=5)
    client = with_artwork(plain, png)
    client.completions.create(model="base", prompt="Once")
    assert engine.requests[-1] == {"model": "base", "prompt": "Once"}
    assert client.models.list().data[0].id == "base"
    assert (client.timeout, client.max_retries, client.api_key) == (7, 5, "mine")
    plain.chat.completions.create(model="base", messages=USER)
    assert engine.requests[-1]["messages"] == USER


def test_a_retry_shows_the_artwork_once(engine, png):
    """Placed on each attempt anew, from the request as it was before."""
    client = with_artwork(openai.OpenAI(base_url=engine.url, api_key="x", max_retries=1), png)
    before = len(engine.requests)
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="base", messages=[{"role": "user", "content": "status 500"}])
    assert len(engine.requests) == before + 2
    assert [part["type"] for part in engine.requests[-1]["messages"][0]["content"]] == ["image_url", "text"]


def test_an_http_client_of_its_own(engine, png):
    """What LangChain and others take as `http_client`."""
    client = openai.OpenAI(base_url=engine.url, api_key="x", http_client=ArtworkClient(png))
    client.chat.completions.create(model="base", messages=USER)
    assert sent(engine, png)


def test_what_cannot_work_is_an_error(engine, tmp_path):
    plain = openai.OpenAI(base_url=engine.url, api_key="x")
    with pytest.raises(ArtworkError):
        with_artwork(plain, tmp_path / "no.png")
    with pytest.raises(ValueError, match="no user message"):
        with_artwork(plain, make_artwork(0)).chat.completions.create(
            model="base", messages=[{"role": "system", "content": "x"}]
        )


QUOTE = [{"role": "user", "content": "What does <|image_pad|> mean?"}]
CALL = {"type": "function_call_output", "call_id": "1", "output": "4"}
PROBLEMS = {
    "quote": (lambda c: c.chat.completions.create(model="base", messages=QUOTE), r"<\|image_pad\|>"),
    "stream": (lambda c: c.chat.completions.create(model="base", messages=QUOTE, stream=True), "image_pad"),
    "parse": (lambda c: c.chat.completions.parse(model="base", messages=QUOTE), "image_pad"),
    "raw": (lambda c: c.chat.completions.with_raw_response.create(model="base", messages=QUOTE), "image_pad"),
    "options": (
        lambda c: c.with_options(max_retries=3, base_url=f"{c.base_url}").chat.completions.create(
            model="base", messages=QUOTE
        ),
        "image_pad",
    ),
    "instructions": (
        lambda c: c.responses.create(model="base", input="x", instructions="no <|image_pad|>"),
        "`instructions`",
    ),
    "previous": (
        lambda c: c.responses.create(model="base", input="And now?", previous_response_id="resp_1"),
        "previous_response_id",
    ),
    "conversation": (
        lambda c: c.responses.create(model="base", input="And now?", conversation="conv_1"),
        "conversation",
    ),
    "output alone": (lambda c: c.responses.create(model="base", input=[CALL]), "no user message"),
    "output of a kept call": (
        lambda c: c.responses.create(model="base", input=[CALL], previous_response_id="resp_1"),
        "previous_response_id",
    ),
    "prompt alone": (lambda c: c.responses.create(model="base", prompt={"id": "pmpt_1"}), "prompt"),
    "nothing": (lambda c: c.responses.create(model="base"), "`input`"),
}


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("kind", [openai.OpenAI, openai.AsyncOpenAI])
def test_what_would_move_the_artwork_is_refused_before_anything_is_sent(engine, png, name, kind):
    ask, words = PROBLEMS[name]
    client, before = with_artwork(kind(base_url=engine.url, api_key="x"), png), len(engine.requests)

    async def awaited():
        await ask(client)

    with pytest.raises(UserError, match=words):
        asyncio.run(awaited()) if kind is openai.AsyncOpenAI else ask(client)
    assert len(engine.requests) == before


def test_an_artwork_that_is_there_already_is_not_placed_again(engine, png):
    client = with_artwork(openai.OpenAI(base_url=engine.url, api_key="x"), png)
    with pytest.raises(UserError, match="already in this conversation"):
        client.chat.completions.create(model="base", messages=place_image(USER, make_artwork(0).data_url()))
    other = make_artwork(1).data_url()  # a picture of the user's own
    client.chat.completions.create(model="base", messages=place_image(USER, other))
    kinds = [part["type"] for part in engine.requests[-1]["messages"][1]["content"]]
    assert kinds == ["image_url", "image_url", "text"]


def test_helpers_that_stream_show_the_artwork_too(engine, png):
    client = with_artwork(openai.OpenAI(base_url=engine.url, api_key="x"), png)
    with client.chat.completions.stream(model="base", messages=USER) as stream:
        next(iter(stream))
    assert sent(engine, png)
    before = len(engine.requests)
    with (
        pytest.raises(UserError, match="image_pad"),
        client.chat.completions.stream(model="base", messages=QUOTE),
    ):
        pass
    assert len(engine.requests) == before


def test_without_an_artwork_such_requests_pass(engine):
    plain = openai.OpenAI(base_url=engine.url, api_key="x")
    plain.chat.completions.create(model="base", messages=QUOTE)
    assert engine.requests[-1]["messages"] == QUOTE


def test_repeated_and_utf8_headers_of_a_client_stay(png):
    client = ArtworkClient(png)
    headers = [("X-Tag", "a"), ("X-Tag", "b"), ("X-Name", "Zoë".encode())]
    request = client.build_request(
        "POST", "http://x/v1/chat/completions", json={"messages": USER}, headers=headers
    )
    raw = client._placing(request).headers.raw
    assert [value for name, value in raw if name.lower() == b"x-tag"] == [b"a", b"b"]
    assert ("Zoë".encode()) in [value for _, value in raw]
