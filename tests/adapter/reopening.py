"""A picture as an engine gets it."""

from __future__ import annotations

import io

from PIL import Image


def reopened(pixels) -> Image.Image:
    """`(H, W, 3)` uint8 as an engine gets it: written as PNG, decoded by Pillow."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return Image.open(io.BytesIO(file.getvalue()))
