"""How large the pictures in a request are, however they are spelled: engines decode all that Pillow reads."""

from __future__ import annotations

import base64
import io
import re
import struct
import warnings
from collections.abc import Iterator
from functools import cache
from urllib.parse import unquote, unquote_to_bytes

from PIL import Image

MAX_SENT_PIXELS = 32 * 2**20  # of a picture: 100 MB when an engine has decoded it
MAX_FRAMES = 1024  # pictures in one URL, as vLLM takes videos: data:video/jpeg;base64,FRAME,FRAME
HEADER_BYTES = 2**18  # in which the size is looked for first: seldom is it behind much else
BARE = ("url", "image_url", "image", "images", "image_data", "file_data", "data", "b64_json")
"""Fields whose text some engines take for base64, without any `data:`."""

_BLANK = "".join(filter(str.isspace, map(chr, range(0x3001)))) + "".join(map(chr, range(33))) + "\ufeff"

# Ghostscript, the system's metafiles, handlers that nobody has; read below.
_NOT_OPENED = {"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG", "WEBP", "AVIF"}
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_OTHERS = bytes(set(range(256)) - set(_ALPHABET))
_FROM_URLS = bytes.maketrans(b"-_", b"+/")
_PNG = (re.compile(rb"IHDR(.{8})", re.DOTALL), ">II")
_DIB = (re.compile(rb"\x28\0\0\0(.{8})\x01\0", re.DOTALL), "<ii")
_J2K = (re.compile(rb"\xff\x4f\xff\x51.{4}(.{8})", re.DOTALL), ">II")
_JPEG = (re.compile(rb"\xff[\xc0-\xc2]..\x08(.{4})", re.DOTALL), ">HH")
_INSIDE = {"ICO": (_PNG, _DIB), "CUR": (_PNG, _DIB), "ICNS": (_PNG, _J2K), "BLP": (_JPEG,)}
_INSIDE["IPTC"] = (_PNG, _DIB, _J2K, _JPEG)
"""By container: headers of the pictures inside, which become as large as they say."""


def is_too_large(text: str, field: str = "") -> bool:
    """Whether a text of a request is a picture of more than `MAX_SENT_PIXELS`, or a film of too many.

    Everything that some reader may make of it counts: `DATA:`, whatever media type and parameters, spaces and
    line breaks, percent signs, base64 for URLs, bytes without base64. What cannot be read is the engine's to
    refuse.

    Args:
        text: any text in the body.
        field: its name, for pictures without `data:`.
    """
    if "%" in text[:256].partition(",")[0] and _is_too_large(unquote(text), field):
        return True  # percent signs before the data, too
    return _is_too_large(text, field)


def _is_too_large(text: str, field: str) -> bool:
    begin = text.lstrip(_BLANK)[:64].translate(dict.fromkeys(map(ord, "\t\r\n")))
    if begin[:5].lower() != "data:":
        return field in BARE and len(text) > 32 and ":" not in begin and _too_large(text)
    head, _, data = text.partition(",")
    frames = data.split(",", MAX_FRAMES)
    if len(frames) > MAX_FRAMES and "video" in head.lower():
        return True
    return _too_large(data) or (len(frames) > 1 and any(map(_too_large, frames[:MAX_FRAMES])))


def _too_large(data: str) -> bool:
    for end in (HEADER_BYTES // 3 * 4, len(data)):
        whole = end >= len(data)
        sizes = [size for reading in _readings(data[:end]) if (size := _pixels(reading, whole)) is not None]
        if whole or sizes:
            return max(sizes, default=0) > MAX_SENT_PIXELS
    return False


def _readings(data: str) -> Iterator[bytes]:
    """What decoders make of it: lenient ones, those that undo percent signs, those that want no base64."""
    spelled = data.encode("utf-8", "surrogatepass")
    yield from _from_base64(spelled)
    if b"%" in spelled:
        spelled = unquote_to_bytes(spelled)
        yield from _from_base64(spelled)
    yield spelled


def _from_base64(data: bytes) -> Iterator[bytes]:
    for text in {data, data.translate(_FROM_URLS)}:
        text = text.translate(None, _OTHERS)
        yield base64.b64decode(text + b"A" * (-len(text) % 4))  # a byte too many does no harm


def _pixels(data: bytes, whole: bool) -> int | None:
    """Of the picture in these bytes; None: there is none, or more of it must be seen."""
    try:
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            width, height = _webp(data)
        elif data[4:8] == b"ftyp":  # AVIF, HEIF
            if not whole:
                return None
            sizes = [struct.unpack(">II", found) for found in re.findall(rb"ispe.{4}(.{8})", data, re.DOTALL)]
            width, height = max(sizes, key=lambda size: size[0] * size[1])
        else:
            with warnings.catch_warnings(action="ignore"):  # Pillow's own, lower bound
                picture = Image.open(io.BytesIO(data), formats=_formats())
            inside = _INSIDE.get(picture.format or "", ())
            if inside and not whole:
                return None
            sizes = [
                struct.unpack(order, found) for header, order in inside for found in header.findall(data)
            ]
            width, height = max([picture.size, *sizes], key=lambda size: abs(size[0] * size[1]))
    except Image.DecompressionBombError:
        return MAX_SENT_PIXELS + 1
    except Exception:  # Pillow raises nearly everything for damaged files
        return None
    return abs(width * height)


def _webp(data: bytes) -> tuple[int, int]:
    """Pillow would give it to a decoder that makes room for the whole picture."""
    if data[12:16] == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    elif data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (size & 0x3FFF for size in struct.unpack("<HH", data[26:30]))
    return width, height


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in Image.ID if name not in _NOT_OPENED)
