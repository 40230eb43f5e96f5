"""Reading and writing the one kind of PNG an artwork may be: 8-bit RGB, one frame, nothing hidden.

A PNG from the internet is untrusted input, and half of what the format allows changes what a model
sees: alpha gets blended, EXIF rotates, a palette is resampled, an animation has several pictures. So the
chunks are walked here, with every size bounded before anything is inflated, and Pillow is handed only
header and picture data (https://www.w3.org/TR/png-3/).
"""

import io
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageFile, PngImagePlugin

from pixeltune.errors import UserError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_FILE_BYTES = 64 * 2**20
MAX_ARTWORK_PIXELS = 16 * 2**20
MAX_TEXT_BYTES = 2**20
MAX_TEXTS_BYTES = 4 * MAX_TEXT_BYTES  # of all text chunks together, inflated

MODES = {0: "greyscale", 2: "RGB", 3: "palette", 4: "greyscale with alpha", 6: "RGB with alpha"}
REFUSED = {
    b"acTL": "is animated",
    b"fcTL": "is animated",
    b"fdAT": "is animated",
    b"eXIf": "carries EXIF data, which can rotate it",
    b"tRNS": "has a transparent colour",
    b"PLTE": "has a palette",
}
ORIGINAL = "use the PNG that pixeltune wrote, or make it anew from its run: pixeltune export CHECKPOINT --output a.png"
"""The remedy where a file is no longer what was painted: saving it once more brings nothing back."""

OTHER_SUFFIXES = (".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic")
"""Of pictures that are not PNG, for those who look for artworks by their names."""

_FORMATS = {
    b"\xff\xd8\xff": "a JPEG",
    b"GIF8": "a GIF",
    b"BM": "a BMP",
    b"II*\0": "a TIFF",
    b"MM\0*": "a TIFF",
}
_SWITCHES = threading.Lock()  # of Pillow, which are the process's


class ArtworkError(UserError):
    """A picture that is not a valid artwork. The message is one line: the problem and the remedy."""


def decode_png(data: bytes) -> tuple[np.ndarray, dict[str, list[str]]]:
    """Pixels, uint8 (H, W, 3), and text chunks, keyword to values, of PNG bytes.

    Raises ArtworkError for everything that is not a complete, undamaged, still 8-bit RGB PNG within
    MAX_FILE_BYTES, MAX_ARTWORK_PIXELS, MAX_TEXT_BYTES (each text chunk, inflated) and MAX_TEXTS_BYTES, and for what
    stock Pillow, with which engines decode, refuses or sees otherwise.
    """
    if len(data) > MAX_FILE_BYTES:
        raise ArtworkError(f"file is larger than {MAX_FILE_BYTES // 2**20} MiB: not an artwork")
    if not data.startswith(SIGNATURE):
        raise _no_png(data)
    header, picture = b"", []
    texts: dict[str, list[str]] = {}
    for kind, body in _chunks(data):
        if not header and kind != b"IHDR":
            raise ArtworkError("corrupt PNG, the header is missing: fetch the file again")
        if kind == b"IHDR":
            if header:
                raise ArtworkError("corrupt PNG, two headers: fetch the file again")
            header, (width, height) = body, _size(body)
        elif kind == b"IDAT":
            picture.append(body)
        elif kind in REFUSED:
            raise ArtworkError(f"picture {REFUSED[kind]}, another program saved it: {ORIGINAL}")
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            _add_text(texts, kind, body)
        elif kind[0] & 0x20 == 0 and kind != b"IEND":  # upper case: critical, must be understood
            raise ArtworkError(f"PNG has an unknown critical chunk {kind.decode('ascii')}: {ORIGINAL}")
    pixels = _pixels(header, b"".join(picture), width, height)
    _check_engine(data, pixels)
    return pixels, texts


def read_texts(file: BinaryIO) -> dict[str, list[str]]:
    """Text chunks, keyword to values, before the picture data: a look at a file without decoding it.

    Reads at most 2 * MAX_TEXT_BYTES. The pixels are not verified. Raises ArtworkError.
    """
    begin = file.read(64)
    if not begin.startswith(SIGNATURE):
        raise _no_png(begin)
    file.seek(len(SIGNATURE))
    left = 2 * MAX_TEXT_BYTES
    texts: dict[str, list[str]] = {}
    while True:
        head = file.read(8)
        if len(head) < 8:
            raise ArtworkError("truncated PNG: fetch the file again")
        length, kind = struct.unpack(">I4s", head)
        if kind in (b"IDAT", b"IEND"):
            return texts
        left -= length
        if left < 0:
            raise ArtworkError("PNG has too much before the picture data: not an artwork")
        body, checksum = file.read(length), file.read(4)
        if len(checksum) < 4 or zlib.crc32(body, zlib.crc32(kind)) != int.from_bytes(checksum):
            raise ArtworkError("corrupt or truncated PNG: fetch the file again")
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            _add_text(texts, kind, body)


