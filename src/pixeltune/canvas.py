"""The trainable picture: float pixels for the optimiser, 8-bit pixels for everybody else."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

MAX_PIXELS = 50_000_000
"""Largest picture file read, in pixels; larger ones are refused before they are decoded."""

_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


class Canvas(nn.Module):
    """One RGB picture whose pixels are trained.

    Attributes:
        pixels: parameter, `(3, H, W)` float32 in [0, 1]. What the optimiser sees.
        start: buffer, `(3, H, W)` uint8. The picture training started from, what a disabled adapter shows.
        mask: buffer, `(H, W)` bool, or None when every pixel may be painted.

    All three are in the state dict, so a checkpoint restores the picture, its bound and its mask exactly,
    also when the files they were read from are gone.
    """

    def __init__(self, start: Tensor, bound: float | None = None, mask: Tensor | None = None) -> None:
        """
        Args:
            start: `(3, H, W)` float in [0, 1]; rounded to 8 bits.
            bound: largest allowed distance of any pixel from the start picture, in [0, 1] units. Rounded down
                to whole grey levels, because the bound has to hold for the 8-bit picture too. None: no bound.
            mask: `(H, W)` bool, True where the picture may be painted. None: everywhere.

        Raises:
            ValueError: wrong shapes, values outside [0, 1], or a bound or mask that leaves nothing to train.
        """
        super().__init__()
        if start.ndim != 3 or start.shape[0] != 3:
            raise ValueError(f"the start picture must have shape (3, H, W), not {tuple(start.shape)}")
        if not (start.isfinite().all() and start.min() >= 0 and start.max() <= 1):
            raise ValueError("the start picture must hold values in [0, 1]; divide 8-bit pixels by 255")
        # A bound such as 8/255 is not exact in binary: without the slack it would round down to 7 levels.
        self.bound_levels = None if bound is None else int(bound * 255 + 1e-4)
        if self.bound_levels is not None and self.bound_levels < 1:
            raise ValueError(
                f"a bound of {bound} is less than one grey level (1/255): nothing could be trained"
            )
        if mask is not None:
            if mask.dtype != torch.bool or mask.shape != start.shape[1:]:
                raise ValueError(
                    f"the mask must be bool of shape {tuple(start.shape[1:])}, not {mask.dtype} "
                    f"of shape {tuple(mask.shape)}"
                )
            if not mask.any():
                raise ValueError("the mask leaves no pixel to paint: mark paintable pixels as True (white)")
        # Contiguous, whatever the strides of `start`: fused AdamW pairs pixels and their saved moments by
        # memory position, so that a resumed run with another layout would take other steps.
        levels = torch.round(start.detach().float() * 255).contiguous()
        self.pixels = nn.Parameter(_unit(levels))
        self.register_buffer("start", levels.to(torch.uint8))
        self.register_buffer("mask", None if mask is None else mask.clone())
        # Saved pixels should lie inside the box whoever saves them (TRL, Trainer, PEFT).
        self.register_state_dict_pre_hook(_project_first)

    @classmethod
    def awaiting(cls, height: int, width: int, bound: float | None, masked: bool) -> Canvas:
        """A canvas that must be filled by `load_state_dict` first; using it before raises ValueError."""
        mask = torch.ones(height, width, dtype=torch.bool) if masked else None
        canvas = cls(torch.zeros(3, height, width), bound, mask)
        canvas.pixels.data.fill_(float("nan"))
        return canvas

    def forward(self) -> Tensor:
        """The picture as `(3, H, W)` float32 in [0, 1], exactly on the 8-bit grid.

        The gradient passes through the rounding unchanged (straight-through); it is exactly zero where the
        mask is False.
        """
        # x - x.detach() is exactly zero, so the value is the 8-bit one and only the gradient is the pixels'.
        passage = self.pixels - self.pixels.detach()
        if self.mask is not None:
            passage = torch.where(self.mask, passage, torch.zeros_like(passage))
        return _unit(self._levels()) + passage

    @torch.no_grad()
    def project(self) -> None:
        """Clamp the pixels, in place, into [0, 1] and the bound, and restore the masked ones. Idempotent.

        Clamping only in the forward pass would leave pixels outside the box without a gradient. Also brings a
        parameter that somebody cast to 16 bits back to float32.
        """
        if self.pixels.is_meta:
            return
        if self.pixels.dtype != torch.float32:
            # TRL casts trainable parameters to bfloat16 on 4- and 8-bit bases, where steps would be lost. The
            # cast happens before training, with pixels on the 8-bit grid, and bfloat16 keeps all 256 levels
            # apart: snapping to the grid undoes it exactly.
            self.pixels.data = _unit(torch.round(self.pixels.data.float() * 255))
        low, high = self._box()
        self.pixels.copy_(torch.minimum(torch.maximum(self.pixels, _unit(low)), _unit(high)))

    @torch.no_grad()
    def start_image(self) -> Tensor:
        """The start picture as `(3, H, W)` float32 in [0, 1], on the 8-bit grid, without gradient."""
        return _unit(self.start.float())

    @torch.no_grad()
    def to_uint8(self) -> np.ndarray:
        """The current picture as `(H, W, 3)` uint8: exactly what `forward` shows the model."""
        return self._levels().to(torch.uint8).permute(1, 2, 0).cpu().numpy().copy()

    def _box(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest allowed grey levels, float32, `(3, H, W)` each."""
        start = self.start.float()
        reach = 255 if self.bound_levels is None else self.bound_levels
        low, high = (start - reach).clamp(min=0), (start + reach).clamp(max=255)
        if self.mask is not None:
            low, high = torch.where(self.mask, low, start), torch.where(self.mask, high, start)
        return low, high

    @torch.no_grad()
    def _levels(self) -> Tensor:
        """The picture in whole grey levels, float32; inside the box even before the projection."""
        if not self.pixels.isfinite().all():
            raise ValueError(
                "the canvas holds NaN or infinite pixels. Either its checkpoint was never loaded and its "
                "start or mask file is missing, or training diverged: lower the learning rate and start from "
                "a snapshot"
            )
        low, high = self._box()
        return torch.minimum(torch.maximum(torch.round(self.pixels.float() * 255), low), high)

    def _apply(self, fn, recurse=True):
        """Follow moves to another device, but never casts: pixels stay float32 under `.to(bfloat16)`."""

        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(move, recurse)


