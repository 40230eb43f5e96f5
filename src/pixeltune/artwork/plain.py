"""A PNG that is no artwork, for looking at it: bounded as artworks are, and nothing in it is believed."""

from __future__ import annotations

import hashlib
import io
import os
import struct
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from PIL import Image

from pixeltune.artwork.artwork import Artwork, file_name, read_png
from pixeltune.artwork.png import MAX_ARTWORK_PIXELS, MAX_FILE_BYTES, SIGNATURE, ArtworkError, stock_pillow

HEADER = len(SIGNATURE) + 25
"""Bytes up to the end of the header chunk, which comes first."""


@dataclass(frozen=True, eq=False)
class PlainPicture:
    """What an engine sees of a PNG that says nothing which could be believed of itself."""

    pixels: np.ndarray
    """uint8 (H, W, 3)."""
    why: str
    """It is no artwork, in a line."""
    doubts: tuple[str, ...] = field(default=())
    """What others may see otherwise."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @cached_property
    def sha256(self) -> str:
        """Hex SHA-256 of the decoded RGB bytes, row by row, as of an artwork."""
        return hashlib.sha256(self.pixels.tobytes()).hexdigest()

    @property
    def image(self) -> Image.Image:
        """A Pillow RGB image of the pixels."""
        return Image.fromarray(self.pixels)

    def describe(self) -> list[tuple[str, str]]:
        """(label, value) pairs for people."""
        height, width = self.size
        return [
            ("provenance", f"none, so model and size are assumed, not known ({self.why})"),
            ("size", f"{height} x {width} (height x width)"),
            ("pixels", f"sha256 {self.sha256}"),
            *(("doubt", one) for one in self.doubts),
        ]


def read_any(source: str | os.PathLike[str] | bytes) -> Artwork | PlainPicture:
    """An artwork, or else whatever picture the PNG holds. For looking at it, never for serving it.

    Args:
        source: a PNG file, its bytes, or a run's folder.

    Raises:
        ArtworkError: it cannot be read, is no PNG, is damaged, or too large.
    """
    data = read_png(source)
    named = "" if isinstance(source, bytes) else f"{file_name(source)}: "
    try:
        return Artwork.load(data)
    except ArtworkError as error:
        if len(data) > MAX_FILE_BYTES or not data.startswith(SIGNATURE):
            raise ArtworkError(f"{named}{error}") from None
        why = str(error).partition(": ")[0]  # without the remedy, which is for artworks
    try:
        return _decoded(data, why)
    except ArtworkError as error:
        raise ArtworkError(f"{named}{error}") from None


def _decoded(data: bytes, why: str) -> PlainPicture:
    """What stock Pillow makes of it, which is what engines decode with.

    Raises:
        ArtworkError: it is larger than an artwork may be, which is looked at before anything is inflated, or damaged.
    """
    if len(data) < HEADER or data[12:16] != b"IHDR":
        raise ArtworkError("corrupt PNG, the header is missing: fetch the file again")
    width, height = struct.unpack_from(">II", data, 16)
    if width * height > MAX_ARTWORK_PIXELS:
        raise ArtworkError(
            f"picture of {width}x{height} exceeds {MAX_ARTWORK_PIXELS:,} pixels: make it smaller"
        )
    try:
        with stock_pillow(), Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            if image.size != (width, height):
                raise ValueError("two headers")
            doubts = tuple(_doubts(image))
            image.load()
            pixels = np.array(image.convert("RGB"))
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, ... for damaged data
        unknown = isinstance(error, Image.UnidentifiedImageError)  # whose text is an address in memory
        reason = "a damaged chunk" if unknown else " ".join(str(error).split()) or type(error).__name__
        raise ArtworkError(f"corrupt PNG ({reason}): fetch the file again") from None
    return PlainPicture(pixels, why, doubts)


def _doubts(image: Image.Image) -> list[str]:
    """Of what is in a file but no plain RGB, how it is looked at here."""
    found = []
    if image.mode not in ("RGB", "L", "1", "P") or "transparency" in image.info:
        found.append(
            "transparency or 16 bits are left out here, as by Pillow's convert; engines may blend or scale"
        )
    if "exif" in image.info:
        found.append("EXIF data is passed over here; some engines rotate the picture as it says")
    if getattr(image, "is_animated", False):
        found.append("it is animated, and only the first picture is looked at")
    return found
