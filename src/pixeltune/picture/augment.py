"""What may happen to a picture on its way to a model: random, differentiable, for training against it.

A transform is called with a picture, `(3, H, W)` float in [0, 1] on the 8-bit grid, and a CPU generator from
which it draws its strength, and returns a picture of the same shape, perhaps outside [0, 1] and off the grid.
`Distortions` draws some of them for each optimiser step and puts the 8 bits back after each.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor

from pixeltune.picture.jpeg import SUBSAMPLINGS, cut_off, jpeg
from pixeltune.picture.settings import read_robust


class Transform(Protocol):
    def __call__(self, picture: Tensor, generator: Generator) -> Tensor: ...


@dataclass(frozen=True)
class Shift:
    """By one pixel up, down, left, right or along a diagonal; the edge is repeated."""

    def __call__(self, picture: Tensor, generator: Generator) -> Tensor:
        choice = _whole(0, 7, generator)
        down, right = divmod(choice + (choice >= 4), 3)  # the fourth of nine is no shift
        return _moved(_moved(picture, right - 1).mT, down - 1).mT


@dataclass(frozen=True)
class Resize:
    """To a part of each side between `least` and `most`, as 8-bit pixels, and back, with one filter.

    The filter, bilinear or bicubic, covers all pixels that a smaller one stands for, as Pillow's do.
    """

    least: float
    most: float

    def __call__(self, picture: Tensor, generator: Generator) -> Tensor:
        factor = _between(self.least, self.most, generator)
        kernel = ("bilinear", "bicubic")[_whole(0, 1, generator)]
        height, width = picture.shape[1:]
        small = resized(picture, max(1, round(factor * height)), max(1, round(factor * width)), kernel)
        return resized(eight_bits(small), height, width, kernel)


@dataclass(frozen=True)
class Brightness:
    """Contrast around mid grey by a factor of up to 1 ± `change`, brightness by up to ± `change`."""

    change: float

    def __call__(self, picture: Tensor, generator: Generator) -> Tensor:
        contrast = 1 + _between(-self.change, self.change, generator)
        return (picture - 0.5) * contrast + 0.5 + _between(-self.change, self.change, generator)


@dataclass(frozen=True)
class Noise:
    """Gaussian, of a standard deviation up to `levels` grey levels, each value for itself."""

    levels: float

    def __call__(self, picture: Tensor, generator: Generator) -> Tensor:
        sigma = _between(0, self.levels, generator) / 255
        return picture + sigma * torch.randn(picture.shape, generator=generator).to(picture)


@dataclass(frozen=True)
class Jpeg:
    """Of a quality between `least` and `most`, with any chroma subsampling."""

    least: int
    most: int

    def __call__(self, picture: Tensor, generator: Generator) -> Tensor:
        quality = _whole(self.least, self.most, generator)
        return jpeg(picture, quality, list(SUBSAMPLINGS)[_whole(0, len(SUBSAMPLINGS) - 1, generator)])


# By the names, and in the order, of TRANSFORMS.
LIGHT: dict[str, Transform] = {
    "shift": Shift(),
    "resize": Resize(0.75, 0.95),
    "brightness": Brightness(0.04),
    "noise": Noise(2),
    "jpeg": Jpeg(75, 95),
}
HEAVY: dict[str, Transform] = {
    "shift": Shift(),
    "resize": Resize(0.5, 0.95),
    "brightness": Brightness(0.1),
    "noise": Noise(8),
    "jpeg": Jpeg(30, 95),
}


@dataclass(frozen=True)
class Distortions:
    """Transforms, of which each takes part in a step with probability 1/2, one after another.

    What a step draws depends on `seed` and the step alone: a resumed training draws what the uninterrupted
    one does, and every process of a distributed one draws the same.

    GRPO and RLOO sample completions, and keep old log-probs where they do, with the clean picture, for both
    happens without a gradient: to them the distorted pass is a policy that has moved.
    """

    transforms: tuple[Transform, ...]
    seed: int

    def __call__(self, picture: Tensor, step: int) -> Tensor:
        """The picture as this step sees it, exactly on the 8-bit grid; shape and dtype stay.

        The gradient passes through rounding unchanged, and not at all where a value was cut off at 0 or 1.

        Args:
            picture: `(3, H, W)` float32 in [0, 1], on the 8-bit grid.
            step: of the optimiser.
        """
        digest = hashlib.sha256(f"{self.seed} {step}".encode()).digest()
        generator = Generator().manual_seed(int.from_bytes(digest[:4], "big"))  # it uses 32 bits
        with torch.autocast(picture.device.type, enabled=False):  # 16 bits would not hold 256 levels
            for transform in self.transforms:
                if _whole(0, 1, generator):
                    picture = eight_bits(transform(picture, generator))
        return picture


def distortions(robust: str, seed: int) -> Distortions:
    """What ``--robust`` asks for.

    Args:
        robust: "none", "light", "heavy", or names out of `HEAVY` with commas between, in any order, which are
            taken as strong as there.
        seed: of the draws.

    Raises:
        ValueError: another name.
    """
    strength = LIGHT if robust == "light" else HEAVY
    return Distortions(tuple(strength[name] for name in read_robust(robust)), seed)


def resized(picture: Tensor, height: int, width: int, kernel: str) -> Tensor:
    """`(3, H, W)` to `(3, height, width)`; "bilinear" or "bicubic", antialiased.

    As two matrix products, because the gradient of torch's own call is not reproducible on CUDA.
    """
    rows, columns = (
        _filter(old, new, kernel).to(picture)
        for old, new in zip(picture.shape[1:], (height, width), strict=True)
    )
    return rows @ picture @ columns.mT


def eight_bits(picture: Tensor) -> Tensor:
    """Cut off at 0 and 1 and rounded to k / 255, with the gradient of the picture that was cut off."""
    inside = cut_off(picture, 0, 1)
    # A tensor as divisor: CUDA multiplies by the reciprocal of a number, and that is off the grid.
    levels = torch.round(inside.detach() * 255) / torch.full((), 255.0, dtype=inside.dtype).to(inside)
    return levels + (inside - inside.detach())


def _filter(old: int, new: int, kernel: str) -> Tensor:
    """The weights with which `old` values become `new` ones, `(new, old)` float32."""
    each = torch.eye(old)[None, None]
    return torch.nn.functional.interpolate(each, size=(new, old), mode=kernel, antialias=True)[0, 0]


def _moved(picture: Tensor, by: int) -> Tensor:
    """To the right by 1, 0 or -1 pixel."""
    if by == 0:
        return picture
    if by > 0:
        return torch.cat([picture[..., :1], picture[..., :-1]], -1)
    return torch.cat([picture[..., 1:], picture[..., -1:]], -1)


def _whole(least: int, most: int, generator: Generator) -> int:
    """A whole number, both ends included."""
    return int(torch.randint(least, most + 1, (), generator=generator))


def _between(least: float, most: float, generator: Generator) -> float:
    return least + (most - least) * float(torch.rand((), generator=generator))
