"""The gateway in front of artworks on the hub: names, commits that stay, and what is left out or refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import openai
import pytest
from huggingface_hub import constants

from gateways import gateway, make_artwork
from hub_server import READER, StandInHub
from pixeltune.artwork import hub as artwork_hub
from pixeltune.cli.main import main
from pixeltune.errors import UserError
from pixeltune.serve.hub import HubShelf, open_shelf
from pixeltune.serve.shelf import Shelf


@pytest.fixture(scope="module")
def running() -> Iterator[StandInHub]:
    with StandInHub().running() as hub:
        yield hub


@pytest.fixture
def hub(running, tmp_path, monkeypatch) -> StandInHub:
    """A hub with the artwork me/art, older on the branch v1, and a collection in which not all are artworks."""
    running.repos = {}
    running.used_here(monkeypatch, tmp_path / "home", READER)
    art = running.repo("me/art", {"artwork.png": make_artwork(0).png()})
    art.branches["v1"] = art.branches["main"]
    art.add({"artwork.png": make_artwork(1).png()})
    running.repo("you/Other.one", {"artwork.png": make_artwork(2).png()})
    running.repo("you/model", {"model.safetensors": b"weights"})
    running.repo("you/broken", {"artwork.png": make_artwork(3).png()[:99]})
    running.repo("you/gated", {"artwork.png": make_artwork(4).png()}, gated=True)
    items = [("model", "me/art"), ("dataset", "you/rows"), ("model", "you/Other.one"), ("model", "you/model")]
    items += [("model", "you/broken"), ("model", "you/gated"), ("model", "you/gone")]
    running.collections = {"me/all-1f": items, "me/none-2f": items[3:4]}
    return running


def shown(shelf: Shelf) -> dict[str, str]:
    """By name the hash of the pixels that are served."""

    async def look() -> dict[str, str]:
        await shelf.refresh()
        return {name: (await shelf.picture(name)).sha256 for name in shelf.entries}

    return asyncio.run(look())


def test_a_repository_is_a_model_and_stays_at_its_commit(hub, engine, tmp_path):
    with gateway("hf://me/art", "--upstream", engine.url, log=tmp_path / "log") as served:
        (line,) = [line for line in served.lines() if line["event"] == "artwork from the hub"]
        assert (line["artwork"], line["commit"]) == ("me/art", hub.repos["me/art"].branches["main"])
        hub.repos["me/art"].add({"artwork.png": make_artwork(9).png()})
        (listed,) = [m for m in json.loads(served.get("/v1/models")[1])["data"] if m.get("artwork")]
        assert (listed["id"], listed["artwork"]["sha256"]) == ("me/art", make_artwork(1).sha256)
        client = openai.OpenAI(base_url=served.url, api_key="x", max_retries=0)
        client.chat.completions.create(model="me/art", messages=[{"role": "user", "content": "x"}])


def test_a_revision_is_named_behind_an_at_sign(hub):
    assert shown(open_shelf("hf://me/art")) == {"me/art": make_artwork(1).sha256}
    for revision in ("v1", hub.repos["me/art"].branches["v1"]):
        assert shown(open_shelf(f"hf://me/art@{revision}")) == {"me/art": make_artwork(0).sha256}


def test_a_collection_is_served_and_what_is_no_artwork_is_told(hub, caplog):
    shelf = open_shelf("hf://collections/me/all-1f")
    assert shown(shelf) == {"me/art": make_artwork(1).sha256, "you/Other.one": make_artwork(2).sha256}
    told = {one.path: one.reason for one in caplog.records if one.getMessage() == "left out"}
    assert sorted(told) == ["you/broken", "you/gated", "you/gone", "you/model", "you/rows"]
    assert told["you/rows"] == "is a dataset; artworks are in model repositories"
    assert "is no artwork, it has no artwork.png" in told["you/model"]
    assert "accept its terms" in told["you/gated"]
    before = len(caplog.records)
    shown(shelf)
    assert len(caplog.records) == before, "told once"


def test_without_a_network_the_ones_of_the_last_time_are_served(hub, monkeypatch, caplog):
    assert shown(open_shelf("hf://me/art"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert shown(open_shelf("hf://me/art")) == {"me/art": make_artwork(1).sha256}
    (line,) = [one for one in caplog.records if one.getMessage() == "taken from the hub's cache"]
    assert "cannot be reached" in line.reason


def test_a_file_that_leaves_the_cache_is_no_longer_listed(hub, caplog):
    shelf = open_shelf("hf://me/art")
    assert shown(shelf)
    shelf.path("me/art").unlink()
    assert shown(shelf) == shown(shelf) == {}
    assert len([one for one in caplog.records if one.getMessage() == "left out"]) == 1


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("hf://me", "--artworks hf://me: give hf://owner/name, hf://owner/name@revision or"),
        ("hf://../../etc", "give hf://owner/name"),
        ("hf://collections/me", "give hf://owner/name"),
        ("hf://me/none", "me/none: cannot read it: the hub"),
        ("hf://me/art@v9", "it has no revision 'v9'"),
        ("hf://you/broken", "you/broken: "),
        ("hf://you/gated", "accept its terms"),
        ("hf://collections/me/nothing", "collection me/nothing: cannot read it: the hub"),
        (
            "hf://collections/me/none-2f",
            "collection me/none-2f has no artwork (you/model: you/model is no artwork",
        ),
    ],
)
def test_what_cannot_be_served_is_refused_before_the_start(address, said, hub, capsys):
    assert main(["serve", "--artworks", address, "--upstream", "http://127.0.0.1:9/v1", "--port", "0"]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_collection_is_not_served_in_part_because_the_hub_went_away(hub, monkeypatch):
    look = artwork_hub.Hub._look

    def gone(self, name, revision=None):
        if name == "you/Other.one":
            raise TimeoutError("no answer")
        return look(self, name, revision)

    monkeypatch.setattr(artwork_hub.Hub, "_look", gone)
    with pytest.raises(UserError, match=r"you/Other\.one: cannot read it: .* cannot be reached"):
        HubShelf("hf://collections/me/all-1f")
