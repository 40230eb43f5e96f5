"""The artwork file: round trips, one clear line for everything that is not an artwork, and a fuzz test."""

import asyncio
import base64
import io
import json
import os
import re
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, PngImagePlugin

from pixeltune.artwork.artwork import Artwork
from pixeltune.artwork.png import MAX_FILE_BYTES, SIGNATURE, ArtworkError, read_texts
from pixeltune.artwork.provenance import Provenance

PROVENANCE = Provenance(
    base_model="tiny",
    revision="abc123",
    image_tokens=64,
    placement="before the first user text",
    processor={"patch_size": 16, "merge_size": 2, "image_mean": [0.5, 0.5, 0.5]},
    objective="sft",
    data="calls|sums",
    seed=0,
    steps=25,
    start="grey",
    bound=0.5,
    scores={"calls": {"score": 1.0, "n": 200}},
    licence="CC0-1.0",
)


def painted(height: int = 8, width: int = 12, seed: int = 0) -> Artwork:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Artwork(pixels, PROVENANCE)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(data: bytes, kind: bytes, body: bytes) -> bytes:
    """A chunk put right behind the header, which ends 33 bytes into the file."""
    return data[:33] + chunk(kind, body) + data[33:]


def without_text(data: bytes) -> bytes:
    at = data.index(b"tEXt") - 4
    return data[:at] + data[at + 12 + struct.unpack_from(">I", data, at)[0] :]


def test_an_edit_of_a_picture_file_is_saved_only_under_a_licence(tmp_path):
    for start, licence, allowed in (
        ("cat.jpg", None, False),
        ("cat.jpg", "", False),
        ("cat.jpg", "CC-BY-4.0", True),
        ("abacus", None, True),
        (None, None, True),
    ):
        artwork = replace(painted(), provenance=replace(PROVENANCE, start=start, licence=licence))
        path = tmp_path / f"{start}-{licence}.png"
        if allowed:
            assert Artwork.load(artwork.save(path)) == artwork
            continue
        with pytest.raises(ArtworkError, match=r"painted from cat\.jpg.*under which licence"):
            artwork.save(path)
        with pytest.raises(ArtworkError, match="under which licence"):
            artwork.push_to_hub("somebody/cat")
        assert not path.exists()


def with_record(data: bytes, text: str) -> bytes:
    return with_chunk(without_text(data), b"tEXt", b"pixeltune\0" + text.encode("latin-1"))


def record(artwork: Artwork) -> dict:
    with Image.open(io.BytesIO(artwork.png())) as image:
        return json.loads(image.text["pixeltune"])


def test_round_trip(tmp_path):
    artwork = painted()
    path = artwork.save(tmp_path / "new folder" / "a.png")
    loaded = Artwork.load(path)
    assert loaded == artwork
    assert loaded == Artwork.load(str(path)) == Artwork.load(path.read_bytes())
    assert loaded.png() == path.read_bytes() == painted().png(), "same artwork, same bytes"
    assert loaded.size == (8, 12)
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]


def test_pixels_cannot_change_behind_the_hash():
    source = np.zeros((4, 4, 3), np.uint8)
    artwork = Artwork(source, PROVENANCE)
    source[:] = 9
    assert artwork.pixels.max() == 0
    with pytest.raises(ValueError, match="read-only"):
        artwork.pixels[0, 0, 0] = 1


def test_any_decoder_sees_the_same_pixels():
    artwork = painted()
    with Image.open(io.BytesIO(artwork.png())) as image:
        assert image.mode == "RGB"
        assert np.array_equal(np.array(image), artwork.pixels)
    assert np.array_equal(np.array(artwork.image), artwork.pixels)
    assert artwork.data_url().startswith("data:image/png;base64,iVBOR")


def test_pillow_resave_keeps_pixels_and_says_that_provenance_is_gone():
    artwork, buffer = painted(), io.BytesIO()
    Image.open(io.BytesIO(artwork.png())).save(buffer, format="PNG")
    with Image.open(buffer) as image:
        assert np.array_equal(np.array(image), artwork.pixels)
    with pytest.raises(ArtworkError, match="without pixeltune provenance: another program made or re-saved"):
        Artwork.load(buffer.getvalue())


