"""The stand-in for the vision tower, which holds the canvases."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from pixeltune.adapter.accumulation import Accumulation
from pixeltune.adapter.config import ArtConfig
from pixeltune.errors import UserError
from pixeltune.picture.augment import Distortions, distortions
from pixeltune.picture.canvas import Canvas


class ArtLayer(nn.Module, BaseTunerLayer):
    """Holds one `Canvas` per adapter and otherwise is the vision tower.

    It passes everything through: what the tower receives is decided in `ArtModel`, once per forward. The
    canvases are modules in a `ModuleDict` so that parameter names contain ".default.", by which TRL finds
    what to copy for its reference adapter.
    """

    adapter_layer_names = ("art_canvas",)

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.art_canvas = nn.ModuleDict()
        self.merged_adapters = []
        self.accumulation = Accumulation()
        self.distortions: dict[str, Distortions] = {}
        self.step: int | None = None
        """Of the optimiser, told by the guard in every trainer; distortions are drawn from it."""

    def update_layer(self, adapter_name: str, config: ArtConfig) -> None:
        """Add a canvas. Needs `config.height` and `config.width`.

        Raises:
            ValueError: the start or mask file cannot be read (unless the config was loaded from a checkpoint,
                whose weights will bring the pictures).
        """
        self.art_canvas[adapter_name] = config.canvas()
        self.distortions[adapter_name] = distortions(config.robust, config.seed)
        # PEFT looks for the device of a layer's `weight`, which a vision tower does not have.
        device = next(self.base_layer.parameters()).device
        if device.type != "meta":
            self._move_adapter_to_device_of_base_layer(adapter_name, device)
        self.set_adapter(self.active_adapters)

    def begin_step(self, step: int) -> None:
        """Tell which optimiser step comes now, and forget what one that was broken off has left behind."""
        self.step, self.accumulation.pending = step, None

    def active(self) -> str:
        """The name of the active adapter.

        Raises:
            UserError: not exactly one is active.
        """
        names = self.active_adapters
        if len(names) != 1 or names[0] not in self.art_canvas:
            raise UserError(f"exactly one artwork can be active, not {names}; use set_adapter")
        return names[0]

    def canvas(self) -> Canvas:
        """The canvas of the active adapter.

        Raises:
            UserError: not exactly one is active.
        """
        return self.art_canvas[self.active()]

    def image(self) -> Tensor:
        """What the model is shown: the canvas, or the start picture while adapters are disabled.

        With `ArtConfig(robust=...)` a training step is shown the canvas after what `step` draws; every other
        pass (no gradient, or the model in evaluation mode) sees it clean.

        Raises:
            ValueError: it is to be distorted, and nobody said which step this is.
        """
        canvas = self.canvas()
        if self.disable_adapters:
            return canvas.start_image()
        canvas.project()  # after an optimiser step; here, because nobody has to register a callback for it
        picture = canvas()
        if not self._distorts():
            return picture
        if self.step is None:
            raise UserError(
                "robust transforms are drawn anew in each optimiser step, and nobody says which one this is: "
                "in a loop of your own set pixeltune.adapter.guard.art_layer(model).step before each"
            )
        return self.distortions[self.active()](picture, self.step)

    def shown(self) -> Hashable:
        """Equal as long as `image` is; made from it, as writing to `pixels.data` leaves no other trace."""
        picture = hashlib.sha256(self.canvas().to_uint8()).digest()
        drawn = self.step if self._distorts() else None
        return self.active(), self.disable_adapters, picture, drawn

    def _distorts(self) -> bool:
        """Whether this pass trains the canvas, and against distortions."""
        trained = self.training and torch.is_grad_enabled() and not self.disable_adapters
        trained = trained and any(p.requires_grad for p in self.canvas().parameters())
        return trained and bool(self.distortions[self.active()].transforms)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.base_layer(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        """Read what this is not from the tower: backbones ask it for dtype, spatial_merge_size and more."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "base_layer":
                raise
            return getattr(self.base_layer, name)
