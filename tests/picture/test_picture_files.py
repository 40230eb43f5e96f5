import io
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import IFDRational

from pixeltune.data.images import opened
from pixeltune.picture import files as pictures
from pixeltune.picture.canvas import paintable_mask
from pixeltune.picture.files import fit_picture, read_colour, read_picture

RANDOM = np.random.default_rng(0).integers(0, 256, (24, 16, 3), dtype=np.uint8)


def read(path, backdrop="#808080") -> np.ndarray:
    return np.array(read_picture(str(path), "start", backdrop))


MODES = {
    "png": ["1", "L", "P", "RGB", "RGBA", "LA"],
    "tiff": ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr"],
    "bmp": ["1", "L", "P", "RGB", "RGBA"],
    "webp": ["L", "RGB", "RGBA"],
    "gif": ["1", "L", "P", "RGB"],
    "ppm": ["1", "L", "RGB"],
    "jpeg": ["1", "L", "RGB", "CMYK", "YCbCr"],
}


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind, modes in MODES.items() for mode in modes])
def test_every_mode_is_read_as_pillow_converts_it(kind, mode, tmp_path):
    path = tmp_path / f"a.{kind}"
    Image.fromarray(RANDOM).convert(mode).save(path)
    assert np.array_equal(read(path), np.array(Image.open(path).convert("RGB")))


def test_transparency_in_every_form_shows_the_backdrop(tmp_path):
    levels = np.array([[0, 255], [0, 255]], dtype=np.uint8)
    alpha = Image.fromarray(np.array([[255, 255], [0, 128]], dtype=np.uint8))
    rgba = Image.fromarray(levels).convert("RGB")
    rgba.putalpha(alpha)
    grey = Image.fromarray(levels)
    grey.putalpha(alpha)
    for name, picture in {"rgba": rgba, "la": grey}.items():
        picture.save(tmp_path / f"{name}.png")
        shown = read(tmp_path / f"{name}.png", "#204060")
        assert shown[0].tolist() == [[0, 0, 0], [255, 255, 255]], name
        assert shown[1, 0].tolist() == [0x20, 0x40, 0x60], name
        halfway = (255 + np.array([0x20, 0x40, 0x60])) / 2
        assert np.abs(shown[1, 1] - halfway).max() <= 1, name

    palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), "P")
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.save(tmp_path / "p.png", transparency=1)
    assert read(tmp_path / "p.png", "teal").tolist() == [[[255, 0, 0], [0, 128, 128]]]
    palette.save(tmp_path / "p.gif", transparency=0)
    assert read(tmp_path / "p.gif", "teal").tolist() == [[[0, 128, 128], [0, 255, 0]]]
    Image.fromarray(levels).save(tmp_path / "key.png", transparency=255)
    assert read(tmp_path / "key.png", "teal")[0].tolist() == [[0, 0, 0], [0, 128, 128]]


