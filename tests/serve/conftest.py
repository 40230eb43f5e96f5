"""A folder of artworks, a stand-in for an engine, and the gateway in front of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from gateways import Served, gateway, make_artwork
from stub_engine import StubEngine


@pytest.fixture(scope="module")
def engine() -> Iterator[StubEngine]:
    """A stand-in that keeps pictures like vLLM."""
    with StubEngine().running() as stub:
        yield stub


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artworks: art, team-a/one, team-b/two, foreign (for another base), both (for either), broken."""
    folder = tmp_path_factory.mktemp("artworks")
    make_artwork(0).save(folder / "art.png")
    make_artwork(1).save(folder / "team-a" / "one.png")
    make_artwork(2).save(folder / "team-b" / "two.png")
    make_artwork(3, base="another").save(folder / "foreign.png")
    make_artwork(5, base="another", training={"also": {"base": "0"}}).save(folder / "both.png")
    (folder / "broken.png").write_bytes(make_artwork(4).png()[:60])
    (folder / "notes.txt").write_text("not a picture")
    return folder


@pytest.fixture(scope="module")
def served(engine: StubEngine, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The gateway in front of the stand-in, with short timeouts."""
    log = tmp_path_factory.mktemp("log") / "log.jsonl"
    with gateway(
        folder, "--upstream", engine.url, "--timeout", 2, "--pause", 2, "--max-body", 4_000_000, log=log
    ) as it:
        yield it


@pytest.fixture(scope="module")
def by_name(served: Served) -> openai.OpenAI:
    """A client of the gateway that a file of tests has."""
    return openai.OpenAI(base_url=served.url, api_key="x", max_retries=0)


@pytest.fixture(scope="module")
def by_hand(vllm_url: str) -> openai.OpenAI:
    """A client of the real server behind it."""
    return openai.OpenAI(base_url=vllm_url, api_key="x", max_retries=0)