def start_picture(start: str, height: int, width: int, seed: int = 0) -> Tensor:
    """The picture a canvas starts from, as `(3, height, width)` float32 in [0, 1] on the 8-bit grid.

    Args:
        start: "grey" (all pixels 128), "noise" (each grey level equally likely, from `seed`) or the path of a
            picture file. A file is turned upright (EXIF), composited on mid grey 128 where it is transparent,
            and resized to `height` x `width` *without* keeping its aspect ratio: crop it beforehand if that
            matters.

    Raises:
        ValueError: the file is missing, unreadable, or larger than `MAX_PIXELS`.
    """
    if start == "grey":
        return _unit(torch.full((3, height, width), 128.0))
    if start == "noise":
        generator = torch.Generator().manual_seed(seed)
        return _unit(torch.randint(0, 256, (3, height, width), generator=generator).float())
    picture = _read(start, "start", background=128).resize((width, height), Image.Resampling.BICUBIC)
    return _unit(torch.from_numpy(np.array(picture)).permute(2, 0, 1).float())


def paintable_mask(path: str, height: int, width: int) -> Tensor:
    """Where a canvas may be painted, as `(height, width)` bool, from a picture file.

    White (grey level 128 and above) is paintable, black and transparent parts keep the start picture. The
    file is resized to `height` x `width` without interpolation.

    Raises:
        ValueError: the file is missing, unreadable, or larger than `MAX_PIXELS`.
    """
    picture = _read(path, "mask", background=0).convert("L").resize((width, height), Image.Resampling.NEAREST)
    return torch.from_numpy(np.array(picture) >= 128)


def _project_first(canvas: Canvas, prefix: str, keep_vars: bool) -> None:
    canvas.project()  # a function of the module, unlike a lambda, can be pickled with the canvas


def _unit(levels: Tensor) -> Tensor:
    """Grey levels to [0, 1].

    The divisor is a tensor on purpose: CUDA turns division by a Python number into multiplication by its
    reciprocal, after which 126 of the 256 levels no longer come back exactly from x * 255.
    """
    return levels / torch.full((), 255.0, dtype=levels.dtype, device=levels.device)


def _read(path: str, role: str, background: int) -> Image.Image:
    """An upright RGB picture; transparency composited on the grey level `background`."""
    if not Path(path).is_file():
        hint = ' ("grey" and "noise" need no file)' if role == "start" else ""
        raise ValueError(
            f"the {role} picture {path!r} is not a file{hint}. To continue from a checkpoint without "
            f"it, take the settings from there: ArtConfig.from_pretrained(checkpoint)"
        )
    try:
        with Image.open(path) as file:
            if file.width * file.height > MAX_PIXELS:
                raise ValueError(f"it has {file.width} x {file.height} pixels, more than {MAX_PIXELS:,}")
            picture = ImageOps.exif_transpose(file)
            if picture.mode.startswith("I;16"):  # convert("RGB") would clip 16-bit greys to white
                picture = Image.fromarray((np.array(picture) >> 8).astype(np.uint8))
            elif picture.mode in ("I", "F"):
                raise ValueError(f"pictures of mode {picture.mode} are not supported, save it with 8 bits")
            picture = picture.convert("RGBA")
    except _UNREADABLE as error:
        raise ValueError(f"cannot read the {role} picture {path!r}: {error}") from error
    backdrop = Image.new("RGBA", picture.size, (background, background, background, 255))
    return Image.alpha_composite(backdrop, picture).convert("RGB")
