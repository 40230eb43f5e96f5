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
from pixeltune.data.placeholders import tokens_of
from pixeltune.data.requests import ENDPOINTS, check_request, place_in_request
from pixeltune.engines.exchanges import AsyncOnceClient, OnceClient
from pixeltune.errors import UserError

Client = TypeVar("Client", openai.OpenAI, openai.AsyncOpenAI)


class ArtworkClient(OnceClient):
    """An HTTP client, for the `http_client` of `openai.OpenAI`, that sends an artwork along."""

    def __init__(self, artwork: Artwork | str | os.PathLike[str], **options: Any) -> None:
        super().__init__(**options)
        self._placing = _Placing(artwork)

    def send(self, request: Any, **options: Any) -> Any:
        """Send a request; a chat completion or a response with the artwork in it.

        Raises:
            UserError: before anything is sent; see `with_artwork`.
        """
        return super().send(self._placing(request), **options)


class AsyncArtworkClient(AsyncOnceClient):
    """The same for `openai.AsyncOpenAI`."""

    def __init__(self, artwork: Artwork | str | os.PathLike[str], **options: Any) -> None:
        super().__init__(**options)
        self._placing = _Placing(artwork)

    async def send(self, request: Any, **options: Any) -> Any:
        """Send a request; a chat completion or a response with the artwork in it.

        Raises:
            UserError: before anything is sent; see `with_artwork`.
        """
        return await super().send(self._placing(request), **options)


def with_artwork(client: Client, artwork: Artwork | str | os.PathLike[str]) -> Client:
    """A copy of a client, sync or async, whose chat completions and responses look at the artwork.

    It works on requests as they are sent, so every method takes part: `create`, `parse`, `stream`, raw
    responses, `with_options`, retries. Everything else, and the client given, stays as it was; so do
    WebSockets (`responses.connect`), which are no HTTP requests and get no artwork.

    What would give the artwork another place than in training is refused when a request is sent, before
    anything leaves: no user message; a conversation that holds the artwork already; one that the server
    keeps (`previous_response_id`, `conversation`, `prompt`); a text that quotes one of the model's picture
    tokens.

    An engine that keeps pictures by name (vLLM) is sent the bytes with the first chat completion, and again
    when it has dropped them or was restarted; else only the name. Which engine it is, is asked once for each
    address (`/models`). What runs beside the first request carries the bytes too, as all responses do: they
    have no place for a name.

    Args:
        client: of the `openai` package. Its options carry over; an own `http_client` of it does not.
        artwork: an artwork, or the path of its PNG, which is verified.

    Raises:
        ArtworkError: the PNG is not a valid artwork.
        UserError: (when a request is sent) see above.
    """
    kind = AsyncArtworkClient if isinstance(client, openai.AsyncOpenAI) else ArtworkClient
    return client.copy(http_client=kind(artwork, timeout=client.timeout))


class _Placing:
    """Puts one artwork into requests."""

    def __init__(self, artwork: Artwork | str | os.PathLike[str]) -> None:
        artwork = artwork if isinstance(artwork, Artwork) else Artwork.load(artwork)
        facts = artwork.provenance
        self._url, self._tokens = artwork.data_url(), tokens_of(facts.image_processor, *facts.also)

    def __call__(self, request: Any) -> Any:
        """The same request with the artwork in its body, if it has a place for one."""
        path = request.url.path.rstrip("/")
        endpoint = next((name for name in ENDPOINTS if path.endswith(f"/{name}")), None)
        if request.method != "POST" or endpoint is None:
            return request
        try:
            body = json.loads(request.read())
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise UserError(
                f"the body of a request to {path} is no JSON object: the artwork has no place in it"
            )
        check_request(body, endpoint, self._tokens)
        if self._url.encode() in request.content:
            raise UserError(
                "the artwork is already in this conversation: this client places it, leave it out"
            )
        headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"content-length"]
        # The class of whichever HTTP library this version of openai stands on.
        return type(request)(
            "POST",
            request.url,
            headers=headers,
            json=place_in_request(body, endpoint, self._url),
            extensions=request.extensions,
        )