@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt", "iTXt compressed"])
def test_provenance_survives_in_every_kind_of_text_chunk(kind):
    artwork, info, buffer = painted(), PngImagePlugin.PngInfo(), io.BytesIO()
    text = json.dumps(record(artwork))
    if kind.startswith("iTXt"):
        info.add_itxt("pixeltune", text, zip=kind.endswith("compressed"))
    else:
        info.add_text("pixeltune", text, zip=kind == "zTXt")
    info.add_text("Software", "an editor")
    artwork.image.save(buffer, format="PNG", pnginfo=info, optimize=True)
    assert Artwork.load(buffer.getvalue()) == artwork


def test_non_ascii_provenance_survives():
    artwork = Artwork(painted().pixels, replace(PROVENANCE, data="rækker 行 \n"))
    assert Artwork.load(artwork.png()).provenance.data == "rækker 行 \n"


def resaved(mode: str, **options) -> bytes:
    buffer = io.BytesIO()
    painted().image.convert(mode).save(buffer, format="PNG", **options)
    return buffer.getvalue()


def animated() -> bytes:
    buffer = io.BytesIO()
    painted().image.save(buffer, format="PNG", save_all=True, append_images=[painted(seed=1).image])
    return buffer.getvalue()


def saved(format: str, **options) -> bytes:
    buffer = io.BytesIO()
    painted().image.save(buffer, format=format, **options)
    return buffer.getvalue()


def jpeg() -> bytes:
    return saved("JPEG")


