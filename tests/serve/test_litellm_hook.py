"""The hook inside LiteLLM's proxy: its own behaviour without LiteLLM, and the real proxy where it is installed."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from gateways import make_artwork, wait
from pixeltune.errors import UserError
from stub_engine import StubEngine

MODULE = "pixeltune.serve.litellm_hook"
USER = [{"role": "user", "content": "hello"}]
REFUSALS = [
    ({"model": "art", "messages": [{"role": "system", "content": "x"}]}, 400, "user message"),
    (
        {"model": "art", "messages": [{"role": "user", "content": "<|image_pad|>"}]},
        400,
        "stands for pictures",
    ),
    ({"model": "broken", "messages": USER}, 503, "cannot be served"),
]


class Error(Exception):
    """As FastAPI's."""

    def __init__(self, status_code: int, detail: str) -> None:
        self.status_code, self.detail = status_code, detail


def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is taken of LiteLLM and FastAPI: two classes to inherit from."""
    modules = {name: types.ModuleType(name) for name in ("litellm", "litellm.integrations", "fastapi")}
    modules["litellm.integrations.custom_logger"] = types.ModuleType("custom_logger")
    modules["litellm.integrations.custom_logger"].CustomLogger = type("CustomLogger", (), {})
    modules["fastapi"].HTTPException = Error
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)


@pytest.fixture
def hook(monkeypatch, folder) -> Iterator[Any]:
    """What LiteLLM finds under the dotted path."""
    stand_in(monkeypatch)
    monkeypatch.setenv("PIXELTUNE_ARTWORKS", str(folder))
    yield importlib.import_module(MODULE).artworks
    sys.modules.pop(MODULE)


def run(hook: Any, data: dict, kind: str = "acompletion") -> dict:
    return asyncio.run(hook.async_pre_call_hook(None, None, data, kind))


def test_the_artwork_is_placed_and_the_rest_is_litellms(hook):
    own = {"metadata": {"a": object()}, "proxy_server_request": {"body": {}}, "stream": True}
    own["metadata"]["self"] = own  # a ring, and things that are no JSON
    placed = run(hook, {"model": "team-a/one", "messages": USER, **own})
    picture, text = placed["messages"][0]["content"]
    assert picture["image_url"]["url"] == make_artwork(1).data_url()
    assert text == {"type": "text", "text": "hello"}
    assert placed["model"] == "base"
    assert all(placed[name] is value for name, value in own.items())


def test_the_responses_api(hook):
    placed = run(hook, {"model": "art", "input": "hello"}, "aresponses")
    assert placed["input"][0]["content"][0]["image_url"] == make_artwork(0).data_url()
    assert placed["model"] == "base"


@pytest.mark.parametrize("kind", ["acompletion", "aembedding", "call_mcp_tool"])
@pytest.mark.parametrize("data", [{"model": "gpt", "messages": 5}, {"model": None}, {}])
def test_what_names_no_artwork_is_litellms_alone(hook, kind, data):
    assert run(hook, data, kind) is data


@pytest.mark.parametrize(("data", "status", "words"), REFUSALS)
def test_refusals_have_the_gateways_words(hook, data, status, words):
    with pytest.raises(Error) as caught:
        run(hook, data)
    assert caught.value.status_code == status
    assert words in caught.value.detail
    assert caught.value.type in ("invalid_request_error", "server_error")


def test_an_artwork_needs_a_chat(hook):
    with pytest.raises(Error) as caught:
        run(hook, {"model": "art", "input": "x"}, "aembedding")
    assert "needs a chat" in caught.value.detail


def test_too_large_a_picture_and_too_deep_a_conversation_are_refused(hook):
    deep: Any = []
    for _ in range(80):
        deep = [deep]
    with pytest.raises(Error) as caught:
        run(hook, {"model": "art", "messages": [*USER, {"role": "user", "content": deep}]})
    assert caught.value.status_code == 400


def test_the_class_itself_has_the_hook(hook):
    """LiteLLM asks for it in `vars` of the class."""
    assert "async_pre_call_hook" in vars(type(hook))


@pytest.mark.parametrize("folder", [None, "", "/nowhere"])
def test_without_a_folder_the_proxy_does_not_start(monkeypatch, folder):
    stand_in(monkeypatch)
    monkeypatch.delenv("PIXELTUNE_ARTWORKS", raising=False)
    if folder is not None:
        monkeypatch.setenv("PIXELTUNE_ARTWORKS", folder)
    with pytest.raises(UserError, match=r"PIXELTUNE_ARTWORKS is not set|cannot be read"):
        importlib.import_module(MODULE)


# From here on the real one.

CONFIG = """
model_list:
  - model_name: base
    litellm_params: {{model: openai/base, api_base: "{url}", api_key: none}}