def test_16_bits_keep_their_upper_eight(tmp_path):
    deep = np.array([[0x0000, 0x4000], [0x80FF, 0xFFFF]], dtype=np.uint16)
    for name, more in (("a.png", {}), ("a.tiff", {}), ("key.png", {"transparency": 0x4000})):
        Image.fromarray(deep).save(tmp_path / name, **more)
        shown = read(tmp_path / name, "red")
        clear = [255, 0, 0] if more else [0x40] * 3
        assert shown.tolist() == [[[0] * 3, clear], [[0x80] * 3, [255] * 3]], name
    Image.fromarray(deep.astype(np.float32)).save(tmp_path / "f.tiff")
    with pytest.raises(ValueError, match="mode F are not supported: save it with 8 bits"):
        read(tmp_path / "f.tiff")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_the_picture_upright(orientation, tmp_path):
    """As a camera does it: it stores the turned picture, and in EXIF how to turn it back."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = Image.fromarray(RANDOM)
    if orientation > 1:
        stored = stored.transpose(undo[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read(tmp_path / "a.png"), RANDOM)


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "tiff"])
def test_animations_are_refused_and_single_frames_are_not(kind, tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    frames[0].save(tmp_path / f"one.{kind}")
    assert read(tmp_path / f"one.{kind}").shape == (8, 8, 3)
    frames[0].save(tmp_path / f"many.{kind}", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match=r"the mask picture .*several frames.*save the frame you mean"):
        read_picture(str(tmp_path / f"many.{kind}"), "mask", "black")


def test_a_preview_in_a_photo_is_no_second_frame(tmp_path):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "photo.jpg", format="MPO", save_all=True, append_images=frames[1:])
    assert Image.open(tmp_path / "photo.jpg").n_frames == 2
    assert np.abs(read(tmp_path / "photo.jpg")[8, 8].astype(int) - (255, 0, 0)).max() < 4


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "gif", "bmp", "tiff", "ppm"])
def test_truncated_files_are_one_clear_line(kind, tmp_path):
    path = tmp_path / f"a.{kind}"
    Image.fromarray(RANDOM).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf"cannot read the start picture '.*a\.{kind}': ") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_what_is_no_picture_is_refused_and_no_other_program_started(tmp_path):
    with pytest.raises(ValueError, match=r"not a file \(grey, noise, abacus, tools, letters need no file\)"):
        read(tmp_path / "missing.png")
    (tmp_path / "a.txt").write_text("hello")
    Image.fromarray(RANDOM).save(tmp_path / "a.eps")  # which Pillow would hand to Ghostscript
    for name in ("a.txt", "a.eps"):
        with pytest.raises(ValueError, match="it is no PNG, JPEG, WebP"):
            read(tmp_path / name)


def test_large_files_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    Image.new("L", (300, 300)).save(tmp_path / "a.png")
    with monkeypatch.context() as patch:
        patch.setattr(pictures, "MAX_FILE_PIXELS", 89_999)
        patch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
        with pytest.raises(ValueError, match="300 x 300 pixels, more than 89,999"):
            read(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # Pillow's own limit, met when the file is opened
    with pytest.raises(ValueError, match="cannot read"):
        read(tmp_path / "a.png")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "gif", "bmp", "tiff", "ppm"])
def test_damaged_files_are_read_or_refused(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_FILE_PIXELS", 100_000)  # a damaged size may be any size
    file, exif, draw = io.BytesIO(), Image.Exif(), random.Random(kind)
    exif[0x0112], exif[0x010F], exif[0x011A] = 6, "maker", IFDRational(72, 1)
    more = {} if kind in ("gif", "bmp", "ppm") else {"exif": exif}
    Image.fromarray(RANDOM).save(file, format=kind.upper(), **more)
    whole, refused = file.getvalue(), 0
    for _ in range(200):
        damaged = bytearray(whole)
        for _ in range(draw.choice([1, 2, 8])):
            damaged[draw.randrange(min(len(damaged), draw.choice([60, 200, 9999])))] = draw.randrange(256)
        (tmp_path / "a").write_bytes(damaged)
        try:
            read(tmp_path / "a")
        except ValueError:  # and nothing else
            refused += 1
    assert 0 < refused < 200


def test_another_shape_is_refused_with_both_sizes_and_the_choices():
    wide = Image.new("RGB", (640, 480))
    message = r"the start 'a.png' is 480x640 \(height x width\), the canvas 256x256: .*crop, pad or stretch"
    with pytest.raises(ValueError, match=message):
        fit_picture(wide, 256, 256, None, "the start 'a.png'")
    assert fit_picture(wide, 240, 320, None, "").size == (320, 240)
    assert fit_picture(wide, 250, 320, None, "").size == (320, 250)  # 4 % off
    with pytest.raises(ValueError, match="fit is one of crop, pad, stretch, not 'squeeze'"):
        fit_picture(wide, 240, 320, "squeeze", "")


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(24, 16), (40, 40), (10, 32)])
def test_fitting_is_pillows(fit, size):
    picture, (height, width) = Image.fromarray(RANDOM), size
    bicubic = Image.Resampling.BICUBIC
    expected = {
        "crop": ImageOps.fit(picture, (width, height), bicubic),
        "pad": ImageOps.pad(picture, (width, height), bicubic, "#204060"),
        "stretch": picture.resize((width, height), bicubic),
    }[fit]
    fitted = fit_picture(picture, height, width, fit, "", backdrop="#204060")
    assert np.array_equal(np.array(fitted), np.array(expected))
    if size == (24, 16):
        assert np.array_equal(np.array(fitted), RANDOM)


def test_crop_keeps_the_middle_and_pad_keeps_everything():
    flag = np.zeros((10, 30, 3), dtype=np.uint8)
    flag[:, :10], flag[:, 10:20], flag[:, 20:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    cropped = np.array(fit_picture(Image.fromarray(flag), 10, 10, "crop", ""))
    assert (cropped == (0, 255, 0)).all()
    padded = np.array(fit_picture(Image.fromarray(flag), 30, 30, "pad", "", backdrop="#ffff00"))
    assert np.array_equal(padded[10:20], flag)
    assert (padded[[*range(10), *range(20, 30)]] == (255, 255, 0)).all()


def test_colours():
    assert read_colour("#808080") == (128, 128, 128)
    assert read_colour("teal") == (0, 128, 128)
    for wrong in ("#80808080", "greyish", "", "808080", None, 128):
        with pytest.raises(ValueError, match="is no opaque colour"):
            read_colour(wrong)


CASES = Path(__file__).parents[1] / "fixtures" / "cases" / "png"
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def keyed_png(levels: np.ndarray, depth: int, key: bytes, interlaced: bool = False) -> bytes:
    """A PNG of `(H, W)` grey or `(H, W, 3)` colour levels with a tRNS chunk, as PNG's standard writes it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b""
    for x, y, dx, dy in PASSES if interlaced else [(0, 0, 1, 1)]:
        for row in levels[y::dy, x::dx]:
            if row.size:
                bits = "".join(f"{level:0{depth}b}" for level in row.flatten().tolist())
                bits += "0" * (-len(bits) % 8)
                rows += b"\0" + int(bits, 2).to_bytes(len(bits) // 8)
    size, colour = levels.shape[1::-1], 2 if levels.ndim == 3 else 0
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlaced)
    chunks = chunk(b"IHDR", header) + chunk(b"tRNS", key) + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunks + chunk(b"IEND", b"")


