"""ASGI middleware that puts artworks into requests by name, in front of an application with engines of its own.

app.add_middleware(ArtworkMiddleware, artworks="artworks/")  # FastAPI, Starlette
app = ArtworkMiddleware(app, "artworks/")  # any other
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pixeltune.serve import bodies
from pixeltune.serve.bodies import RequestError
from pixeltune.serve.gateway import PASSED_ON, TAKES_ARTWORK
from pixeltune.serve.intake import Intake
from pixeltune.serve.named import NamedArtworks
from pixeltune.serve.proxy import request_id
from pixeltune.serve.reply import ClientReply, Limits, Note


class ArtworkMiddleware:
    """Makes every PNG of a folder a model name of the application behind it.

    A chat completion or response whose `model` is an artwork's name goes on with the artwork in front of the
    first user text and the base model's name. What names no artwork goes on byte for byte, and answers,
    streams among them, are not touched. Refused, in the words of the gateway: what has no place for the
    artwork, an artwork's name at another endpoint (`/v1/completions`), and at all of these endpoints bodies
    that are compressed, too large or too slow.

    Args:
        app: the application behind it.
        artworks: the folder; `team/calls.png` in it is the model "team/calls". It may change at any time.
        aliases: an artwork's base model to the name under which the application serves it, where they differ.
        prefix: what the paths of the endpoints begin with.
        max_body: bytes of a request.

    Raises:
        UserError: no such folder, or it cannot be read.
    """

    def __init__(
        self,
        app: ASGIApp,
        artworks: str | os.PathLike[str],
        *,
        aliases: Mapping[str, str] | None = None,
        prefix: str = "/v1",
        max_body: int = Limits.body,
    ) -> None:
        self.app, self.prefix = app, prefix.rstrip("/")
        self.named, self.intake = NamedArtworks(artworks, aliases), Intake(Limits(body=max_body))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request as ASGI wants it."""
        path = self._endpoint(scope)
        if path is None:
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        try:
            async with self.intake.whole(headers, receive) as raw:
                placed = await self._placed(raw, path)
                if placed is not None:
                    raw, scope = placed, {**scope, "headers": _headers(scope, len(placed))}
                await self.app(scope, _given(raw, receive), send)
        except RequestError as error:
            note = Note(id=request_id(headers), path=path)
            await ClientReply(send, note, self.intake.limits.reader).error(error)

    def _endpoint(self, scope: Scope) -> str | None:
        """Which endpoint a request is for, behind the prefix; None: none that is looked into."""
        if scope["type"] != "http" or scope["method"] != "POST":
            return None
        path, root = scope["path"], scope.get("root_path", "")
        if path.startswith(f"{root}/"):  # where an application mounts another one
            path = path.removeprefix(root)
        endpoint = path.removeprefix(f"{self.prefix}/")
        return endpoint if endpoint != path and endpoint in (*TAKES_ARTWORK, *PASSED_ON) else None

    async def _placed(self, raw: bytes, path: str) -> bytes | None:
        """The body with the artwork in it; None: it names none."""
        try:
            body = bodies.parse(raw)
        except RequestError:
            return None  # no JSON object names a model, so it is the application's to judge
        placed = await self.named.place(body, path)
        if placed is None:
            return None
        bodies.check_pictures(body)
        return bodies.render(placed)


def _headers(scope: Scope, length: int) -> list[tuple[bytes, bytes]]:
    lengths = (b"content-length", b"transfer-encoding")
    kept = [(name, value) for name, value in scope["headers"] if name.lower() not in lengths]
    return [*kept, (b"content-length", b"%d" % length)]


def _given(body: bytes, receive: Receive) -> Receive:
    """Gives the application a body that was read already, and then what else comes."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
