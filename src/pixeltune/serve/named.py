"""Artworks by a model's name in requests to somebody else's gateway, which has engines of its own."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from typing import Any

from pixeltune.data.requests import place_in_request
from pixeltune.serve import bodies
from pixeltune.serve.gateway import artwork_named
from pixeltune.serve.hub import open_shelf
from pixeltune.serve.shelf import Shelf

log = logging.getLogger("pixeltune.serve")

REFRESH_SECONDS = 1.0  # between two looks at the artworks


class NamedArtworks:
    """The artworks of a folder, which is looked through at the first request and every second from then on.

    Args:
        artworks: the folder; `team/calls.png` in it is the model "team/calls". Or `hf://owner/name`, see `HubShelf`.
        aliases: an artwork's base model to the name under which it is served, where they differ.

    Raises:
        UserError: no such folder, it cannot be read, or the hub does not give it.
    """

    def __init__(self, artworks: str | os.PathLike[str], aliases: Mapping[str, str] | None = None) -> None:
        self.shelf, self.aliases = open_shelf(artworks), dict(aliases or {})
        self._first: asyncio.Task[None]
        self._watch: asyncio.Task[None] | None = None

    async def place(self, body: dict[str, Any], path: str) -> dict[str, Any] | None:
        """A copy of a request with the artwork in front of the first user text, for the base model.

        Of several base models it is the first one with an alias, or the first.

        Args:
            body: of a request. Not modified.
            path: of the request, behind "/v1/".

        Returns:
            None: its model is no artwork's name.

        Raises:
            RequestError: 400, the artwork has no place in it (see `bodies.check`), or at that path; 503, the
                artwork's file is broken.
        """
        await self._look()
        model = body.get("model")
        if not isinstance(model, str) or model not in self.shelf.entries:
            return None
        picture = await artwork_named(model, self.shelf, path)
        bodies.check(body, path, picture.tokens)
        base = next((base for base in picture.bases if base in self.aliases), picture.bases[0])
        placed = place_in_request(body, path, picture.url.decode())
        return {**placed, "model": self.aliases.get(base, base)}

    async def _look(self) -> None:
        watch = self._watch
        if watch is None or watch.done() or watch.get_loop() is not asyncio.get_running_loop():
            self._first = asyncio.create_task(self.shelf.refresh())
            self._watch = asyncio.create_task(self._go_on(self._first))
        await asyncio.shield(self._first)  # one client that leaves does not end the look of all

    async def _go_on(self, first: asyncio.Task[None]) -> None:
        await asyncio.wait({first})
        if not first.cancelled() and first.exception() is None:  # else the next request looks anew
            await keep_current(self.shelf)


async def keep_current(shelf: Shelf) -> None:
    """Look through the folder again and again, until cancelled."""
    reported = None
    while True:
        await asyncio.sleep(REFRESH_SECONDS)
        try:
            await shelf.refresh()
            reported = None
        except Exception as error:  # what is known stays, and the next look may be better
            if str(error) != reported:
                bug = not isinstance(error, OSError)  # else the folder is away for a moment
                log.error("artworks cannot be read", extra={"reason": str(error)}, exc_info=bug)
            reported = str(error)
