"""The bound on pictures, however they are spelled and whatever they are packed in."""

import base64
import io
import struct
import urllib.parse

import pytest
from PIL import Image

from pixeltune.serve import bodies
from pixeltune.serve.bodies import RequestError
from pixeltune.serve.pictures import MAX_FRAMES, is_too_large

LARGE, SMALL = (9000, 8000), (90, 80)


def packed(size, kind="PNG", **options):
    file = io.BytesIO()
    Image.new("1" if kind in ("PNG", "TIFF", "PPM", "BMP") else "L", size).save(file, kind, **options)
    return file.getvalue()


def text(data):
    return base64.b64encode(data).decode()


PNGS = {size: text(packed(size)) for size in (LARGE, SMALL)}
FROM_URLS = str.maketrans("+/", "-_")

SPELLINGS = {
    "plain": lambda data: f"data:image/png;base64,{data}",
    "upper case": lambda data: f"DATA:image/png;base64,{data}",
    "mixed case": lambda data: f"Data:Image/PNG;Base64,{data}",
    "no type": lambda data: f"data:;base64,{data}",
    "another type": lambda data: f"data:application/octet-stream;base64,{data}",
    "a text's type": lambda data: f"data:text/plain;charset=utf-8;base64,{data}",
    "parameters": lambda data: f'data:image/png;name="a b.png";base64,{data}',
    "spaces before": lambda data: f"  \n\tdata:image/png;base64,{data}",
    "many spaces before": lambda data: " " * 1000 + f"data:image/png;base64,{data}",
    "other blanks before": lambda data: f"\u3000\x00\ufeffdata:image/png;base64,{data}",
    "a broken scheme": lambda data: f"da\nta:image/png;base64,{data}",
    "spaces inside": lambda data: f"data: image/png ; base64 , {data}",
    "lines": lambda data: (
        "data:image/png;base64," + "\r\n".join(data[i : i + 76] for i in range(0, len(data), 76))
    ),
    "strange characters": lambda data: f"data:image/png;base64,!!{data[:9]}\x00*{data[9:]}",
    "no padding": lambda data: f"data:image/png;base64,{data.rstrip('=')}",
    "for urls": lambda data: f"data:image/png;base64,{data.translate(FROM_URLS)}",
    "percent": lambda data: f"data:image/png;base64,{urllib.parse.quote(data, safe='')}",
    "all percent": lambda data: "data:image/png;base64," + "".join(f"%{ord(c):02x}" for c in data),
    "no base64": lambda data: "data:image/png," + urllib.parse.quote_from_bytes(base64.b64decode(data)),
    "a comma": lambda data: f"data:image/png;base64,{data},",
    "many commas": lambda data: f"data:image/png;base64,{data[:40]}{',' * 2000}{data[40:]}",
    "a percent comma": lambda data: f"data:image/png;base64%2C{data}",
    "a percent scheme": lambda data: f"data%3Aimage%2Fpng;base64,{data}",
    "frames": lambda data: f"data:video/jpeg;base64,{PNGS[SMALL]},{data}",
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_every_spelling_of_a_picture_is_bounded(name):
    assert is_too_large(SPELLINGS[name](PNGS[LARGE]))
    assert not is_too_large(SPELLINGS[name](PNGS[SMALL]))


def webp(size, kind):
    width, height = size
    if kind == "VP8X":
        data = b"\0\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    elif kind == "VP8L":
        data = b"\x2f" + ((width - 1) | (height - 1) << 14).to_bytes(4, "little")
    else:
        data = b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height)
    data = kind.encode() + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(data) + 4) + b"WEBP" + data


def box(name, data):
    return struct.pack(">I", len(data) + 8) + name + data


def avif(size, brand=b"avif"):
    sizes = box(b"ispe", bytes(4) + struct.pack(">II", 64, 64)) + box(
        b"ispe", bytes(4) + struct.pack(">II", *size)
    )
    properties = box(b"iprp", box(b"ipco", sizes))
    return box(b"ftyp", brand + bytes(4) + brand) + box(b"meta", bytes(4) + properties)


def icon(size):
    """One entry, which says 16 x 16, with a PNG that does not."""
    data = packed(size)
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(data), 22) + data


def apple_icon(size):
    data = packed(size)
    entry = b"ic07" + struct.pack(">I", len(data) + 8) + data
    return b"icns" + struct.pack(">I", len(entry) + 8) + entry


CONTAINERS = {
    "PNG": packed,
    "JPEG": lambda size: packed(size, "JPEG"),
    "GIF": lambda size: packed(size, "GIF"),
    "BMP": lambda size: packed(size, "BMP"),
    "TIFF": lambda size: packed(size, "TIFF"),
    "PPM": lambda size: packed(size, "PPM"),
    "TGA": lambda size: packed(size, "TGA", compression="tga_rle"),
    "JPEG2000": lambda size: packed(size, "JPEG2000"),
    "ICO": icon,
    "ICNS": apple_icon,
    "WEBP": lambda size: webp(size, "VP8X"),
    "WEBP lossless": lambda size: webp(size, "VP8L"),
    "WEBP lossy": lambda size: webp(size, "VP8 "),
    "AVIF": avif,
    "HEIF": lambda size: avif(size, b"heic"),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_is_bounded(name):
    prefix = "data:image/png;base64,"  # nobody believes it
    assert is_too_large(prefix + text(CONTAINERS[name](LARGE)))
    assert not is_too_large(prefix + text(CONTAINERS[name](SMALL)))


@pytest.mark.parametrize("name", ["ICO", "ICNS", "AVIF"])
def test_a_large_picture_far_behind_a_small_one_is_found(name):
    large, small = CONTAINERS[name](LARGE), CONTAINERS[name](SMALL)
    assert is_too_large("data:;base64," + text(small + b"x" * 500_000 + large))
    assert not is_too_large("data:;base64," + text(small + b"x" * 500_000 + small))


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_real_files_of_formats_that_are_read_by_hand(kind):
    assert is_too_large("data:," + urllib.parse.quote_from_bytes(packed((6400, 5600), kind)))
    assert not is_too_large("data:," + urllib.parse.quote_from_bytes(packed((640, 480), kind)))


def test_a_film_of_too_many_pictures():
    assert is_too_large("data:video/jpeg;base64," + ",".join(["/9j/"] * (MAX_FRAMES + 1)))
    assert not is_too_large("data:video/jpeg;base64," + ",".join(["/9j/"] * MAX_FRAMES))


@pytest.mark.parametrize(
    "content",
    [
        {"type": "image_url", "image_url": {"url": PNGS[LARGE]}},
        {"type": "image_url", "image_url": PNGS[LARGE]},
        {"type": "input_image", "image_url": SPELLINGS["upper case"](PNGS[LARGE])},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNGS[LARGE]}},
        {"type": "images", "images": [PNGS[LARGE]]},
    ],
    ids=range(5),
)
def test_pictures_without_data_are_bounded_where_engines_read_them(content):
    with pytest.raises(RequestError) as caught:
        bodies.guard_media({"messages": [{"role": "user", "content": [content]}]}, "a")
    assert (caught.value.status, caught.value.code) == (413, "image_too_large")


@pytest.mark.parametrize(
    "words",
    [
        "data: it is",
        "data:",
        "data:,",
        "data:,,,",
        "http://host/a.png",
        "x" * 100_000,
        "%" * 999,
        "\ud800" * 99,
        "",
    ],
)
def test_what_is_no_picture_passes(words):
    assert not is_too_large(words)
    assert not is_too_large(words, "url")
    assert not is_too_large(f"data:image/png;base64,{words}")
