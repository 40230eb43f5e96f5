"""Showing a painting to somebody who looks on while it is made."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from transformers import TrainerCallback, TrainerState

from pixeltune.adapter.guard import art_layer


class Onlooker(TrainerCallback):
    """Show the picture and the log before the first step, after every step, and whenever something is logged."""

    def __init__(self, see: Callable[[np.ndarray, TrainerState], None]) -> None:
        """
        Args:
            see: called in the thread of the training with the picture, `(H, W, 3)` uint8, and the trainer's state.
        """
        self.see = see

    def on_train_begin(self, args, state, control, model=None, **kwargs) -> None:
        if state.is_world_process_zero:
            self.see(art_layer(model).canvas().to_uint8(), state)

    on_step_end = on_log = on_train_begin