def header(width: int, height: int, depth: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    ihdr = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return SIGNATURE + chunk(b"IHDR", ihdr) + chunk(b"IEND", b"")


PNG = painted().png()
RECORD = record(painted())
SHORT = zlib.compress(b"1")
BOMB = zlib.compress(bytes(50 * 2**20), 9)

BAD = {
    "empty": (b"", "the file is empty"),
    "text": (b"Hello", "not a PNG file, and no picture"),
    "jpeg": (jpeg(), "a JPEG, not a PNG file; its pixels are no longer the painted ones"),
    "webp": (saved("WEBP", lossless=True), "a WebP, not a PNG file; its provenance is gone"),
    "gif": (saved("GIF"), "a GIF, not a PNG"),
    "bmp": (saved("BMP"), "a BMP, not a PNG"),
    "tiff": (saved("TIFF"), "a TIFF, not a PNG"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer.*git lfs pull"),
    "truncated": (PNG[:-20], "truncated"),
    "corrupt": (PNG[:60] + b"\xff" + PNG[61:], "wrong checksum"),
    "trailing data": (PNG + b"x", "1 bytes follow the end"),
    "no header": (SIGNATURE + chunk(b"IEND", b""), "header is missing"),
    "two headers": (with_chunk(PNG, b"IHDR", PNG[16:29]), "two headers"),
    "critical chunk": (with_chunk(PNG, b"ABCD", b""), "unknown critical chunk ABCD"),
    "grey": (resaved("L"), "8-bit greyscale"),
    "alpha": (resaved("RGBA"), "RGB with alpha"),
    "palette": (resaved("P"), "palette"),
    "one bit": (resaved("1"), "1-bit greyscale"),
    "16 bit": (header(4, 4, depth=16), "16-bit RGB"),
    "transparent colour": (resaved("RGB", transparency=(1, 2, 3)), "transparent"),
    "exif": (with_chunk(PNG, b"eXIf", b"MM\0*"), "EXIF"),
    "animation": (animated(), "animated"),
    "interlaced": (header(4, 4, interlace=1), "interlaced"),
    "no pixels": (header(0, 4), "corrupt PNG header"),
    "too many pixels": (header(60_000, 60_000), "exceeds"),
    "too large": (bytes(MAX_FILE_BYTES + 1), "larger than 64 MiB"),
    "pixel bomb": (header(4, 4)[:33] + chunk(b"IDAT", BOMB) + chunk(b"IEND", b""), "does not fill 4x4"),
    "too little data": (
        header(4, 4)[:33] + chunk(b"IDAT", zlib.compress(b"1")) + chunk(b"IEND", b""),
        "fill",
    ),
    "no picture data": (header(4, 4), "does not fill"),
    "bad filter": (
        header(2, 2)[:33] + chunk(b"IDAT", zlib.compress(b"\x09" * 14)) + chunk(b"IEND", b""),
        "unknown row filter",
    ),
    "zTXt bomb": (with_chunk(PNG, b"zTXt", b"k\0\0" + BOMB), "text chunk exceeds"),
    "iTXt bomb": (with_chunk(PNG, b"iTXt", b"pixeltune\0\1\0\0\0" + BOMB), "text chunk exceeds"),
    "text not compressed": (with_chunk(PNG, b"zTXt", b"k\0\0xxxx"), "corrupt PNG text"),
    "text cut": (with_chunk(PNG, b"iTXt", b"k\0\1"), "corrupt PNG text"),
    "many texts": (
        PNG[:33] + 5 * chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**20))) + PNG[33:],
        "text chunks exceed 4 MiB",
    ),
    "iCCP bomb": (with_chunk(PNG, b"iCCP", b"p\0\0" + BOMB), "engines cannot open this PNG .Decompressed"),
    "iCCP bomb behind": (
        PNG[:-12] + chunk(b"iCCP", b"p\0\0" + BOMB) + PNG[-12:],
        "engines cannot open this PNG .Decompressed",
    ),
    "iCCP of unknown compression": (
        with_chunk(PNG, b"iCCP", b"p\0\1x"),
        "cannot open this PNG .a damaged chunk",
    ),
    "iCCP cut": (with_chunk(PNG, b"iCCP", b"p"), "engines cannot open this PNG"),
    "gAMA cut": (with_chunk(PNG, b"gAMA", b"\0"), "engines cannot open this PNG .Truncated gAMA"),
    "gAMA behind, cut": (PNG[:-12] + chunk(b"gAMA", b"\0") + PNG[-12:], "Truncated gAMA chunk"),
    "cHRM cut": (with_chunk(PNG, b"cHRM", b"\0\0\0"), "engines cannot open this PNG"),
    "sRGB empty": (with_chunk(PNG, b"sRGB", b""), "engines cannot open this PNG .Truncated sRGB"),
    "pHYs cut": (with_chunk(PNG, b"pHYs", b"\0"), "engines cannot open this PNG .Truncated pHYs"),
    "zTXt of unknown compression": (
        with_chunk(PNG, b"zTXt", b"k\0\1" + SHORT),
        "cannot open this PNG .a damaged chunk",
    ),
    "no provenance": (without_text(PNG), "without pixeltune provenance"),
    "two records": (with_chunk(PNG, b"tEXt", b"pixeltune\0{}"), "several provenance"),
    "bad json": (with_record(PNG, "{"), "not valid JSON"),
    "deep json": (with_record(PNG, "[" * 100_000), "not valid JSON"),
    "json list": (with_record(PNG, "[]"), "not a JSON object"),
    "other format": (with_record(PNG, json.dumps(RECORD | {"format": 2})), "format 1: upgrade"),
    "missing field": (
        with_record(PNG, json.dumps({k: v for k, v in RECORD.items() if k != "placement"})),
        "lacks placement",
    ),
    "unknown field": (with_record(PNG, json.dumps(RECORD | {"new\nline": 1})), "unknown fields"),
    "wrong type": (
        with_record(PNG, json.dumps(RECORD | {"steps": True})),
        "'steps' is True: it must be int or null",
    ),
    "malformed size": (with_record(PNG, json.dumps(RECORD | {"size": "big"})), "malformed size"),
    "other size": (with_record(PNG, json.dumps(RECORD | {"size": [16, 24]})), "it was resized"),
    "other pixels": (with_record(painted(seed=1).png(), json.dumps(RECORD)), "SHA-256 differs"),
}


@pytest.mark.parametrize("name", BAD)
def test_one_clear_line_for(name, tmp_path):
    data, expected = BAD[name]
    path = tmp_path / "a.png"
    path.write_bytes(data)
    for source in (data, path):
        with pytest.raises(ArtworkError, match=expected) as caught:
            Artwork.load(source)
        assert "\n" not in str(caught.value)
        assert ":" in str(caught.value), "problem: remedy"