def encode_png(pixels: np.ndarray, texts: dict[str, str]) -> bytes:
    """PNG bytes of uint8 (H, W, 3) pixels with ASCII text chunks; the same input gives the same bytes."""
    info = PngImagePlugin.PngInfo()
    for keyword, value in texts.items():
        if len(value) > MAX_TEXT_BYTES:
            raise ArtworkError(f"{keyword} text is larger than {MAX_TEXT_BYTES // 2**20} MiB: shorten it")
        info.add_text(keyword, value)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", pnginfo=info, compress_level=9)
    return buffer.getvalue()


def _no_png(begin: bytes) -> ArtworkError:
    """What a file is that does not begin as a PNG does, and why saving it as one is no remedy."""
    if not begin:
        return ArtworkError(f"the file is empty: {ORIGINAL}")
    if begin.startswith(b"version https://git-lfs"):
        return ArtworkError("a Git LFS pointer, not the PNG itself: run git lfs pull")
    kind = next((name for mark, name in _FORMATS.items() if begin.startswith(mark)), None)
    if begin[8:12] == b"WEBP":
        kind = "a WebP"
    elif begin[4:8] == b"ftyp":
        kind = "an AVIF or HEIC"
    if kind is None:
        return ArtworkError(f"not a PNG file, and no picture that is known here: {ORIGINAL}")
    if kind == "a JPEG":
        why = "its pixels are no longer the painted ones, and saving it as PNG does not bring them back"
    else:
        why = (
            "its provenance is gone, perhaps the painted pixels too, and saving it as PNG brings neither back"
        )
    return ArtworkError(f"{kind}, not a PNG file; {why}: {ORIGINAL}")


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, body) of each chunk up to IEND, checksums verified."""
    at, kind = len(SIGNATURE), b""
    while kind != b"IEND":
        if at + 12 > len(data):
            raise ArtworkError("truncated PNG: fetch the file again")
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if not kind.isalpha() or not kind.isascii():
            raise ArtworkError("corrupt PNG, bad chunk type: fetch the file again")
        if end > len(data):
            raise ArtworkError("truncated PNG: fetch the file again")
        body = data[at + 8 : end - 4]
        if zlib.crc32(body, zlib.crc32(kind)) != struct.unpack_from(">I", data, end - 4)[0]:
            raise ArtworkError(f"corrupt PNG, wrong checksum in {kind.decode('ascii')}: fetch the file again")
        yield kind, body
        at = end
    if at != len(data):
        raise ArtworkError(f"{len(data) - at} bytes follow the end of the PNG: cut them off, or {ORIGINAL}")


def _size(body: bytes) -> tuple[int, int]:
    """(width, height) of an IHDR body, refusing every mode but 8-bit RGB."""
    if len(body) != 13:
        raise ArtworkError("corrupt PNG header: fetch the file again")
    width, height, depth, colour, compression, filters, interlace = struct.unpack(">IIBBBBB", body)
    if width < 1 or height < 1 or compression or filters or interlace > 1 or colour not in MODES:
        raise ArtworkError("corrupt PNG header: fetch the file again")
    if width * height > MAX_ARTWORK_PIXELS:
        raise ArtworkError(
            f"picture of {width}x{height} exceeds {MAX_ARTWORK_PIXELS:,} pixels: not an artwork"
        )
    if (colour, depth) != (2, 8):
        raise ArtworkError(f"picture is {depth}-bit {MODES[colour]}, an artwork is 8-bit RGB: {ORIGINAL}")
    if interlace:
        raise ArtworkError(f"picture is interlaced, another program saved it: {ORIGINAL}")
    return width, height


def _add_text(texts: dict[str, list[str]], kind: bytes, body: bytes) -> None:
    keyword, value = _text(kind, body)
    texts.setdefault(keyword, []).append(value)
    if sum(len(one) for values in texts.values() for one in values) > MAX_TEXTS_BYTES:
        raise ArtworkError(f"PNG text chunks exceed {MAX_TEXTS_BYTES // 2**20} MiB: not an artwork")


def _text(kind: bytes, body: bytes) -> tuple[str, str]:
    """(keyword, value) of a text chunk, inflating at most MAX_TEXT_BYTES."""
    keyword, nul, rest = body.partition(b"\0")
    compressed, encoding = kind == b"zTXt", "latin-1"
    try:
        if not nul:
            raise ValueError
        if kind == b"zTXt":
            rest = rest[1:]  # compression method
        elif kind == b"iTXt":
            compressed, encoding = rest[0] == 1, "utf-8"
            rest = rest[2:].split(b"\0", 2)[2]  # after language and translated keyword
        if compressed:
            inflater = zlib.decompressobj()
            rest = inflater.decompress(rest, MAX_TEXT_BYTES + 1)
            if len(rest) <= MAX_TEXT_BYTES and not inflater.eof:
                raise ValueError
        if len(rest) > MAX_TEXT_BYTES:
            raise ArtworkError(f"PNG text chunk exceeds {MAX_TEXT_BYTES // 2**20} MiB: not an artwork")
        return keyword.decode("latin-1"), rest.decode(encoding)
    except ArtworkError:
        raise
    except (ValueError, IndexError, zlib.error):
        raise ArtworkError("corrupt PNG text chunk: fetch the file again") from None


def _pixels(header: bytes, picture: bytes, width: int, height: int) -> np.ndarray:
    """uint8 (H, W, 3) from an IHDR body and the joined IDAT bodies."""
    # Inflated here first, so that too little or too much data is found whatever Pillow is set to
    # tolerate (ImageFile.LOAD_TRUNCATED_IMAGES is a process-wide switch that others may have thrown).
    expected = (1 + 3 * width) * height
    inflater = zlib.decompressobj()
    try:
        rows = inflater.decompress(picture, expected + 1)
    except zlib.error:
        raise ArtworkError("corrupt PNG, the picture data does not inflate: fetch the file again") from None
    if len(rows) != expected or not inflater.eof or inflater.unused_data:
        raise ArtworkError(f"corrupt PNG, picture data does not fill {width}x{height}: fetch the file again")
    if max(rows[:: 1 + 3 * width]) > 4:  # each row starts with the number of its filter
        raise ArtworkError("corrupt PNG, unknown row filter: fetch the file again")
    bare = io.BytesIO(
        SIGNATURE + b"".join(_chunk(k, b) for k, b in ((b"IHDR", header), (b"IDAT", picture), (b"IEND", b"")))
    )
    try:
        with Image.open(bare, formats=["PNG"]) as image:
            return np.array(image, dtype=np.uint8)
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, ... for damaged data
        raise ArtworkError(f"corrupt PNG ({error}): fetch the file again") from None


def _check_engine(data: bytes, pixels: np.ndarray) -> None:
    """Decode the file's own bytes as an engine does: opened, loaded and converted by Pillow as it is shipped.

    What was decoded above has lost every chunk that an artwork has no use for (colour profiles, gamma, ...),
    and one of those may be enough for an engine to refuse the request.
    """
    with stock_pillow():
        try:
            with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
                image.load()
                seen = np.array(image.convert("RGB"))
        except Exception as error:  # see `_pixels`
            unknown = isinstance(error, Image.UnidentifiedImageError)  # whose text is an address in memory
            reason = "a damaged chunk" if unknown else " ".join(str(error).split()) or type(error).__name__
            raise ArtworkError(
                f"engines cannot open this PNG ({reason}), something was added to it: {ORIGINAL}"
            ) from None
    if not np.array_equal(seen, pixels):
        raise ArtworkError(f"engines see other pixels in this PNG than are stored: {ORIGINAL}")


@contextmanager
def stock_pillow() -> Iterator[None]:
    """Pillow with the limits of another process that has changed none of its switches."""
    limits = {
        (ImageFile, "LOAD_TRUNCATED_IMAGES"): False,
        (PngImagePlugin, "MAX_TEXT_CHUNK"): 2**20,
        (PngImagePlugin, "MAX_TEXT_MEMORY"): 2**26,
    }
    with _SWITCHES:
        before = {(module, name): getattr(module, name) for module, name in limits}
        try:
            for (module, name), value in limits.items():
                setattr(module, name, value)
            yield
        finally:
            for (module, name), value in before.items():
                setattr(module, name, value)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
