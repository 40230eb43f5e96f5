"""Artworks by name inside LiteLLM's proxy: name `pixeltune.serve.litellm_hook.artworks` in its configuration.

    litellm_settings: {callbacks: [pixeltune.serve.litellm_hook.artworks]}
    environment_variables: {PIXELTUNE_ARTWORKS: /artworks}

Importing this needs LiteLLM's proxy and the variable. LiteLLM runs the hook once a request, before it looks for
the model; it looks whether the class itself has a method of that name.
"""

from __future__ import annotations

import os
from typing import Any

from fastapi import HTTPException
from litellm.integrations.custom_logger import CustomLogger

from pixeltune.data.requests import ENDPOINTS
from pixeltune.errors import UserError
from pixeltune.serve import bodies
from pixeltune.serve.bodies import RequestError
from pixeltune.serve.named import NamedArtworks

VARIABLE = "PIXELTUNE_ARTWORKS"
CHATS = {
    "completion": "chat/completions",
    "acompletion": "chat/completions",
    "responses": "responses",
    "aresponses": "responses",
}
"""LiteLLM's name of a kind of request to the endpoint that it came to."""


class Refusal(HTTPException):
    """An error that LiteLLM gives to the client with our status and words."""

    def __init__(self, error: RequestError) -> None:
        super().__init__(error.status, error.message)
        self.type, self.param = error.kind, error.param


class ArtworkHook(CustomLogger):
    """Puts artworks into requests by name, and gives them the name of the base model.

    Args:
        folder: of PNGs; `team/calls.png` is the model "team/calls". It may change at any time.

    Raises:
        UserError: no such folder, or it cannot be read.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        super().__init__()
        self.named = NamedArtworks(folder)

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> dict[str, Any]:
        """The request as LiteLLM goes on with it: `data` itself if its model is no artwork's name.

        Raises:
            Refusal: the artwork has no place in it, is broken, or this is no chat.
        """
        path = CHATS.get(call_type, call_type)
        try:
            placed = await self.named.place(data, path)
            if placed is None:
                return data
            # Of the rest some is LiteLLM's own.
            bodies.check_pictures({"asked": data[ENDPOINTS[path][0]]})
        except RequestError as error:
            raise Refusal(error) from None
        return placed


if not os.environ.get(VARIABLE):
    raise UserError(
        f"{VARIABLE} is not set: give it the folder of artworks, in the environment or under environment_variables "
        "in LiteLLM's configuration"
    )
artworks = ArtworkHook(os.environ[VARIABLE])
"""For LiteLLM's configuration."""