RESAVED = "jpeg", "webp", "gif", "grey", "alpha", "palette", "interlaced", "exif", "no provenance"


@pytest.mark.parametrize("name", [*RESAVED, "other size", "other pixels", "text", "empty"])
def test_what_was_saved_anew_is_not_told_to_be_saved_anew(name, tmp_path):
    """The painted pixels and their provenance are in the original alone."""
    path = tmp_path / "a.png"
    path.write_bytes(BAD[name][0])
    seen_at_a_glance = name in ("jpeg", "webp", "gif", "no provenance")
    for look in (Artwork.load, Artwork.peek) if seen_at_a_glance else (Artwork.load,):
        with pytest.raises(ArtworkError) as caught:
            look(path)
        assert str(caught.value).endswith(
            "use the PNG that pixeltune wrote, or make it anew from its run: pixeltune export CHECKPOINT --output a.png"
        )
        assert not re.search("re-export|save it as", str(caught.value))


def test_unreadable_paths(tmp_path):
    for path in (tmp_path, tmp_path / "none.png", "nul\0byte"):
        with pytest.raises(ArtworkError, match="check the path"):
            Artwork.load(path)


def test_refuses_what_it_could_not_load_again():
    for pixels in (np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8), None):
        with pytest.raises(ArtworkError, match="uint8"):
            Artwork(pixels, PROVENANCE)
    with pytest.raises(ArtworkError, match="plain JSON"):
        Artwork(painted().pixels, replace(PROVENANCE, scores={"loss": float("nan")})).png()
    with pytest.raises(ArtworkError, match="'seed' is '1': it must be int or null"):
        replace(PROVENANCE, seed="1")
    with pytest.raises(ArtworkError, match="larger than 1 MiB"):
        Artwork(painted().pixels, replace(PROVENANCE, data="x" * 2**21)).png()


@pytest.mark.filterwarnings("ignore")
def test_global_pillow_switches_do_not_weaken_it(monkeypatch):
    monkeypatch.setattr("PIL.ImageFile.LOAD_TRUNCATED_IMAGES", True)
    for data, expected in BAD.values():
        with pytest.raises(ArtworkError, match=expected):
            Artwork.load(data)


def profile() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


