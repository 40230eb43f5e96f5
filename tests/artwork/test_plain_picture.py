"""A PNG that is no artwork can be looked at: whole, bounded, with what is not known of it."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import tracemalloc
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from pixeltune.artwork.artwork import Artwork
from pixeltune.artwork.plain import PlainPicture, read_any
from pixeltune.artwork.png import MAX_ARTWORK_PIXELS, MAX_FILE_BYTES, SIGNATURE, ArtworkError

IMAGES = Path(__file__).parents[2] / "docs/images"
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def png(mode: str = "RGB", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(buffer, format="PNG", **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def of_size(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def behind_the_header(data: bytes, extra: bytes) -> bytes:
    return data[:33] + extra + data[33:]


def test_a_plain_png_is_what_pillow_sees(tmp_path):
    (tmp_path / "any.png").write_bytes(png())
    for source in (tmp_path / "any.png", str(tmp_path / "any.png"), png()):
        found = read_any(source)
        assert isinstance(found, PlainPicture)
        assert np.array_equal(found.pixels, PIXELS)
        assert found.size == (6, 9)
        assert found.why == "PNG without pixeltune provenance"
        assert found.doubts == ()
        assert found.sha256 == Artwork(PIXELS, Artwork.load(IMAGES / "sums.png").provenance).sha256
    said = dict(found.describe())
    assert said["size"] == "6 x 9 (height x width)"
    assert "model and size are assumed, not known" in said["provenance"]


def test_an_artwork_stays_one_and_a_changed_one_says_why(tmp_path):
    assert read_any(IMAGES / "sums.png") == Artwork.load(IMAGES / "sums.png")
    art = Artwork.load(IMAGES / "sums.png")
    (tmp_path / "artwork.png").write_bytes(art.png())
    assert read_any(tmp_path) == art  # a run's folder
    info = Image.open(IMAGES / "sums.png")
    pixels = np.array(info)
    pixels[0, 0] ^= 1
    buffer = io.BytesIO()
    from PIL.PngImagePlugin import PngInfo

    kept = PngInfo()
    kept.add_text("pixeltune", info.text["pixeltune"])
    Image.fromarray(pixels).save(buffer, format="PNG", pnginfo=kept)
    found = read_any(buffer.getvalue())
    assert found.why == "pixels are not the painted ones (SHA-256 differs)"
    assert np.array_equal(found.pixels, pixels)


@pytest.mark.parametrize(
    ("data", "doubt"),
    [
        (png("L"), None),
        (png("P"), None),
        (png("1"), None),
        (png("RGBA"), "transparency"),
        (png("P", transparency=0), "transparency"),
        (png(exif=Image.Exif()), None),
        (png(exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0"), "EXIF"),
        (png(save_all=True, append_images=[Image.new("RGB", (9, 6))]), "animated"),
    ],
    ids=["grey", "palette", "1 bit", "alpha", "transparent colour", "no EXIF", "EXIF", "animated"],
)
def test_what_others_may_see_otherwise_is_said(data, doubt):
    found = read_any(data)
    assert found.size == (6, 9)
    assert found.pixels.dtype == np.uint8
    assert [doubt in one for one in found.doubts] == ([True] if doubt else [])
    with pytest.raises(ArtworkError):
        Artwork.load(data)


HOSTILE = {
    "too many pixels": (of_size(65536, 65536), "exceeds"),
    "one row too many": (of_size(4096, MAX_ARTWORK_PIXELS // 4096 + 1), "exceeds"),
    "no pixels": (of_size(0, 5), "corrupt PNG"),
    "too large a file": (SIGNATURE + bytes(MAX_FILE_BYTES), "file is larger than 64 MiB"),
    "a text": (b"no picture", "not a PNG file"),
    "empty": (b"", "the file is empty"),
    "a signature": (SIGNATURE, "corrupt PNG, the header is missing"),
    "cut off": (png()[:-30], "corrupt PNG"),
    "a larger header behind a small one": (of_size(1, 1)[:33] + png()[8:], "corrupt PNG (two headers)"),
    "a bomb of text": (
        behind_the_header(png(), chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**27)))),
        "corrupt PNG",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_a_line_before_they_are_inflated(name, tmp_path):
    data, message = HOSTILE[name]
    (tmp_path / "bad.png").write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(ArtworkError) as refused:
            read_any(tmp_path / "bad.png")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(refused.value).startswith(f"{tmp_path / 'bad.png'}: ")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert peak < MAX_FILE_BYTES + 2 * len(data) + 2**23  # room for the largest file is made first


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ArtworkError, match="cannot read it"):
        read_any(tmp_path / "none.png")
    with pytest.raises(ArtworkError, match="not 7"):
        read_any(7)


def test_pillows_switches_do_not_weaken_it(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(ArtworkError, match="corrupt PNG"):
        read_any(png()[:-30])


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(png()) - 1), st.integers(1, 255))
def test_fuzz_a_byte_flipped(place, flip):
    data = bytearray(png())
    data[place] ^= flip
    with suppress(ArtworkError):  # and nothing else
        assert read_any(bytes(data)).pixels.shape[2] == 3


def test_needs_neither_torch_nor_transformers():
    code = (
        "import sys; from pixeltune.artwork.plain import read_any; "
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
