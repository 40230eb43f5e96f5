"""What the optimiser moves when a canvas is painted: its pixels, or a few numbers they are made from.

One contract: `forward(start)` gives the picture `(3, H, W)` float32, not clamped or rounded yet, from
the start picture in [0, 1]; a fresh one gives the start picture itself. Their numbers are scaled so that a
step of Adam at learning rate r moves pixels by about r, root mean square: one rate suits all.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pixeltune.errors import UserError
from pixeltune.picture.settings import read_spec


class Pixels(nn.Module):
    """Every pixel by itself; the only ones that are clamped in place, so they cannot leave their box."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.pixels = nn.Parameter(start.clone())

    def forward(self, start: Tensor) -> Tensor:
        return self.pixels


class Fourier(nn.Module):
    """Waves in decorrelated colours, long ones moving faster than short ones.

    The axes are those of Ohta, Kanade and Sakai (1980), close to the principal components of colours in
    natural pictures: lightness, red against blue, green against both. Amplitudes fall with frequency as
    1 / f^decay; such coordinates make optimised pictures look natural (Olah, Mordvintsev and Schubert 2017).
    """

    def __init__(self, start: Tensor, decay: float = 1.0) -> None:
        """
        Args:
            start: `(3, H, W)`.
            decay: 0 moves all frequencies alike.
        """
        super().__init__()
        height, width = start.shape[1:]
        rows, columns = torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width)[None, :]
        scale = torch.hypot(rows, columns).clamp(min=1 / max(height, width)) ** -decay
        # A wave has a real and an imaginary part that move by r each.
        scale = scale / scale.square().mean().sqrt() / math.sqrt(2)
        self.scale: Tensor
        self.colours: Tensor
        self.register_buffer("scale", scale[:, : width // 2 + 1], persistent=False)
        axes = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 2.0, -1.0]])
        self.register_buffer("colours", axes / axes.norm(dim=1, keepdim=True), persistent=False)
        self.waves = nn.Parameter(torch.zeros(3, height, width // 2 + 1, 2))

    def forward(self, start: Tensor) -> Tensor:
        waves = torch.view_as_complex(self.waves) * self.scale
        change = torch.fft.irfft2(waves, s=start.shape[1:], norm="ortho")
        return start + torch.einsum("ahw,ac->chw", change, self.colours)


class LowRank(nn.Module):
    """For each colour the product of a tall and a wide matrix (LoR-VP, Jin et al. 2025)."""

    def __init__(self, start: Tensor, rank: int = 4, seed: int = 0) -> None:
        super().__init__()
        height, width = start.shape[1:]
        generator = torch.Generator().manual_seed(seed)
        self.tall = nn.Parameter(torch.randn(3, height, rank, generator=generator))
        self.wide = nn.Parameter(torch.zeros(3, rank, width))

    def forward(self, start: Tensor) -> Tensor:
        return start + self.tall @ self.wide / math.sqrt(self.tall.shape[2])


class Grid(nn.Module):
    """A coarse picture of one value per cell, enlarged bilinearly."""

    def __init__(self, start: Tensor, cell: int = 8) -> None:
        """
        Args:
            start: `(3, H, W)`.
            cell: pixels from one value to the next.
        """
        super().__init__()
        height, width = start.shape[1:]
        self.values = nn.Parameter(torch.zeros(3, -(-height // cell), -(-width // cell)))

    def forward(self, start: Tensor) -> Tensor:
        enlarged = nn.functional.interpolate(self.values[None], start.shape[1:], mode="bilinear")
        return start + enlarged[0]


class Subspace(nn.Module):
    """`start + P z`: each of d numbers moves its own share of the pixels up and down at random.

    P is a random sparse matrix with orthogonal columns, one entry of +1 or -1 a row. How small d may be
    measures how many directions a task needs (Li et al. 2018, "intrinsic dimension").
    """

    def __init__(self, start: Tensor, dimension: int, seed: int = 0) -> None:
        super().__init__()
        generator, n = torch.Generator().manual_seed(seed), start.numel()
        share = -(-n // dimension)
        # Distinct places, so that the gradient is a sum in a fixed order, the same in every run.
        places = torch.randperm(dimension * share, generator=generator)[:n].view(start.shape)
        signs = torch.randint(0, 2, (dimension, share), generator=generator, dtype=torch.int8) * 2 - 1
        self.places: Tensor
        self.signs: Tensor
        self.register_buffer("places", places, persistent=False)
        self.register_buffer("signs", signs, persistent=False)
        self.z = nn.Parameter(torch.zeros(dimension))

    def forward(self, start: Tensor) -> Tensor:
        return start + (self.z[:, None] * self.signs).flatten()[self.places]


def parametrise(spec: str, start: Tensor, seed: int = 0) -> nn.Module:
    """A fresh parametrisation of a picture.

    Args:
        spec: one of `pixeltune.picture.settings.PARAMETRISATIONS`, with a number behind a colon.
        start: `(3, H, W)` float32 in [0, 1].
        seed: of what is random about it.

    Raises:
        ValueError: there is no such parametrisation, or its number makes no sense for this picture.
    """
    name, number = read_spec(spec)
    smallest = min(start.shape[1:])
    if name in ("low-rank", "grid") and number is not None and number > smallest:
        raise UserError(f"parametrisation {spec}: {number} is more than the picture's {smallest} pixels")
    if name == "subspace" and number is not None and number > start.numel():
        raise UserError(f"parametrisation {spec}: the picture has only {start.numel()} numbers")
    match name:
        case "pixels":
            return Pixels(start)
        case "fourier":
            return Fourier(start) if number is None else Fourier(start, number)
        case "low-rank":
            return LowRank(start, seed=seed) if number is None else LowRank(start, int(number), seed)
        case "grid":
            return Grid(start) if number is None else Grid(start, int(number))
        case _:
            return Subspace(start, int(number or 0), seed)