HARMLESS = {
    "gamma": (b"gAMA", struct.pack(">I", 45455)),
    "primaries": (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
    "sRGB": (b"sRGB", b"\0"),
    "resolution": (b"pHYs", struct.pack(">IIB", 2835, 2835, 1)),
    "time": (b"tIME", struct.pack(">HBBBBB", 2026, 1, 2, 3, 4, 5)),
    "background": (b"bKGD", bytes(6)),
    "profile": (b"iCCP", b"p\0\0" + zlib.compress(profile())),
    "text": (b"iTXt", b"Comment\0\0\0\0\0" + "ä".encode()),
    "private": (b"vpAg", bytes(9)),
}


@pytest.mark.parametrize("behind", [False, True], ids=["before", "behind"])
@pytest.mark.parametrize("name", HARMLESS)
def test_what_engines_pass_over_is_passed_over(name, behind):
    """The file's own bytes show an engine the painted pixels, and so do those that are sent in its place."""
    at = len(PNG) - 12 if behind else 33
    data = PNG[:at] + chunk(*HARMLESS[name]) + PNG[at:]
    artwork = Artwork.load(data)
    for sent in (data, base64.b64decode(artwork.data_url().partition(",")[2])):
        with Image.open(io.BytesIO(sent)) as image:
            image.load()
            assert np.array_equal(np.array(image.convert("RGB")), painted().pixels)


def test_a_reported_picture_that_engines_cannot_open_is_refused_everywhere(capsys):
    """From python-pillow/Pillow#2445: all is right but a colour profile that inflates to 190 MiB."""
    from pixeltune.cli.main import main
    from pixeltune.serve.shelf import Shelf

    path = Path(__file__).parents[1] / "fixtures" / "cases" / "png" / "iccp-bomb.png"
    with pytest.raises(ValueError, match="too large"), Image.open(path) as image:
        image.load()
    with pytest.raises(ArtworkError, match=r"engines cannot open this PNG .Decompressed data too large"):
        Artwork.load(path)
    assert main(["show", str(path)]) != 0
    assert "engines cannot open" in "".join(capsys.readouterr())
    shelf = Shelf(path.parent)

    async def asked():
        await shelf.refresh()
        await shelf.picture("iccp-bomb")

    with pytest.raises(ArtworkError, match="engines cannot open"):
        asyncio.run(asked())


def test_pillows_switches_are_left_as_they_were(monkeypatch):
    monkeypatch.setattr("PIL.ImageFile.LOAD_TRUNCATED_IMAGES", True)
    monkeypatch.setattr("PIL.PngImagePlugin.MAX_TEXT_CHUNK", 2**30)
    with pytest.raises(ArtworkError, match="Decompressed data too large"):
        Artwork.load(BAD["iCCP bomb"][0])
    assert ImageFile.LOAD_TRUNCATED_IMAGES
    assert PngImagePlugin.MAX_TEXT_CHUNK == 2**30


def test_a_glance_inflates_no_more_than_loading_does():
    with pytest.raises(ArtworkError, match="text chunks exceed 4 MiB"):
        read_texts(io.BytesIO(BAD["many texts"][0]))


def load(data: bytes) -> Artwork | None:
    """The artwork, or None where it is refused; any other exception fails the test."""
    try:
        return Artwork.load(data)
    except ArtworkError:
        return None


def test_fuzz_truncation():
    for end in range(len(PNG)):
        with pytest.raises(ArtworkError):
            Artwork.load(PNG[:end])


def test_fuzz_every_byte_flipped():
    for at in range(len(PNG)):
        for mask in (0x01, 0x20, 0xFF):
            with pytest.raises(ArtworkError):
                Artwork.load(PNG[:at] + bytes([PNG[at] ^ mask]) + PNG[at + 1 :])


TEXT, DATA = PNG.index(b"tEXt"), PNG.index(b"IDAT")
CHUNKS = [
    (b"IHDR", PNG[16:29]),
    (b"tEXt", PNG[TEXT + 4 : DATA - 8]),
    (b"IDAT", PNG[DATA + 4 : -16]),
    (b"IEND", b""),
]


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_fuzz_damage_behind_valid_checksums(data):
    """Checksums repaired after the damage, so that the parsing behind them is reached."""
    assert load(SIGNATURE + b"".join(chunk(*c) for c in CHUNKS)) == painted()
    at = data.draw(st.integers(0, len(CHUNKS) - 1))
    kind, body = CHUNKS[at]
    for position, new, cut in data.draw(
        st.lists(st.tuples(st.integers(0, len(body)), st.binary(max_size=4), st.integers(0, 4)), max_size=4)
    ):
        body = body[:position] + new + body[position + cut :]
    kind = data.draw(st.sampled_from([kind, b"tEXt", b"iTXt", b"zTXt", b"tIME"]))
    damaged = [*CHUNKS[:at], (kind, body), *CHUNKS[at + 1 :]]
    loaded = load(SIGNATURE + b"".join(chunk(*c) for c in damaged))
    # Words of the provenance can change unnoticed, the pixels cannot.
    assert loaded is None or np.array_equal(loaded.pixels, painted().pixels)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_fuzz_random_bytes(data):
    assert load(data) is None
    assert load(SIGNATURE + data) is None
    assert load(PNG[:33] + data) is None


def test_save_is_atomic(tmp_path, monkeypatch):
    path = painted().save(tmp_path / "a.png")
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    for step in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, step, fail)
            with pytest.raises(OSError, match="disk full"):
                painted(seed=1).save(path)
        assert path.read_bytes() == before
        assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    painted(seed=1).save(path)
    assert Artwork.load(path) == painted(seed=1)


def test_describe_and_card():
    artwork = painted()
    facts = dict(artwork.describe())
    assert facts["base model"] == "tiny @ abc123"
    assert facts["size"] == "8 x 12 (height x width), 64 image tokens"
    assert artwork.sha256 in facts["pixels"]
    for bound in (8, 255):
        close = replace(artwork, provenance=replace(PROVENANCE, bound=bound / 255))
        assert dict(close.describe())["bound"] == f"{bound} grey levels around the start picture"
    assert "created" not in facts, "unknown facts are left out"
    card = artwork.card()
    assert card.startswith('---\nlibrary_name: "pixeltune"\npipeline_tag: "image-text-to-text"\ntags: ')
    assert 'license: "cc0-1.0"' in card
    assert "calls\\|sums" in card


