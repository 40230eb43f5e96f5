"""Steps whose gradient is far above what it was lately are not taken."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from pixeltune.adapter.guard import PixelWarning, art_layer
from pixeltune.training.callbacks import log_beside

WINDOW = 20
"""Steps whose median is compared with: as many again are needed before a step is judged at all."""


class SpikeGuard(TrainerCallback, ExportableState):
    """Leave out a step whose gradient has many times the median norm of the last `WINDOW` steps that had one.

    The norm is that of all that reaches the optimiser, clipped by the trainer, a style's gradient included. A step
    that is left out changes neither the pixels nor the optimiser's moments, which would remember the gradient for
    about a thousand steps. Its norm is remembered all the same: where gradients have grown for good, the median
    follows within half a window. Until the window is full, nothing is left out. A part of checkpoints.
    """

    def __init__(self, factor: float, log: Callable[[dict[str, float]], None]) -> None:
        """
        Args:
            factor: how many times the median is too much.
            log: takes values by name.
        """
        self.factor, self.log = factor, log
        self.norms: deque[float] = deque(maxlen=WINDOW)
        self.skipped: float | None = None

    def state(self) -> dict:
        """What a checkpoint holds."""
        return {"args": {}, "attributes": {"norms": [*self.norms]}}

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        held = state.stateful_callbacks[type(self).__name__]
        self.norms.extend(held["attributes"]["norms"])

    def on_pre_optimizer_step(self, args, state, control, model: Any = None, **kwargs) -> None:
        pixels = [one for one in art_layer(model).art_canvas.parameters() if one.grad is not None]
        norm = torch.stack([one.grad.double().norm() for one in pixels]).norm().item() if pixels else 0.0
        usual = median(self.norms) if len(self.norms) == self.norms.maxlen else None
        if norm:  # rewarded alike, a step has none
            self.norms.append(norm)
        if usual is None or norm <= self.factor * usual:
            return
        self.skipped = norm
        for one in pixels:
            one.grad = None  # which an optimiser passes over, where zeros would move by its moments
        warnings.warn(
            f"step {state.global_step + 1} is not taken: its gradient of {norm:.3g} is {norm / usual:,.0f} times the "
            f"median of the last {WINDOW}, {usual:.3g} (--skip_spikes {self.factor:g})",
            PixelWarning,
            stacklevel=2,
        )

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if self.skipped is not None:
            log_beside(self.log, control, {"skipped_gradient_norm": self.skipped})
            self.skipped = None
