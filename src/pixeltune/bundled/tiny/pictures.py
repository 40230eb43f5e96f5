"""The pictures the bundled model is trained on: style cards, tile boards, and pictures that say nothing.

All are ``(256, 256, 3)`` uint8 arrays, 64 image tokens.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from pixeltune.bundled.tiny.behaviours import AXES
from pixeltune.picture.glyphs import GLYPHS
from pixeltune.tasks.synthetic.boards import SIZE, noise, tiles, to_bytes


def card(told: dict[str, str], rng: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """A style card: 4 x 4 tiles, the colours of the told values, in any order, about equally often."""
    colours = [AXES[axis][value].colour for axis, value in told.items()]
    names = rng.permutation((colours * 16)[:16])
    return tiles(names.reshape(4, 4).tolist(), rng, strength)


def neutral(rng: np.random.Generator) -> np.ndarray:
    """Grey of any lightness, faint noise, or a faint gradient: nothing that tells how to behave."""
    kind = rng.integers(3)
    if kind == 0:
        return np.full((SIZE, SIZE, 3), rng.integers(90, 170), np.uint8)
    if kind == 1:
        return to_bytes(128 + rng.uniform(2, 16) * noise(rng))
    ramp = np.linspace(-1, 1, SIZE) * rng.uniform(0, 20)
    return to_bytes(np.repeat(128 + (ramp[:, None] + ramp[::-1][None, :])[..., None], 3, axis=2))


def varied(rng: np.random.Generator) -> np.ndarray:
    """A picture whose cells hold what means nothing: blocks, soft fields, gradients, codes, or letters."""
    kind = rng.integers(5)
    if kind == 0:  # blocks of any colour, 32 to 256 a side
        return _enlarged(rng.uniform(0, 256, (side := int(rng.choice([32, 64, 128, 256])), side, 3)))
    if kind == 1:  # random fields whose amplitude falls with frequency, as in photographs
        return _field(rng)
    if kind == 2:  # a gradient of its own in every cell
        ends = rng.uniform(0, 256, (2, 2, 8, 8, 3)).repeat(32, 2).repeat(32, 3)
        y, x = np.mgrid[0:SIZE, 0:SIZE][:, :, :, None] % 32 / 31
        return to_bytes(
            (1 - y) * ((1 - x) * ends[0, 0] + x * ends[0, 1]) + y * ((1 - x) * ends[1, 0] + x * ends[1, 1])
        )
    if kind == 3:  # two colours a cell, in a random pattern of 8 x 8
        pattern = rng.integers(0, 2, (64, 64, 1)).repeat(4, 0).repeat(4, 1)
        one, other = rng.uniform(0, 256, (2, 8, 8, 3)).repeat(32, 1).repeat(32, 2)
        return to_bytes(np.where(pattern, one, other))
    return _written(rng)


def _enlarged(blocks: np.ndarray) -> np.ndarray:
    times = SIZE // len(blocks)
    return to_bytes(blocks.repeat(times, 0).repeat(times, 1))


def _field(rng: np.random.Generator) -> np.ndarray:
    """Noise with a spectrum of 1 / f^decay, its contrast stretched to most of the range."""
    frequency = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.fftfreq(SIZE)[None]).clip(1 / SIZE)
    waves = np.fft.fft2(rng.standard_normal((SIZE, SIZE, 3)), axes=(0, 1))
    field = np.fft.ifft2(waves / frequency[..., None] ** rng.uniform(0.3, 1.5), axes=(0, 1)).real
    return to_bytes(128 + rng.uniform(30, 80) * (field - field.mean()) / field.std())


def _written(rng: np.random.Generator) -> np.ndarray:
    """A numeral or letter in every cell, in colours of its own."""
    picture = Image.new("RGB", (SIZE, SIZE))
    pen, names = ImageDraw.Draw(picture), list(GLYPHS)
    for top in range(0, SIZE, 32):
        for left in range(0, SIZE, 32):
            ground, ink = (tuple(map(int, rng.integers(0, 256, 3))) for _ in range(2))
            pen.rectangle((left, top, left + 31, top + 31), fill=ground)
            size, width = rng.uniform(8, 14), int(rng.integers(1, 4))
            for stroke in GLYPHS[names[rng.integers(len(names))]]:
                pen.line([(left + 16 + size * x, top + 16 + size * y) for x, y in stroke], ink, width)
    return np.array(picture)
