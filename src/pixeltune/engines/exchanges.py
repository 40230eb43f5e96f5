"""HTTP clients, for the `http_client` of `openai.OpenAI`, that send a picture's bytes to an engine only once.

A picture at the front of the first user message of a chat completion gets a name, derived from its bytes; an
engine that keeps pictures by name (vLLM) is sent the name alone from then on. This stands below the retries of
openai's client, so that a picture that is missed costs one more request and no waiting.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import openai

from pixeltune.engines.kept_pictures import MISSES, KeptPictures, keeps_pictures, kept_name, name_part

CHAT = "/chat/completions"
OF_THE_BODY = (b"content-length", b"content-type")


class Exchanges:
    """What is known of the engines that one client speaks to."""

    def __init__(self) -> None:
        self._engines: dict[str, KeptPictures | None] = {}  # by address; None: it keeps none by name

    def told(self, address: str, models: Any) -> None:
        """Take note of what an engine says of its models: entries of `/models`, or whatever else came."""
        entries = [entry for entry in models if isinstance(entry, dict)] if isinstance(models, list) else []
        self._engines[address] = KeptPictures() if keeps_pictures(entries) else None

    def keeps(self, address: str) -> bool:
        """Whether the engine there has told that it keeps pictures by name."""
        return self._engines.get(address) is not None

    def of(self, request: Any) -> Generator[Any, Any, Any]:
        """Yields the requests to send in place of one, takes their answers, and returns the one that counts."""
        found = _pictured(request)
        if found is None:
            return (yield request)
        body, part = found
        path = request.url.path.rstrip("/").removesuffix(CHAT)
        address = str(request.url.copy_with(path=path))
        if address not in self._engines:
            listed = yield _models(request, f"{path}/models")
            if listed.status_code >= 500:  # not ready: asked again next time
                return (yield request)
            self.told(address, _entries(listed))
        kept = self._engines[address]
        if kept is None:
            return (yield request)
        name = kept_name(part["image_url"]["url"].encode())
        name_part(part, name, with_bytes=True)
        if kept.holds(name):
            whole = part.copy()
            name_part(part, name, with_bytes=False)
            answer = yield _with_body(request, body)
            if answer.status_code not in MISSES:
                return answer
            # Either the request is at fault, and is so again, or the engine dropped the picture, or restarted.
            kept.forget(name)
            part |= whole
        answer = yield _with_body(request, body)
        if answer.status_code == 200:
            kept.remember(name)
        return answer


class OnceClient(openai.DefaultHttpxClient):
    """An HTTP client that sends a picture's bytes to an engine only once."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.exchanges = Exchanges()

    def send(self, request: Any, **options: Any) -> Any:
        """Send a request, with the picture or with its name."""
        exchange, answer = self.exchanges.of(request), None
        while True:
            try:
                following = exchange.send(answer)
            except StopIteration as end:
                return end.value
            if answer is not None:
                answer.close()
            answer = super().send(following, **_read(following, options))


class AsyncOnceClient(openai.DefaultAsyncHttpxClient):
    """The same for `openai.AsyncOpenAI`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.exchanges = Exchanges()

    async def send(self, request: Any, **options: Any) -> Any:
        """Send a request, with the picture or with its name."""
        exchange, answer = self.exchanges.of(request), None
        while True:
            try:
                following = exchange.send(answer)
            except StopIteration as end:
                return end.value
            if answer is not None:
                await answer.aclose()
            answer = await super().send(following, **_read(following, options))


def _pictured(request: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Body of a chat completion, and its part where an artwork stands, if that holds a picture's bytes."""
    if request.method != "POST" or not request.url.path.rstrip("/").endswith(CHAT):
        return None
    content = request.read()
    if b'"image_url"' not in content:
        return None
    try:
        body = json.loads(content)
        message = next(one for one in body["messages"] if one["role"] == "user")
        part = message["content"][0]
        fresh = part["image_url"]["url"].startswith("data:") and "uuid" not in part
    except (ValueError, LookupError, TypeError, AttributeError, StopIteration):  # the engine's to refuse
        return None
    return (body, part) if fresh else None


def _models(request: Any, path: str) -> Any:
    """A request for the models that are served where another request goes."""
    headers = [(name, value) for name, value in request.headers.raw if name.lower() not in OF_THE_BODY]
    url = request.url.copy_with(path=path)
    return type(request)("GET", url, headers=headers, extensions=request.extensions)


def _with_body(request: Any, body: dict[str, Any]) -> Any:
    """The same request with another body."""
    headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"content-length"]
    # The class of whichever HTTP library this version of openai stands on.
    return type(request)("POST", request.url, headers=headers, json=body, extensions=request.extensions)


def _entries(listed: Any) -> Any:
    """Of an answer that lists models; what is no such list has none."""
    try:
        return listed.json()["data"]
    except (ValueError, LookupError, TypeError):
        return None


def _read(request: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Options to send a request with: a list of models is read at once, whatever is asked of the answer."""
    return options | {"stream": False} if request.method == "GET" else options
