"""Bodies of requests, read within bounds: of size, of time, and of what all of them together may take."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

from starlette.types import Receive

from pixeltune.serve.bodies import RequestError
from pixeltune.serve.reply import Limits


class Intake:
    """Reads bodies. `held`: bytes of those in memory now."""

    def __init__(self, limits: Limits) -> None:
        self.limits, self.held = limits, 0

    @contextlib.asynccontextmanager
    async def whole(self, headers: Mapping[bytes, bytes], receive: Receive) -> AsyncIterator[bytes]:
        """The body of a request; until this is left it counts as held.

        Raises:
            RequestError: 415, it is compressed; 413, it is too large; 429, all together are; 408, it did not
                come in time; 499, the client left.
        """
        limits, size, parts = self.limits, 0, []
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise RequestError(415, "compressed bodies are not read: send plain JSON")
        too_large = RequestError(413, f"the body is larger than {limits.body:,} bytes", code="body_too_large")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > limits.body:
            raise too_large
        try:
            try:
                async with asyncio.timeout(limits.upload):
                    more = True
                    while more:
                        message = await receive()
                        if message["type"] == "http.disconnect":
                            raise RequestError(499, "the client left")
                        parts.append(message.get("body", b""))
                        size += len(parts[-1])
                        self.held += len(parts[-1])
                        if size > limits.body:
                            raise too_large
                        if self.held > limits.held:
                            raise RequestError(
                                429, "too much is being sent: try again", code="busy", retry_after=1
                            )
                        more = message.get("more_body", False)
            except TimeoutError:
                raise RequestError(408, f"the body did not come within {limits.upload:g} s") from None
            body = b"".join(parts)
            parts.clear()  # else it is in memory twice
            yield body
        finally:
            self.held -= size
