"""The artwork in the experiment trackers that a trainer reports to (`report_to`)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from PIL import Image
from transformers import TrainerCallback
from transformers.integrations import (
    MLflowCallback,
    TensorBoardCallback,
    TrackioCallback,
    WandbCallback,
)

NAME = "artwork"  # of the series of pictures


def log_picture(callbacks: Iterable[TrainerCallback], pixels: np.ndarray, step: int) -> None:
    """Log a picture, losslessly, with every tracker among a trainer's callbacks, as its own image type.

    A tracker's package is imported only where its callback, which cannot be made without it, is there. W&B
    and trackio count steps of their own; the picture names the trainer's beside it, as all entries do there.

    Args:
        callbacks: `trainer.callback_handler.callbacks`, after `on_train_begin`, which opens the runs.
        pixels: `(H, W, 3)` uint8.
        step: the trainer's `global_step`.
    """
    for callback in callbacks:
        if isinstance(callback, TensorBoardCallback) and callback.tb_writer is not None:
            callback.tb_writer.add_image(NAME, pixels, step, dataformats="HWC")
        elif isinstance(callback, WandbCallback):
            import wandb

            picture = wandb.Image(Image.fromarray(pixels), file_type="png")
            wandb.log({NAME: picture, "train/global_step": step})
        elif isinstance(callback, TrackioCallback):
            import trackio

            trackio.log({NAME: trackio.Image(pixels), "train/global_step": step})
        elif isinstance(callback, MLflowCallback):
            import mlflow

            mlflow.log_image(Image.fromarray(pixels), key=NAME, step=step)
