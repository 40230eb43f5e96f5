"""An `openai` client that sends an artwork along, for those who want no gateway.

    client = with_artwork(openai.OpenAI(base_url="http://host:8000/v1"), "calls.png")

LangChain and LiteLLM take such clients too (docs/guide/serving.md).
"""

from __future__ import annotations

import json
import os
from typing import Any, TypeVar

import openai

from pixeltune.artwork.artwork import Artwork
from pixeltune.data.placement import place_image, place_input

Client = TypeVar("Client", openai.OpenAI, openai.AsyncOpenAI)

PLACES = {"/chat/completions": ("messages", place_image), "/responses": ("input", place_input)}


class ArtworkClient(openai.DefaultHttpxClient):
    """An HTTP client, for the `http_client` of `openai.OpenAI`, that sends an artwork along."""

    def __init__(self, artwork: Artwork | str | os.PathLike[str], **options: Any) -> None:
        super().__init__(**options)
        self._url = _data_url(artwork)

    def send(self, request: Any, **options: Any) -> Any:
        """Send a request; a chat completion or a response with the artwork in it."""
        return super().send(_place(request, self._url), **options)


class AsyncArtworkClient(openai.DefaultAsyncHttpxClient):
    """The same for `openai.AsyncOpenAI`."""

    def __init__(self, artwork: Artwork | str | os.PathLike[str], **options: Any) -> None:
        super().__init__(**options)
        self._url = _data_url(artwork)

    async def send(self, request: Any, **options: Any) -> Any:
        """Send a request; a chat completion or a response with the artwork in it."""
        return await super().send(_place(request, self._url), **options)


def with_artwork(client: Client, artwork: Artwork | str | os.PathLike[str]) -> Client:
    """A copy of a client, sync or async, whose chat completions and responses look at the artwork.

    It works on requests as they are sent, so every method takes part: `create`, `parse`, `stream`, raw
    responses, retries. Everything else, and the client given, stays as it was.

    Args:
        client: of the `openai` package. Its options carry over; an own `http_client` of it does not.
        artwork: an artwork, or the path of its PNG, which is verified.

    Raises:
        ArtworkError: the PNG is not a valid artwork.
        ValueError: (when a request is sent) it has no user message.
    """
    kind = AsyncArtworkClient if isinstance(client, openai.AsyncOpenAI) else ArtworkClient
    return client.copy(http_client=kind(artwork, timeout=client.timeout))


def _data_url(artwork: Artwork | str | os.PathLike[str]) -> str:
    return (artwork if isinstance(artwork, Artwork) else Artwork.load(artwork)).data_url()


def _place(request: Any, url: str) -> Any:
    """The same request with the artwork in its body, if it has a place for one."""
    for path, (field, place) in PLACES.items():
        if request.method == "POST" and request.url.path.endswith(path):
            body = json.loads(request.read())
            body[field] = place(body[field], url)
            headers = {name: value for name, value in request.headers.items() if name != "content-length"}
            # The class of whichever HTTP library this version of openai stands on.
            return type(request)(
                "POST", request.url, headers=headers, json=body, extensions=request.extensions
            )
    return request
