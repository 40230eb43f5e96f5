"""Picture files that people bring, as starts and masks: read with bounds, turned upright, opaque, fitted.

And pictures as they are sent to engines.
"""

from __future__ import annotations

import base64
import io
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageFile, ImageOps

from pixeltune.errors import UserError
from pixeltune.picture.drawings import NAMES, draw

STARTS = ("grey", "noise", *NAMES)
"""Starts that need no file, and so nobody's licence."""

FITS = ("crop", "pad", "stretch")
"""What to do with a file of another shape than the canvas: cut its longer side off evenly, add stripes in the
colour of the backdrop, or distort it."""

BACKDROP = "#808080"
"""Colour of a backdrop where nothing is said: the grey that canvases start from."""

MAX_FILE_PIXELS = 50_000_000
"""Largest picture file read, in pixels; larger ones are refused before they are decoded."""

SAME_SHAPE = 1.05
"""A file whose ratio of sides differs by less than this factor is stretched without asking."""

# Pillow knows many more, and some of them start other programs.
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
# What Pillow raises for damaged files; TypeError and struct.error for damaged EXIF.
_UNREADABLE = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError),
    *(struct.error, Image.DecompressionBombError),
)


def read_colour(colour: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of a colour such as "#d9c7a3", "teal" or "rgb(10, 20, 30)".

    Raises:
        ValueError: it is none, or not an opaque one.
    """
    try:
        parts = ImageColor.getrgb(colour)
    except (ValueError, TypeError, AttributeError):
        parts = None
    if parts is None or len(parts) != 3:
        raise UserError(f'{colour!r} is no opaque colour for a backdrop: give "#rrggbb" or a name')
    return parts


def read_picture(path: str, role: str, backdrop: str) -> Image.Image:
    """A picture file as upright RGB, composited on a colour where it is transparent.

    Sixteen bits are reduced to the upper eight. Colour profiles are not applied: CMYK becomes RGB as Pillow
    converts it.

    Args:
        path: PNG, JPEG, WebP, GIF, BMP, TIFF or PPM.
        role: for messages: "start", "mask", "style", or "row's".
        backdrop: the colour.

    Raises:
        ValueError: the file is missing, unreadable, truncated, animated, or larger than `MAX_FILE_PIXELS`.
    """
    ground = read_colour(backdrop)
    if not Path(path).is_file():
        hint = f" ({', '.join(STARTS)} need no file)" if role == "start" else ""
        if role in ("start", "mask"):
            hint += (
                ". To continue from a checkpoint without it, take the settings from there: "
                "ArtConfig.from_pretrained(checkpoint)"
            )
        raise UserError(f"the {role} picture {path!r} is not a file{hint}")
    try:
        with Image.open(path, formats=_FORMATS) as file:
            _check(file)
            return opaque(ImageOps.exif_transpose(_with_alpha(file)), ground)
    except Image.UnidentifiedImageError as error:
        raise UserError(
            f"cannot read the {role} picture {path!r}: it is no PNG, JPEG, WebP, GIF, BMP, TIFF or PPM"
        ) from error
    except _UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"cannot read the {role} picture {path!r}: {reason}") from error


def check_fit(fit: str | None) -> None:
    """
    Raises:
        UserError: it is neither None nor one of `FITS`.
    """
    if fit not in (None, *FITS):
        raise UserError(f"fit is one of {', '.join(FITS)}, not {fit!r}")


def check_start(start: str, backdrop: str = BACKDROP, role: str = "start") -> None:
    """
    Raises:
        ValueError: it is none of `STARTS`, and no file that can be read; whether it fits is another question.
    """
    if start not in STARTS:
        read_picture(start, role, backdrop)


def read_start(start: str, height: int, width: int, backdrop: str, fit: str | None) -> np.ndarray:
    """A start that is a drawing or a file, at the size of the canvas, `(height, width, 3)` uint8.

    Raises:
        ValueError: the file cannot be used, or has another shape and `fit` is None.
    """
    if start in NAMES:
        return draw(start, height, width)
    picture = read_picture(start, "start", backdrop)
    return np.array(
        fit_picture(picture, height, width, fit, f"the start picture {start!r}", backdrop=backdrop)
    )


def read_mask(path: str, height: int, width: int, fit: str | None) -> np.ndarray:
    """Where a canvas may be painted, `(height, width)` bool, from a picture file.

    White (grey level 128 and above) is paintable; black, transparent and padded parts keep the start picture.
    The file is brought to `height` x `width` without interpolation, as `fit` says.

    Raises:
        ValueError: the file cannot be used, or has another shape and `fit` is None.
    """
    picture = read_picture(path, "mask", "black").convert("L")
    picture = fit_picture(picture, height, width, fit, f"the mask {path!r}", Image.Resampling.NEAREST)
    return np.array(picture) >= 128


def check_mask(mask: Any) -> None:
    """
    Args:
        mask: bool, an array or a tensor.

    Raises:
        ValueError: it is False everywhere.
    """
    if not mask.any():
        raise UserError("the mask leaves no pixel to paint: mark paintable pixels as True (white)")


def fit_picture(
    picture: Image.Image,
    height: int,
    width: int,
    fit: str | None,
    name: str,
    resample: Image.Resampling = Image.Resampling.BICUBIC,
    backdrop: str = "black",
) -> Image.Image:
    """A picture at the size of the canvas; unchanged where it has that size.

    Args:
        picture: RGB or L.
        height: of the canvas, in pixels.
        width: of the canvas, in pixels.
        fit: one of `FITS`, or None: only the same shape fits.
        name: of the picture, for messages.
        resample: Pillow's filter.
        backdrop: the colour of stripes.

    Raises:
        ValueError: another shape and no `fit`, or an unknown one.
    """
    check_fit(fit)
    if fit is None:
        ratio = picture.width * height / (picture.height * width)
        if not 1 / SAME_SHAPE < ratio < SAME_SHAPE:
            raise UserError(
                f"{name} is {picture.height}x{picture.width} (height x width), the canvas {height}x{width}: "
                f"say how it is to fit (--fit crop, pad or stretch), or give --height and --width"
            )
    if fit == "crop":
        return ImageOps.fit(picture, (width, height), resample)
    if fit == "pad":
        colour = ImageColor.getcolor(backdrop, picture.mode)
        return ImageOps.pad(picture, (width, height), resample, color=colour)
    return picture.resize((width, height), resample)


def opaque(picture: Image.Image, ground: tuple[int, int, int]) -> Image.Image:
    """A picture of any mode as RGB, on `ground` where it is transparent.

    Of a PNG with a key colour that was loaded before, Pillow has forgotten the depth: give it freshly opened.
    """
    picture = _with_alpha(picture)
    if picture.mode.startswith("I;16"):  # convert("RGBA") would clip these to white
        picture = Image.fromarray((np.array(picture) >> 8).astype(np.uint8))
    elif picture.mode in ("I", "F"):
        raise UserError(f"pictures of mode {picture.mode} are not supported: save it with 8 bits")
    picture = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, (*ground, 255)), picture).convert("RGB")


def data_url(png: bytes) -> str:
    """PNG bytes as a `data:` URL, for the `image_url` of a chat request."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _check(file: Image.Image) -> None:
    """
    Raises:
        ValueError: it is too large, or several.
    """
    if file.width * file.height > MAX_FILE_PIXELS:
        raise UserError(f"it has {file.width} x {file.height} pixels, more than {MAX_FILE_PIXELS:,}")
    # Cameras put a preview or a depth map behind the picture (MPO): that is no animation.
    if getattr(file, "is_animated", False) and file.format != "MPO":
        raise UserError("it has several frames, and an artwork is one picture: save the frame you mean")


def _with_alpha(picture: Image.Image) -> Image.Image:
    """A picture whose transparency is one level or colour (tRNS of a PNG) as one with an alpha channel.

    Pillow compares the key with pixels that it has brought to 8 bits, so that in files of another depth it
    finds none, or others (https://github.com/python-pillow/Pillow/issues/9281). Here it is compared at the
    depth of the file, of which the key's lowest bits count (https://www.w3.org/TR/png-3/#11tRNS).
    """
    key, stored = picture.info.get("transparency"), picture.mode
    if key is None or isinstance(key, bytes) or picture.mode not in ("1", "L", "I;16", "RGB"):
        return picture  # of palettes Pillow is right
    if isinstance(picture, ImageFile.ImageFile) and picture.format == "PNG" and picture.tile:
        picture, stored, levels = _stored_levels(picture)
    elif picture.mode == "I;16":
        levels = np.array(picture)
    else:
        return picture
    key = 1 if stored == "1" and key else key  # there Pillow says 255
    clear = levels == (np.array(key) & (2 ** _depth(stored) - 1))
    clear = clear.all(-1) if clear.ndim == 3 else clear
    shown = (levels >> max(0, _depth(stored) - 8)) * (255 // (2 ** min(8, _depth(stored)) - 1))
    out = Image.fromarray(shown.astype(np.uint8)).convert("RGB")
    out.info = {name: value for name, value in picture.info.items() if name != "transparency"}
    out.putalpha(Image.fromarray(np.where(clear, 0, 255).astype(np.uint8)))
    return out


def _stored_levels(picture: ImageFile.ImageFile) -> tuple[Image.Image, str, np.ndarray]:
    """Of a PNG that is not decoded yet a copy that is, and its levels as they are stored.

    Returns:
        The copy; Pillow's name of the storage ("1", "L;2", "L;4", "L", "I;16B", "RGB", "RGB;16B"); int64
        `(H, W)` or `(H, W, 3)`.
    """
    file: Any = picture.fp
    at, stored = file.tell(), str(picture.tile[0].args)
    file.seek(0)
    data = file.read()
    file.seek(at)
    with Image.open(io.BytesIO(data), formats=["PNG"]) as copy:
        levels = np.array(copy).astype(np.int64)
    if _depth(stored) < 8:
        levels //= 1 if stored == "1" else 255 // (2 ** _depth(stored) - 1)
    if stored == "RGB;16B":  # of which Pillow gives the upper bytes; read as little-endian, the lower ones
        with Image.open(io.BytesIO(data), formats=["PNG"]) as again:
            again.tile = [again.tile[0]._replace(args="RGB;16L")]
            levels = levels * 256 + np.array(again)
    return copy, stored, levels


def _depth(stored: str) -> int:
    """Bits of a level, from Pillow's name of how it is stored."""
    return int(re.sub(r"\D", "", stored) or 8)
