"""One artwork for several models at once: the loss of a step is the sum of what each of them makes of it.

Every model has a trainer of its own, as TRL makes it, so that completions, references and teachers are its
own, too. They have one canvas in common, one of them has the optimiser, the others take part in its steps.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

from pixeltune.adapter.guard import art_layer
from pixeltune.errors import UserError
from pixeltune.model.loading import template_sha256
from pixeltune.model.preprocessing import Preprocessor
from pixeltune.training.compat.trainer_insides import (
    checkpoint_gradients,
    prepare_without_wrapper,
    step_along,
    wrap_training_step,
)
from pixeltune.training.compat.trl_insides import add_measured, take_measured


def check_alike(name: str, preprocessor: Preprocessor, first: str, first_preprocessor: Preprocessor) -> None:
    """Refuse a model that would read rows or see pictures otherwise than the first one does.

    Raises:
        ValueError: saying in what they differ.
    """
    processor, other = first_preprocessor.processor, preprocessor.processor
    differ = {
        "image processor": preprocessor.constants() != first_preprocessor.constants(),
        "tokenizer": other.tokenizer.get_vocab() != processor.tokenizer.get_vocab(),
        "chat template": template_sha256(other) != template_sha256(processor),
    }
    if wrong := [part for part, differs in differ.items() if differs]:
        raise UserError(
            f"{name} has another {' and '.join(wrong)} than {first}: one artwork can be painted for models "
            "of one family with one processor, such as fine-tuned copies"
        )


def check_weights(name: str, model: Any, first: str, first_model: Any) -> None:
    """Refuse a model of another class or in another precision than the first one.

    Raises:
        ValueError: saying in what they differ.
    """
    if type(model) is not type(first_model):
        raise UserError(f"{name} is a {type(model).__name__} and {first} a {type(first_model).__name__}")
    if model.dtype != first_model.dtype:
        raise UserError(f"{name} is in {model.dtype} and {first} in {first_model.dtype}: give a --dtype")


def join(trainer: Any, others: dict[str, Any]) -> None:
    """Let other trainers take part in the steps of one.

    After this the others' models wear the canvas of `trainer`, each of its steps has all their losses and
    gradients, and what they measure is logged with their names behind it, such as ``reward/NAME``.

    Args:
        trainer: of transformers or TRL, whose model wears an artwork; not yet trained.
        others: trainers of the same kind by name, made with the same config and rows, whose models wear an
            artwork of the same settings. Never call their ``train``.

    Raises:
        ValueError: there are several processes, whose gradients would not be summed.
    """
    if trainer.accelerator.num_processes > 1:
        raise UserError("an artwork for several models is painted in one process: leave out --also")
    canvas, args = art_layer(trainer.model).art_canvas, trainer.args
    for other in others.values():
        art_layer(other.model).art_canvas = canvas
        prepare_without_wrapper(other)
        if args.gradient_checkpointing:
            checkpoint_gradients(other.model, args.gradient_checkpointing_kwargs)
    trainer.add_callback(Companions(trainer, others))

    def summed(own_step: Callable, model: Any, inputs: Any, num_items_in_batch: Any) -> Any:
        batches = [copy.copy(inputs) for _ in others]  # trainers put things into theirs
        loss = own_step(model, inputs, num_items_in_batch)
        for other, batch in zip(others.values(), batches, strict=True):
            step_along(other, trainer)
            loss = loss + other.training_step(other.model, batch, num_items_in_batch)
        return loss

    wrap_training_step(trainer, summed)


class Companions(TrainerCallback):
    """Tells trainers that take part in another's steps where that one is, and logs what they measured."""

    def __init__(self, trainer: Any, others: dict[str, Any]) -> None:
        self.trainer, self.others = trainer, others

    def on_step_begin(self, args, state, control, **kwargs) -> None:
        for other in self.others.values():
            other.state, other.control = state, control
            art_layer(other.model).begin_step(state.global_step)

    def on_step_end(self, args, state, control, **kwargs) -> None:
        for name, other in self.others.items():
            measured = take_measured(other)
            add_measured(self.trainer, {f"{key}/{name}": values for key, values in measured.items()})
