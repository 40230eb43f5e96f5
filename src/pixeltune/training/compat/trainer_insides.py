"""Insides of transformers' trainer and of accelerate that are relied on: written for 5.19 to 5.24 and 1.15."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any


def mean_over_step(model: Any) -> None:
    """Let the trainer divide its loss by the tokens of the whole step, over batches and processes.

    Qwen's classes forbid it because of their own loss, which TRL does not use
    (https://github.com/huggingface/transformers/issues/37208): without this, two small batches are the mean
    of their means, and not one large batch.
    """
    model.accepts_loss_kwargs = True


def save_checkpoint(trainer: Any) -> None:
    """Save a checkpoint now, in mid-step, when the run cannot go on.

    `_save_checkpoint` is what the trainer itself calls after a step; there is no public way
    (https://github.com/huggingface/transformers/blob/v5.19.0/src/transformers/trainer.py).
    """
    trainer._save_checkpoint(trainer.model, trial=None)


def save_as_one(trainer: Any) -> None:
    """Let a trainer whose base is sharded save and load as others do.

    All that it saves is whole in every process: the canvas and the optimiser's state. Its own way of saving under FSDP
    gathers the base, or writes files of another format (`is_fsdp_enabled`; what is sharded is up to accelerate alone,
    https://github.com/huggingface/transformers/blob/v5.24.0/src/transformers/trainer.py).
    """
    trainer.is_fsdp_enabled = False


def prepare_without_wrapper(trainer: Any) -> None:
    """Bring a trainer's model to precision and device as its `train` would, without a wrapper for processes.

    For a trainer that takes part in another's steps and whose own `train` is never called
    (`Accelerator.prepare_model`,
    https://github.com/huggingface/accelerate/blob/v1.15.0/src/accelerate/accelerator.py).
    """
    trainer.model = trainer.accelerator.prepare_model(trainer.model, evaluation_mode=True)
    trainer.model_wrapped = trainer.model


def renamed(settings: Mapping[str, Any], config: type) -> dict[str, Any]:
    """Settings by the names that a config warns of least: of gradient checkpointing, activation checkpointing.

    Renamed in transformers 5.23; the old name works until 6, with a warning of each config that has it, and TRL's
    configs set it (https://github.com/huggingface/transformers/blob/v5.24.0/src/transformers/training_args.py).
    """
    taken = {one.name for one in fields(config)}
    new = {name: name.replace("gradient_checkpointing", "activation_checkpointing") for name in settings}
    return {new[name] if new[name] in taken else name: value for name, value in settings.items()}


def checkpoint_gradients(model: Any, settings: dict[str, Any] | None) -> None:
    """Keep a model's activations at layers only, as a trainer's own ``train`` has it done to its model.

    The method is called ``activation_checkpointing_enable`` from transformers 5.23 on, and the old name goes in 6
    (https://github.com/huggingface/transformers/blob/v5.24.0/src/transformers/modeling_utils.py).
    """
    new = hasattr(model, "activation_checkpointing_enable")
    (model.activation_checkpointing_enable if new else model.gradient_checkpointing_enable)(settings)


def wrap_training_step(trainer: Any, around: Callable[[Callable, Any, Any, Any], Any]) -> None:
    """Have `around(step, model, inputs, num_items_in_batch)` called for each batch's loss and gradient.

    `training_step` is meant to be overridden in a subclass; here the class is TRL's own
    (https://github.com/huggingface/transformers/blob/v5.19.0/src/transformers/trainer.py).
    """
    step = trainer.training_step

    def training_step(model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        return around(step, model, inputs, num_items_in_batch)

    trainer.training_step = training_step


def step_along(trainer: Any, leader: Any) -> None:
    """Let a trainer that is never trained itself cut its gradients as the leader does in this step.

    `current_gradient_accumulation_steps` is set by the training loop
    (https://github.com/huggingface/transformers/blob/v5.19.0/src/transformers/trainer.py).
    """
    trainer.current_gradient_accumulation_steps = leader.current_gradient_accumulation_steps


def wrap_batches(trainer: Any, look: Callable[[list], None]) -> None:
    """Have `look(batches)` called with all batches of a step before the first of them is computed.

    `get_batch_samples` collects them, and is public; here the class is TRL's own
    (https://github.com/huggingface/transformers/blob/v5.19.0/src/transformers/trainer.py).
    """
    collect = trainer.get_batch_samples

    def get_batch_samples(*args: Any, **kwargs: Any) -> Any:
        batches, items = collect(*args, **kwargs)
        look(batches)
        return batches, items

    trainer.get_batch_samples = get_batch_samples


def wrap_loss(trainer: Any, around: Callable[..., Any]) -> None:
    """Have `around(compute_loss, model, inputs, ...)` called for each loss, of a batch as the trainer prepared it.

    `compute_loss` is meant to be overridden in a subclass; here the class is TRL's own
    (https://github.com/huggingface/transformers/blob/v5.19.0/src/transformers/trainer.py).
    """
    plain = trainer.compute_loss

    def compute_loss(*args: Any, **kwargs: Any) -> Any:
        return around(plain, *args, **kwargs)

    trainer.compute_loss = compute_loss


def count_operations(trainer: Any, new: Callable[[], int]) -> None:
    """Have `new()` asked after each batch how many operations there were since it was asked before.

    The trainer adds them up to `total_flos`, over processes and sessions; its own answer takes the weights as trained
    and every token as computed (`floating_point_ops`, "subclass and override this method",
    https://github.com/huggingface/transformers/blob/v5.19.0/src/transformers/trainer.py).
    """
    trainer.floating_point_ops = lambda inputs: new()