@pytest.mark.parametrize("interlaced", [False, True], ids=["plain", "interlaced"])
@pytest.mark.parametrize(("depth", "colours"), [(1, 1), (2, 1), (4, 1), (8, 1), (16, 1), (8, 3), (16, 3)])
def test_a_transparent_level_is_compared_at_the_files_own_depth(depth, colours, interlaced, tmp_path):
    """For several keys; the neighbours that differ by one level, even in the lowest bit of 16, stay."""
    random, top, path = np.random.default_rng(depth), 2**depth - 1, tmp_path / "key.png"
    for key in sorted({0, 1, top // 3, top // 2, top - 1, top}):
        near = [max(0, key - 1), key, min(top, key + 1)]
        shape = (9, 11) if colours == 1 else (9, 11, 3)
        levels = random.choice(near, size=shape)
        levels[0, :3] = key
        path.write_bytes(keyed_png(levels, depth, struct.pack(">H", key) * colours, interlaced))
        shown, clear = read(path, "#ff0080"), levels == key
        clear = clear if colours == 1 else clear.all(-1)
        assert (shown[clear] == (255, 0, 128)).all(), key
        scaled = levels >> 8 if depth == 16 else levels * 255 // top
        expected = scaled if colours == 3 else np.repeat(scaled[:, :, None], 3, axis=2)
        assert np.array_equal(shown[~clear], expected[~clear]), key


@pytest.mark.parametrize("depth", [2, 4, 8])
def test_only_the_lowest_bits_of_a_key_count(depth, tmp_path):
    levels = np.array([[0, 1], [2, 3]])
    (tmp_path / "a.png").write_bytes(keyed_png(levels, depth, struct.pack(">H", (1 << depth) + 1)))
    assert (read(tmp_path / "a.png", "red") == (255, 0, 0)).all(-1).tolist() == [
        [False, True],
        [False, False],
    ]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_of_every_depth_show_the_backdrop(bits, tmp_path):
    indices = np.array([[0, 1], [1, 0]], dtype=np.uint8)
    palette = Image.fromarray(indices, "P")
    palette.putpalette([255, 0, 0, 0, 255, 0])
    for clear in (0, 1, bytes([255, 128])):
        palette.save(tmp_path / "a.png", transparency=clear, bits=bits)
        shown = read(tmp_path / "a.png", "black")
        if clear == bytes([255, 128]):
            assert shown[0].tolist() == [[255, 0, 0], [0, 128, 0]]
        else:
            assert (shown[indices == clear] == 0).all()
            assert (shown[indices != clear].sum(-1) == 255).all()


@pytest.mark.parametrize("name", ["grey1-mid", "grey2-mid", "grey2-white", "grey4-mid", "rgb8", "rgb16"])
def test_the_transparent_half_of_reported_files_is_the_backdrop(name):
    """As a start, as a mask (where it is not painted), and as a row's picture, from a path or from Pillow."""
    path = CASES / f"{name}.png"
    clear = (read(path, "#ff0080") == (255, 0, 128)).all(-1)
    assert clear.mean() == 0.5
    with Image.open(path) as picture:
        for _ in range(2):  # the picture is not changed by looking at it
            assert ((np.array(opened(picture)) == 255).all(-1) == clear).all()
    assert ((np.array(opened(str(path))) == 255).all(-1) == clear).all()
    assert not paintable_mask(str(path), 8, 8)[torch.from_numpy(clear)].any()


def test_a_key_and_exif_go_together(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    stored = Image.fromarray(np.array([[0, 100], [200, 250]], dtype=np.uint8))
    stored.save(tmp_path / "a.png", exif=exif, transparency=100)
    assert read(tmp_path / "a.png", "red").tolist() == [[[250] * 3, [200] * 3], [[255, 0, 0], [0] * 3]]
