"""What to paint, as named settings: those of the artwork and its rows beside TRL's own of an objective."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from importlib.metadata import PackageNotFoundError
from typing import Any, get_type_hints

import torch
from transformers import TrainingArguments
from transformers.integrations import get_reporting_integration_callbacks

from pixeltune.errors import UserError, first_line, suggestion
from pixeltune.errors.checking import check_names, checked
from pixeltune.model.sharding import asked_for
from pixeltune.training.compat.trainer_insides import renamed
from pixeltune.training.defaults import check_theirs
from pixeltune.training.objectives import OBJECTIVES, Objective
from pixeltune.training.settings import PaintArguments


def find_objective(name: str) -> Objective:
    """
    Raises:
        UserError: there is no objective of that name.
    """
    if name not in OBJECTIVES:
        raise UserError(
            f"there is no objective {name!r}{suggestion(name, OBJECTIVES)}; there are {', '.join(OBJECTIVES)}"
        )
    return OBJECTIVES[name]


def defaults(objective: str) -> dict[str, Any]:
    """What TRL's config of an objective is set to where nothing is said."""
    # bf16 autocast would round activations on machines that gain nothing from it.
    bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    bf16 = bf16 and not asked_for()  # where accelerate would cast what goes into each layer
    machine = {"bf16": bf16, "dataloader_pin_memory": torch.accelerator.is_available()}
    return {**OBJECTIVES[objective].defaults, **machine}


def trainer_config(objective: str = "sft", **settings: Any) -> TrainingArguments:
    """TRL's own config of an objective, with defaults made for pixels and for this machine.

    For those who build the trainer themselves: TRL's defaults are made for weights, and for GPUs.

    Args:
        objective: one of `OBJECTIVES`.
        settings: fields of its config class, which win over the defaults.

    Raises:
        UserError: a field is not known, or the config refuses its value.
    """
    config = find_objective(objective).config
    check_names(settings, {one.name for one in fields(config) if one.init}, f"of {config.__name__}")
    hints = get_type_hints(config)
    given = {name: checked(name, value, hints[name]) for name, value in settings.items()}
    usual = defaults(objective)
    if given.get("fp16"):
        usual["bf16"] = False
    if "num_train_epochs" in given:
        usual["max_steps"] = -1  # else the steps would silently win over what was asked for
    try:
        return config(**renamed(usual, config) | renamed(given, config))
    except (ValueError, TypeError, ArithmeticError, PackageNotFoundError) as error:
        # A config's checks are all about what was given to it.
        raise UserError(f"{config.__name__} does not take these settings: {error}") from error


def read_settings(objective: str, settings: Mapping[str, Any]) -> tuple[PaintArguments, TrainingArguments]:
    """Settings by name, told apart: those of the artwork and its rows, and TRL's config of the objective.

    Raises:
        UserError: a name or a value that cannot be used.
    """
    kinds = PaintArguments, find_objective(objective).config
    ours, theirs = ({one.name for one in fields(kind) if one.init} for kind in kinds)
    check_names(settings, ours | theirs, f"of pixeltune {objective}")
    given = {name: value for name, value in settings.items() if name in theirs}
    arguments = PaintArguments(**{name: value for name, value in settings.items() if name in ours})
    config = trainer_config(objective, **given)
    check_theirs(objective, vars(config))
    if config.fp16 and config.device.type == "cpu":
        # accelerate would neither cast nor scale the loss there, without a word.
        raise UserError("--fp16 true works on a GPU only, and here is none: use --bf16 true, or neither")
    try:
        get_reporting_integration_callbacks(config.report_to)
    except ValueError as error:
        raise UserError(f"--report_to: {first_line(error)}") from error
    return arguments, config
