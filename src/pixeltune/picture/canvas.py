"""The trainable picture: float pixels for the optimiser, 8-bit pixels for everybody else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pixeltune.errors import UserError
from pixeltune.picture.cells import choose_cells
from pixeltune.picture.files import BACKDROP, check_mask, read_mask, read_start
from pixeltune.picture.parametrisations import Pixels, parametrise


class Canvas(nn.Module):
    """One RGB picture whose pixels are trained.

    Attributes:
        paint: what the optimiser moves, see `pixeltune.picture.parametrisations`.
        start: buffer, `(3, H, W)` uint8. The picture training started from, what a disabled adapter shows.
        mask: buffer, `(H, W)` bool, or None when every pixel may be painted.

    All are in the state dict, so a checkpoint restores the picture, its bound and its mask exactly,
    also when the files they were read from are gone.
    """

    def __init__(
        self,
        start: Tensor,
        bound: float | None = None,
        mask: Tensor | None = None,
        parametrisation: str = "pixels",
        seed: int = 0,
    ) -> None:
        """
        Args:
            start: `(3, H, W)` float in [0, 1]; rounded to 8 bits.
            bound: largest allowed distance of any pixel from the start picture, in [0, 1] units. Rounded down
                to whole grey levels, because the bound has to hold for the 8-bit picture too. None: no bound.
            mask: `(H, W)` bool, True where the picture may be painted. None: everywhere.
            parametrisation: what is trained, one of `pixeltune.picture.settings.PARAMETRISATIONS`.
            seed: of what is random about that.

        Raises:
            ValueError: wrong shapes, values outside [0, 1], an unknown parametrisation, or a bound or mask
                that leaves nothing to train.
        """
        super().__init__()
        if start.ndim != 3 or start.shape[0] != 3:
            raise UserError(f"the start picture must have shape (3, H, W), not {tuple(start.shape)}")
        if not (start.isfinite().all() and start.min() >= 0 and start.max() <= 1):
            raise UserError("the start picture must hold values in [0, 1]; divide 8-bit pixels by 255")
        # A bound such as 8/255 is not exact in binary: without the slack it would round down to 7 levels.
        self.bound_levels = None if bound is None else int(bound * 255 + 1e-4)
        if self.bound_levels is not None and self.bound_levels < 1:
            raise UserError(
                f"a bound of {bound} is less than one grey level (1/255): nothing could be trained"
            )
        if mask is not None:
            if mask.dtype != torch.bool or mask.shape != start.shape[1:]:
                raise UserError(
                    f"the mask must be bool of shape {tuple(start.shape[1:])}, not {mask.dtype} "
                    f"of shape {tuple(mask.shape)}"
                )
            check_mask(mask)
        # Contiguous, whatever the strides of `start`: fused AdamW pairs pixels and their saved moments by
        # memory position, so that a resumed run with another layout would take other steps.
        levels = torch.round(start.detach().float() * 255).contiguous()
        self.paint = parametrise(parametrisation, _unit(levels), seed)
        self.start: Tensor
        self.mask: Tensor | None
        self.register_buffer("start", levels.to(torch.uint8))
        self.register_buffer("mask", None if mask is None else mask.clone())
        # Saved pixels should lie inside the box whoever saves them (TRL, Trainer, PEFT).
        self.register_state_dict_pre_hook(_project_first)

    @classmethod
    def awaiting(cls, height: int, width: int, masked: bool, **settings: Any) -> Canvas:
        """A canvas that must be filled by `load_state_dict` first; using it before raises ValueError.

        Args:
            height: in pixels.
            width: in pixels.
            masked: whether a mask will come.
            settings: the other arguments of a canvas, except start and mask.
        """
        mask = torch.ones(height, width, dtype=torch.bool) if masked else None
        canvas = cls(torch.zeros(3, height, width), mask=mask, **settings)
        for parameter in canvas.parameters():
            parameter.data.fill_(float("nan"))
        return canvas

    @property
    def pixels(self) -> Tensor:
        """The picture before clamping and rounding, `(3, H, W)`; of free pixels the parameter itself."""
        return self.paint(_unit(self.start.float()))

    def forward(self) -> Tensor:
        """The picture as `(3, H, W)` float32 in [0, 1], exactly on the 8-bit grid.

        The gradient passes through the rounding unchanged (straight-through), except that it never pushes a
        pixel further out of its box; it is exactly zero where the mask is False.
        """
        pixels = self.pixels
        # x - x.detach() is exactly zero, so the value is the 8-bit one and only the gradient is the pixels'.
        passage = pixels - pixels.detach()
        if self.mask is not None:
            passage = torch.where(self.mask, passage, torch.zeros_like(passage))
        if passage.requires_grad and not isinstance(self.paint, Pixels):
            passage.register_hook(self._inward(pixels.detach()))
        return _unit(self._levels(pixels)) + passage

    @torch.no_grad()
    def project(self) -> None:
        """Clamp the pixels, in place, into [0, 1] and the bound, and restore the masked ones. Idempotent.

        Clamping only in the forward pass would leave pixels outside the box without a gradient. Also brings a
        parameter that somebody cast to 16 bits back to float32.
        """
        free = isinstance(self.paint, Pixels)
        for parameter in self.paint.parameters():
            if parameter.is_meta:
                return
            if parameter.dtype != torch.float32:
                # TRL casts trainable parameters to bfloat16 on 4- and 8-bit bases, where steps would be lost.
                # It does so before training, with pixels on the 8-bit grid, and bfloat16 keeps all 256 levels
                # apart: snapping to the grid undoes it exactly.
                value = parameter.data.float()
                parameter.data = _unit(torch.round(value * 255)) if free else value
        if free:  # the others have no pixels to clamp; `forward` clamps, and lets no gradient lead outwards
            low, high = self._box()
            self.pixels.copy_(torch.minimum(torch.maximum(self.pixels, _unit(low)), _unit(high)))

    @torch.no_grad()
    def set_picture(self, levels: np.ndarray) -> None:
        """Put a finished picture onto the canvas; `to_uint8` gives it back.

        Args:
            levels: `(H, W, 3)` uint8.

        Raises:
            ValueError: another shape or dtype, a picture outside of the bound or the mask, or a
                parametrisation that is not "pixels": most pictures cannot be made from fewer numbers.
        """
        expected = (*self.start.shape[1:], 3)
        if levels.dtype != np.uint8 or levels.shape != expected:
            raise UserError(f"this canvas takes {expected} uint8, not {levels.shape} {levels.dtype}")
        if not isinstance(self.paint, Pixels):
            raise UserError(
                f"a canvas of {type(self.paint).__name__} cannot hold any picture: give it as the start, or "
                'use parametrisation="pixels"'
            )
        given = torch.from_numpy(levels.copy()).permute(2, 0, 1).float().to(self.start.device)
        low, high = self._box()
        if not ((given >= low) & (given <= high)).all():
            raise UserError("the picture leaves this canvas's bound or mask: give a canvas without them")
        self.project()  # to float32, should somebody have cast it
        self.paint.pixels.copy_(_unit(given))

    @torch.no_grad()
    def start_image(self) -> Tensor:
        """The start picture as `(3, H, W)` float32 in [0, 1], on the 8-bit grid, without gradient."""
        return _unit(self.start.float())

    @torch.no_grad()
    def to_uint8(self) -> np.ndarray:
        """The current picture as `(H, W, 3)` uint8: exactly what `forward` shows the model."""
        return self._levels(self.pixels).to(torch.uint8).permute(1, 2, 0).cpu().numpy().copy()

    def _box(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest allowed grey levels, float32, `(3, H, W)` each."""
        start = self.start.float()
        reach = 255 if self.bound_levels is None else self.bound_levels
        low, high = (start - reach).clamp(min=0), (start + reach).clamp(max=255)
        if self.mask is not None:
            low, high = torch.where(self.mask, low, start), torch.where(self.mask, high, start)
        return low, high

    def _inward(self, pixels: Tensor) -> Callable[[Tensor], Tensor]:
        """Lets a gradient through where the pixel is in its box, or descent would bring it back there."""
        low, high = (_unit(levels) for levels in self._box())
        return lambda gradient: torch.where(
            ((pixels <= high) | (gradient > 0)) & ((pixels >= low) | (gradient < 0)), gradient, 0.0
        )

    @torch.no_grad()
    def _levels(self, pixels: Tensor) -> Tensor:
        """The picture in whole grey levels, float32; inside the box even before the projection."""
        if not pixels.isfinite().all():
            raise UserError(
                "the canvas holds NaN or infinite pixels. Either its checkpoint was never loaded and its "
                "start or mask file is missing, or training diverged: lower the learning rate and start from "
                "a snapshot"
            )
        low, high = self._box()
        return torch.minimum(torch.maximum(torch.round(pixels.float() * 255), low), high)

    def _apply(self, fn, recurse=True):
        """Follow moves to another device, but never casts: pixels stay float32 under `.to(bfloat16)`."""

        def move(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(move, recurse)


def start_picture(
    start: str,
    height: int,
    width: int,
    seed: int = 0,
    backdrop: str = BACKDROP,
    fit: str | None = None,
) -> Tensor:
    """The picture a canvas starts from, as `(3, height, width)` float32 in [0, 1] on the 8-bit grid.

    Args:
        start: "grey" (all pixels 128), "noise" (each grey level equally likely, from `seed`), one of our own
            drawings (`pixeltune.picture.drawings.NAMES`) or the path of a picture file.
        height: in pixels.
        width: in pixels.
        seed: of "noise".
        backdrop: colour behind the transparent parts of a file, and of the stripes beside a padded one.
        fit: how a file of another shape becomes `height` x `width`, one of `pixeltune.picture.files.FITS`;
            None: it does not.

    Raises:
        ValueError: the file cannot be used, or has another shape and `fit` is None.
    """
    if start == "grey":
        return _unit(torch.full((3, height, width), 128.0))
    if start == "noise":
        generator = torch.Generator().manual_seed(seed)
        return _unit(torch.randint(0, 256, (3, height, width), generator=generator).float())
    levels = read_start(start, height, width, backdrop, fit)
    return _unit(torch.from_numpy(levels).permute(2, 0, 1).float())


def paintable_mask(path: str, height: int, width: int, fit: str | None = None) -> Tensor:
    """`pixeltune.picture.files.read_mask` as a tensor."""
    return torch.from_numpy(read_mask(path, height, width, fit))


def cells_mask(count: int, tokens: int, height: int, width: int, seed: int = 0) -> Tensor:
    """`pixeltune.picture.cells.choose_cells` as a tensor."""
    return torch.from_numpy(choose_cells(count, tokens, height, width, seed))


def _project_first(canvas: Canvas, prefix: str, keep_vars: bool) -> None:
    canvas.project()  # a function of the module, unlike a lambda, can be pickled with the canvas


def _unit(levels: Tensor) -> Tensor:
    """Grey levels to [0, 1].

    The divisor is a tensor on purpose: CUDA turns division by a Python number into multiplication by its
    reciprocal, after which 126 of the 256 levels no longer come back exactly from x * 255.
    """
    return levels / torch.full((), 255.0, dtype=levels.dtype, device=levels.device)
