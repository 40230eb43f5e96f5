"""Pictures about a picture: what changed, in which grey levels, and how it came to be."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from pixeltune.errors import UserError

SECONDS = 4.0
"""Of an animation, without the rest on its last picture."""

REST_MS = 1500
# From nothing to much: ink, violet, orange, cream. Dark to light, so that it reads in grey too.
_RAMP = np.array([(16, 14, 30), (104, 42, 122), (236, 108, 62), (255, 244, 204)], dtype=float)


def difference(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """The largest difference over the three colours, pixel by pixel.

    Args:
        one: uint8 (H, W, 3).
        two: uint8 (H, W, 3).

    Returns:
        Grey levels, uint8 (H, W).

    Raises:
        ValueError: they differ in size.
    """
    if one.shape != two.shape:
        raise UserError(f"pictures of {one.shape} and {two.shape} cannot be compared")
    return np.abs(one.astype(np.int16) - two).max(axis=2).astype(np.uint8)


def difference_map(levels: np.ndarray) -> Image.Image:
    """A `difference` as a picture: dark where nothing changed, the largest difference lightest."""
    share = levels / max(1, int(levels.max()))
    anchors = np.linspace(0, 1, len(_RAMP))
    colours = np.stack([np.interp(share, anchors, _RAMP[:, channel]) for channel in range(3)], axis=-1)
    return Image.fromarray(colours.round().astype(np.uint8))


def histogram(pixels: np.ndarray, bins: int = 64) -> np.ndarray:
    """How often grey levels occur in red, green and blue: shares, float (3, bins), each row sums to 1.

    Args:
        pixels: uint8 (H, W, 3).
        bins: of equal width; divides 256.
    """
    counts = np.array(Image.fromarray(pixels).histogram(), dtype=float).reshape(3, bins, -1).sum(axis=2)
    return counts / (pixels.shape[0] * pixels.shape[1])


def animation(frames: Sequence[Image.Image]) -> bytes:
    """Frames as an animated WebP, without losses, that plays over and over and rests on its last picture."""
    each = max(40, round(1000 * SECONDS / len(frames)))
    durations = [each] * (len(frames) - 1) + [each + REST_MS]
    first, *more = frames
    return webp(first, save_all=True, append_images=more, duration=durations, loop=0)


def webp(image: Image.Image, **settings: Any) -> bytes:
    """A picture as WebP without losses: its lossy kind blurs the colours of neighbouring pixels."""
    out = io.BytesIO()
    image.save(out, "WEBP", lossless=True, quality=50, **settings)
    return out.getvalue()
