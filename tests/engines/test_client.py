"""An openai client that sends an artwork along, in front of a stand-in for an engine."""

import asyncio
import base64
import sys
from pathlib import Path

import openai
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "serve"))

from gateways import make_artwork
from pixeltune.artwork.artwork import ArtworkError
from pixeltune.engines.client import ArtworkClient, with_artwork
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
    """Whether the last request showed the artwork in front of the first user message."""
    part = engine.requests[-1]["messages"][1]["content"][0]
    return base64.b64decode(part["image_url"]["url"].partition(",")[2]) == make_artwork(0).png()


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
