"""Baseline JPEG in torch: the 8-bit picture that libjpeg gives back, with a gradient.

Colours, chroma subsampling, quantisation tables and upsampling are those of libjpeg (ITU-T T.81, JFIF 1.02;
jccolor.c, jcsample.c, jcparam.c, jdsample.c of libjpeg-turbo); entropy coding loses nothing and is left out.
The cosine transform is in floating point, rounded where libjpeg's has integers; few coefficients come out
different. Every rounding passes the gradient on unchanged (straight-through).
"""

from __future__ import annotations

import torch
from torch import Tensor

from pixeltune.errors import UserError

SUBSAMPLINGS = {"4:4:4": (1, 1), "4:2:2": (1, 2), "4:2:0": (2, 2)}
"""Rows and columns of the picture for each value of the two colour channels."""

# ITU-T T.81, tables K.1 and K.2: divisors of the 8 x 8 coefficients at quality 50.
LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
)

# JFIF 1.02, page 3: rows are Y, Cb, Cr.
TO_YCC = (
    (0.299, 0.587, 0.114),
    (-0.168735892, -0.331264108, 0.5),
    (0.5, -0.418687589, -0.081312411),
)

TIE = 1e-4  # flat blocks have halves that are exact in libjpeg's integers and a last place off in floats


def jpeg(picture: Tensor, quality: int, subsampling: str) -> Tensor:
    """The picture after it was saved as JPEG and read again.

    Args:
        picture: `(3, H, W)` float in [0, 1], on the 8-bit grid for libjpeg's result.
        quality: 1 to 100, libjpeg's scale.
        subsampling: one of `SUBSAMPLINGS`.

    Returns:
        `(3, H, W)` in [0, 1], whole grey levels / 255 up to float rounding.

    Raises:
        ValueError: another quality or subsampling.
    """
    if not 1 <= quality <= 100 or subsampling not in SUBSAMPLINGS:
        raise UserError(
            f"JPEG has quality 1 to 100 and {', '.join(SUBSAMPLINGS)}, not {quality}, {subsampling}"
        )
    height, width = picture.shape[1:]
    tall, wide = SUBSAMPLINGS[subsampling]
    ycc = _round(torch.einsum("ij,jhw->ihw", picture.new_tensor(TO_YCC), picture * 255))
    # Colour has 0 in the middle here, libjpeg's 128 is left out; so has luminance from now on.
    luminance = _code(_fill(ycc[:1] - 128, 8, 8), quality_table(LUMINANCE, quality)) + 128
    colour = _subsample(_fill(ycc[1:], tall, 8 * wide), tall, wide)
    colour = _code(_fill(colour, 8, 8), quality_table(CHROMINANCE, quality))
    colour = _upsample(colour[:, : -(-height // tall), : -(-width // wide)], tall, wide)
    y, cb, cr = luminance[0, :height, :width], colour[0, :height, :width], colour[1, :height, :width]
    red = y + _round(1.402 * cr)
    green = y + _round(-0.344136286 * cb - 0.714136286 * cr)
    blue = y + _round(1.772 * cb)
    return cut_off(torch.stack([red, green, blue]), 0, 255) / 255


def cut_off(values: Tensor, low: float, high: float) -> Tensor:
    """Values clamped, with a gradient from `low` to `high`, these included.

    `Tensor.clamp` gives none at the ends themselves from torch 2.15 on, and black and white pixels are there.
    """
    outside = (values < low) | (values > high)
    return torch.where(outside, values.detach().clamp(low, high), values)


def quality_table(table: tuple[tuple[int, ...], ...], quality: int) -> Tensor:
    """A table scaled as libjpeg does (`jpeg_quality_scaling`), `(8, 8)` float32 of whole numbers 1 to 255."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return ((torch.tensor(table) * percent + 50) // 100).clamp(1, 255).float()


def _code(channels: Tensor, table: Tensor) -> Tensor:
    """Channels of 8 x 8 blocks, values -128 to 127, after transform, quantisation and back."""
    count, height, width = channels.shape
    table, cosines = table.to(channels), _cosines().to(channels)
    blocks = channels.view(count, height // 8, 8, width // 8, 8).transpose(2, 3)
    # Rounded to the places that libjpeg's integers have (jfdctint.c, jidctint.c); without that the result is
    # several times as far from libjpeg's.
    rows = _fixed(blocks @ cosines.T, 4 * 8**0.5)
    coefficients = _quantise(_fixed(cosines @ rows, 8) / table) * table
    columns = _fixed(cosines.T @ coefficients, 4 * 8**0.5)
    return cut_off(_round((columns @ cosines).transpose(2, 3).reshape(count, height, width)), -128, 127)


def _cosines() -> Tensor:
    """The orthonormal cosine transform of 8 values (T.81, A.3.3), `(8, 8)` float64: rows are frequencies."""
    steps = torch.arange(8, dtype=torch.float64)
    matrix = torch.cos((2 * steps + 1) * steps[:, None] * torch.pi / 16) / 2
    matrix[0] /= 2**0.5
    return matrix


def _subsample(channels: Tensor, tall: int, wide: int) -> Tensor:
    """Means of `tall` x `wide` values, rounded down and up in turns as libjpeg does against a bias."""
    count, height, width = channels.shape
    sums = channels.view(count, height // tall, tall, width // wide, wide).sum((2, 4))
    if tall * wide == 1:
        return sums
    bias = torch.arange(width // wide).remainder(2).to(sums) + (1 if tall == 2 else 0)
    return _floor((sums + bias) / (tall * wide))


def _upsample(channels: Tensor, tall: int, wide: int) -> Tensor:
    """Back to full size by 3/4 of the nearer and 1/4 of the farther value ("fancy upsampling")."""
    if wide == 1:
        return channels
    if tall == 1:
        return _floor(_stretch(channels, 1 / 4, 2 / 4))
    return _floor(_stretch(_stretch(channels.mT, 0, 0).mT, 8 / 16, 7 / 16))


def _stretch(channels: Tensor, left: float, right: float) -> Tensor:
    """Twice as wide; `left` and `right` are added to what lies on either side of an old value."""
    before = torch.cat([channels[..., :1], channels[..., :-1]], -1)
    after = torch.cat([channels[..., 1:], channels[..., -1:]], -1)
    pair = [(3 * channels + before) / 4 + left, (3 * channels + after) / 4 + right]
    return torch.stack(pair, -1).flatten(-2)


def _fill(channels: Tensor, tall: int, wide: int) -> Tensor:
    """The last row and column repeated until both sides are multiples of `tall` and `wide`."""
    height, width = channels.shape[1:]
    right = channels[..., -1:].expand(-1, -1, -width % wide)
    channels = torch.cat([channels, right], -1)
    return torch.cat([channels, channels[:, -1:].expand(-1, -height % tall, -1)], 1)


def _quantise(values: Tensor) -> Tensor:
    """Nearest whole numbers, halves away from zero; the gradient passes."""
    return _through(values, values.sign() * torch.floor(values.abs() + 0.5 + TIE))


def _fixed(values: Tensor, places: float) -> Tensor:
    """Rounded to multiples of 1 / `places`."""
    return _round(values * places) / places


def _round(values: Tensor) -> Tensor:
    """Nearest whole numbers, halves upwards; the gradient passes."""
    return _floor(values + 0.5)


def _floor(values: Tensor) -> Tensor:
    return _through(values, torch.floor(values + TIE))


def _through(values: Tensor, whole: Tensor) -> Tensor:
    """Exactly `whole`, with the gradient of `values`."""
    return whole.detach() + (values - values.detach())