@pytest.mark.parametrize(
    ("bases", "header", "said"),
    [
        (["tiny"], None, "tiny is the model that comes with pixeltune."),
        (["Qwen/Qwen3.5-0.8B"], '"Qwen/Qwen3.5-0.8B"', ""),
        (["my-folder"], None, "my-folder is a folder's name, not one on the hub."),
        (["tiny", "a/b"], '"a/b"', "tiny is the model"),
        (["a/b", "c/d"], '["a/b", "c/d"]', "for a/b and c/d"),
    ],
)
def test_the_card_s_header_names_models_that_are_on_the_hub(bases, header, said):
    """Any other name the hub would take for a repository."""
    first, *also = bases
    made = replace(PROVENANCE, base_model=first, training={"also": dict.fromkeys(also, "0")})
    card = replace(painted(), provenance=made).card()
    head, text = card.split("\n---\n", 1)
    assert [line for line in head.splitlines() if "base_model" in line] == (
        [f"base_model: {header}", 'base_model_relation: "adapter"'] if header else []
    )
    assert said in text
    assert f"# An artwork for {first}" in text


def test_the_card_has_the_scores_that_a_training_writes():
    before = {"score": 0.015, "ci95": [0.005, 0.043]}
    held_out = {"score": 0.955, "ci95": [0.917, 0.976], "n": 200, "before": before}
    card = replace(painted(), provenance=replace(PROVENANCE, scores={"held_out": held_out})).card()
    assert (
        "| start picture | 1.5 % | 0.5 to 4.3 % | 200 |\n| artwork | 95.5 % | 91.7 to 97.6 % | 200 |" in card
    )
    tasks = {"calls": {"score": 1.0, "n": 2}, "a | b": {"score": 0.5, "n": 4}, "none": 7}
    for one in (tasks, [1], 7):
        scores = {"held_out": {**held_out, "tasks": one}}
        card = replace(painted(), provenance=replace(PROVENANCE, scores=scores)).card()
        each = "| artwork, calls | 100.0 % | not known | 2 |\n| artwork, a \\| b | 50.0 % | not known | 4 |\n"
        assert (each in card) == (one is tasks)
        assert "none" not in card.partition("## Scores")[2].partition("##")[0]
    for unknown in ({}, {"score": "1"}, {"score": None, "before": 7}, [1], "x", {"right": 1.0}):
        artwork = replace(
            painted(), provenance=replace(PROVENANCE, scores={"held_out": unknown, "more": unknown})
        )
        assert "## Scores" not in artwork.card()
        assert "score" not in repr(artwork)


def test_a_notebook_shows_the_picture_and_a_line():
    scores = {"held_out": {"score": 0.955, "n": 200}}
    artwork = replace(painted(), provenance=replace(PROVENANCE, data="calls", scores=scores))
    assert repr(artwork) == "Artwork(8x12, 64 image tokens, for tiny, on calls, held-out score 95.5%)"
    assert artwork._repr_png_() == artwork.png()
    bare = replace(artwork, provenance=replace(PROVENANCE, data=None, scores={}, base_model="a\x1bb"))
    assert repr(bare) == "Artwork(8x12, 64 image tokens, for a\\x1bb)"


def test_an_artwork_is_saved_as_a_png_and_nothing_else(tmp_path):
    with pytest.raises(ArtworkError, match=r"x\.jpg must end in \.png"):
        painted().save(tmp_path / "x.jpg")
    (folder := tmp_path / "a.png").mkdir()
    with pytest.raises(ArtworkError, match="is a folder: give the name of a PNG"):
        painted().save(folder)
    assert list(tmp_path.iterdir()) == [folder]


def test_a_number_is_no_file():
    with pytest.raises(ArtworkError, match="not 5"):
        Artwork.load(5)


def test_needs_neither_torch_nor_transformers():
    code = "import sys, pixeltune.artwork.artwork; assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
