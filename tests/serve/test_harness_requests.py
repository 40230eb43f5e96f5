"""Requests of evaluation harnesses, recorded by `benchmarks/harnesses.py`, through the gateway."""

import json
import urllib.request
from pathlib import Path

import pytest

from gateways import gateway, make_artwork
from pixeltune.data.requests import ENDPOINTS
from stub_engine import StubEngine

RECORDED = json.loads((Path(__file__).parents[1] / "fixtures" / "harnesses.json").read_text())


@pytest.fixture(scope="module")
def engine():
    with StubEngine(models=("tiny",)).running() as stub:
        yield stub


@pytest.fixture(scope="module")
def served(engine, tmp_path_factory):
    folder = tmp_path_factory.mktemp("artworks")
    for number, name in enumerate({request["body"]["model"] for request in RECORDED.values()}):
        make_artwork(number, base="tiny").save(folder / f"{name}.png")
    with gateway(folder, "--upstream", engine.url, log=folder / "log.jsonl") as it:
        yield it


def post(served, path, body):
    request = urllib.request.Request(
        f"{served.url}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.status


@pytest.mark.parametrize("name", RECORDED)
def test_a_harness_s_request_gets_the_artwork_once_and_is_the_same_otherwise(served, engine, name):
    path, body = RECORDED[name]["path"], RECORDED[name]["body"]
    assert post(served, path, body) == 200
    sent, field = engine.requests[-1], ENDPOINTS[path][0]
    assert sent == {**body, "model": "tiny", field: sent[field]}
    first = next(number for number, message in enumerate(body[field]) if message["role"] == "user")
    others = [number for number in range(len(body[field])) if number != first]
    assert [sent[field][number] for number in others] == [body[field][number] for number in others]
    part, text = sent[field][first]["content"]
    kind, image = {"messages": ("text", "image_url"), "input": ("input_text", "input_image")}[field]
    assert part["type"] == image
    assert text == {"type": kind, "text": body[field][first]["content"]}


def test_calls_and_their_results_go_back_as_they_are(served, engine):
    """How bfcl-eval goes on in a conversation of several turns."""
    body = RECORDED["bfcl-eval, calls"]["body"]
    items = [
        {"type": "function_call", "call_id": "1", "name": "weather", "arguments": '{"city": "Paris"}'},
        {"type": "function_call_output", "call_id": "1", "output": '{"temperature": 5}'},
        {"role": "user", "content": "And in Rome?"},
    ]
    assert post(served, "responses", {**body, "input": [*body["input"], *items]}) == 200
    assert engine.requests[-1]["input"][1:] == items
    assert json.dumps(engine.requests[-1]).count("input_image") == 1


def test_recorded_are_few_shot_turns_and_tools_of_both_endpoints():
    """So that the requests above are not all alike."""
    turns = [len(request["body"].get("messages", ())) for request in RECORDED.values()]
    assert max(turns) == 5  # two examples
    assert {request["path"] for request in RECORDED.values() if "tools" in request["body"]} == set(ENDPOINTS)
