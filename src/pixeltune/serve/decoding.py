"""Answers that an engine compresses though it was asked not to."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

PIECE = 2**18  # bytes that come out at a time, whatever goes in
WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""By coding: what zlib calls its format."""


class Decoder:
    """Undoes one coding, part by part. gzip may have several members; "deflate" may lack zlib's header.

    Args:
        coding: a key of `WINDOWS`.
    """

    def __init__(self, coding: str) -> None:
        self._window = WINDOWS[coding]
        self._stream = zlib.decompressobj(self._window)
        self._fresh = True
        self._first = b""
        self.ended = True
        """Whether all of it has come: if not, the sender broke off."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What comes out of a part, in pieces of at most `PIECE` bytes.

        Raises:
            zlib.error: it is not what the header says.
        """
        if self._fresh:
            data = self._first = self._first + data
            if len(data) < 2:  # whether it has zlib's header stands in two bytes
                self.ended = not data
                return
        while data:
            if self._stream.eof:
                if self._window != WINDOWS["gzip"] or not data.startswith(b"\x1f"):
                    return  # padding
                self._stream = zlib.decompressobj(self._window)
            try:
                piece = self._stream.decompress(data, PIECE)
            except zlib.error:
                if not self._fresh or self._window != WINDOWS["deflate"]:
                    raise
                self._window = -zlib.MAX_WBITS
                self._stream = zlib.decompressobj(self._window)
                piece = self._stream.decompress(data, PIECE)
            self._fresh, self.ended = False, self._stream.eof
            if piece:
                yield piece
            data = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