litellm_settings:
  callbacks: [pixeltune.serve.litellm_hook.artworks]
environment_variables:
  PIXELTUNE_ARTWORKS: "{folder}"
"""


@pytest.fixture(scope="module")
def proxy(folder, tmp_path_factory) -> Iterator[tuple[openai.OpenAI, StubEngine, Path]]:
    """LiteLLM's proxy as a process of its own, in front of the stand-in."""
    if importlib.util.find_spec("litellm") is None:
        pytest.skip(
            "litellm is not installed: pip install 'litellm[proxy]' runs these against the real proxy"
        )
    place = tmp_path_factory.mktemp("litellm")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with StubEngine(like_vllm=False).running() as engine:
        (place / "config.yaml").write_text(CONFIG.format(url=engine.url, folder=folder))
        command = ["from litellm import run_server; run_server()", "--config", str(place / "config.yaml")]
        command += ["--port", str(port), "--host", "127.0.0.1"]
        env = {"PATH": os.environ["PATH"], "HOME": str(place), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        with (place / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", *command], stdout=log, stderr=log, env=env, cwd=place
            )
        try:
            client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)
            wait(lambda: _listens(port) or process.poll() is not None, 180)
            assert process.poll() is None, (place / "log").read_text()[-4000:]
            yield client, engine, place
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _listens(port: int) -> bool:
    socket.create_connection(("127.0.0.1", port), 5).close()
    return True


def test_in_the_real_proxy_a_name_shows_its_picture(proxy):
    client, engine, _ = proxy
    answer = client.chat.completions.create(model="team-a/one", messages=USER, seed=5)
    assert answer.choices[0].message.content == "hello"
    print(answer.model)
    body = engine.requests[-1]
    assert (body["model"], body["seed"]) == ("base", 5)
    assert body["messages"][0]["content"][0]["image_url"]["url"] == make_artwork(1).data_url()
    assert body["messages"][0]["content"][1] == {"type": "text", "text": "hello"}


def test_in_the_real_proxy_streams_and_base_models(proxy):
    client, engine, _ = proxy
    said = [{"role": "user", "content": "a b c"}]
    parts = [
        part.choices[0].delta.content or ""
        for part in client.chat.completions.create(model="art", messages=said, stream=True)
        if part.choices
    ]
    assert "".join(parts) == "abc"
    assert make_artwork(0).data_url() in json.dumps(engine.requests[-1])
    client.chat.completions.create(model="base", messages=USER)
    assert engine.requests[-1]["messages"] == USER


def test_in_the_real_proxy_the_responses_api(proxy):
    client, engine, _ = proxy
    with contextlib.suppress(openai.APIStatusError):  # the stand-in answers with a chat completion
        client.responses.create(model="art", input="hello")
    assert engine.requests[-1]["model"] == "base"
    (message,) = engine.requests[-1]["input"]
    assert message["content"][0]["image_url"] == make_artwork(0).data_url()


@pytest.mark.parametrize(("data", "status", "words"), REFUSALS)
def test_in_the_real_proxy_refusals_reach_the_client(proxy, data, status, words):
    client, engine, _ = proxy
    before = len(engine.requests)
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(**data)
    assert caught.value.status_code == status
    assert words in caught.value.body["message"]
    with pytest.raises(openai.BadRequestError, match="needs a chat"):
        client.embeddings.create(model="art", input="x")
    assert len(engine.requests) == before


def test_the_real_proxy_does_not_start_without_a_folder(proxy):
    _, _, place = proxy
    config = (place / "config.yaml").read_text().partition("environment_variables")[0]
    (place / "without.yaml").write_text(config)
    command = [
        "from litellm import run_server; run_server()",
        "--config",
        str(place / "without.yaml"),
        "--port",
        "0",
    ]
    env = {"PATH": os.environ["PATH"], "HOME": str(place), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    done = subprocess.run(
        [sys.executable, "-c", *command], capture_output=True, text=True, env=env, cwd=place, timeout=180
    )
    assert done.returncode != 0
    assert "PIXELTUNE_ARTWORKS is not set" in done.stdout + done.stderr
