"""Who may come in where the studio is for this machine alone: pages that it made itself, asked for by its own name."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

LOCAL = ("127.0.0.1", "::1", "localhost")


class Door:
    """ASGI middleware that refuses, with 403, what comes under another name or from a page of another origin.

    A browser takes a stranger's page to this address if the stranger's name leads here, and lets any page send files
    and forms to it; it says which name was asked for, and where a page is from.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and not _is_own(dict(scope["headers"])):
            from starlette.responses import PlainTextResponse

            await PlainTextResponse("open the studio by its own address", 403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def _is_own(headers: dict[bytes, bytes]) -> bool:
    host = headers.get(b"host", b"").decode("latin-1")
    origin = headers.get(b"origin")
    try:
        if urlsplit(f"//{host}").hostname not in LOCAL:
            return False
        return origin is None or urlsplit(origin.decode("latin-1")).netloc == host
    except ValueError:  # no address at all
        return False
