"""What can be optimised, as far as no torch is needed for it: help, rows, and defaults for TRL's configs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, Literal

from pixeltune.errors import UserError

# TRL's defaults are made for weights. A pixel lives in [0, 1], its gradient is 1e-7 and smaller: Adam needs
# a rate of a few grey levels a step and an epsilon far below the gradients. Weight decay would fade to black.
PIXEL_DEFAULTS = {
    "learning_rate": 0.02,
    "lr_scheduler_type": "cosine",
    "adam_epsilon": 1e-16,
    "weight_decay": 0.0,
    "max_steps": 100,
    "save_steps": 50,
    "save_total_limit": 2,
    "logging_steps": 5,
    "gradient_checkpointing": False,  # costs a second forward; switch on when memory is short
}
# Of mixtures of experts TRL also trains how evenly the experts are used: pixels are not there for that.
FROZEN_ROUTER = {"router_aux_loss_coef": 0.0}
# TRL's max_length of 1024 counts image tokens and would cut answers off.
OFFLINE = {"max_length": None, "per_device_train_batch_size": 32, **FROZEN_ROUTER}
# Eight questions a step, eight completions each. Answers longer than this are cut and score nothing.
ONLINE = {
    "per_device_train_batch_size": 64,
    "num_generations": 8,
    "max_completion_length": 256,
} | FROZEN_ROUTER
# Forward KL on the teacher's completions, over the whole vocabulary. TRL cuts longer prompts on the left.
DISTILLED = {
    "per_device_train_batch_size": 32,
    "num_generations": 1,
    "generate_from_teacher": True,
    "distillation_alpha": 0.0,  # 0.0: forward KL, 1.0: reverse, between: Jensen-Shannon
    "distillation_mode": "full_logits",
    "max_prompt_length": None,
}


@dataclass(frozen=True)
class ObjectiveFacts:
    """An objective without its trainer, which `pixeltune.training.objectives` adds."""

    help: str
    """A line for people."""
    source: str
    """The file that defines TRL's config of it."""
    signal: Literal["completions", "contrast", "rewards", "teacher"]
    """What it learns from: good completions, good and bad ones, rewards of its own, or a teacher."""
    columns: tuple[str, ...]
    """What its rows hold."""
    defaults: Mapping[str, Any]
    """What TRL's config is set to where nothing is said, whatever the machine."""


OBJECTIVE_FACTS = {
    "sft": ObjectiveFacts(
        "paint an artwork by supervised fine-tuning (TRL's SFTConfig)",
        "trl/trainer/sft_config.py",
        "completions",
        ("prompt", "completion"),
        PIXEL_DEFAULTS | OFFLINE | {"output_dir": "runs/sft"},
    ),
    "dpo": ObjectiveFacts(
        "paint an artwork from pairs of a chosen and a rejected completion (DPOConfig)",
        "trl/trainer/dpo_config.py",
        "contrast",
        ("prompt", "chosen", "rejected"),
        PIXEL_DEFAULTS | OFFLINE | {"output_dir": "runs/dpo"},
    ),
    "kto": ObjectiveFacts(
        "paint an artwork from completions labelled good or bad (KTOConfig)",
        "trl/trainer/kto_config.py",
        "contrast",
        ("prompt", "completion", "label"),
        PIXEL_DEFAULTS | OFFLINE | {"output_dir": "runs/kto"},
    ),
    "grpo": ObjectiveFacts(
        "paint an artwork from rewards of the model's own completions (GRPOConfig)",
        "trl/trainer/grpo_config.py",
        "rewards",
        ("prompt",),
        PIXEL_DEFAULTS | ONLINE | {"output_dir": "runs/grpo"},
    ),
    "rloo": ObjectiveFacts(
        "paint an artwork from rewards by REINFORCE leave-one-out (RLOOConfig)",
        "trl/trainer/rloo_config.py",
        "rewards",
        ("prompt",),
        PIXEL_DEFAULTS | ONLINE | {"output_dir": "runs/rloo"},
    ),
    "distill": ObjectiveFacts(
        "paint an artwork that does what a prompt in words, a LoRA or another model does (SDFTConfig)",
        "trl/experimental/sdft/sdft_config.py",
        "teacher",
        ("prompt",),
        PIXEL_DEFAULTS | DISTILLED | {"output_dir": "runs/distill"},
    ),
}
"""By the verb of the command line."""


def check_theirs(verb: str, settings: Mapping[str, Any]) -> None:
    """Refuse settings of TRL's that cannot work, though its config takes them.

    Args:
        verb: of the objective.
        settings: by name, of the right types; those that are missing are the defaults.

    Raises:
        UserError: one of them.
    """
    if str(settings.get("eval_strategy", "no")).rpartition(".")[2].lower() != "no":
        raise UserError("there are no rows for TRL's eval_strategy: --score_steps takes held-out scores")
    least = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 1, "dataloader_num_workers": 0}
    for name, smallest in least.items():
        if (number := settings.get(name, smallest)) < smallest:
            raise UserError(f"--{name} is {number} and must be at least {smallest}")
    # Its KL term comes from answers to other rows of the same batch.
    if verb == "kto" and settings.get("loss_type") == "kto" and settings["per_device_train_batch_size"] < 2:
        raise UserError(
            "--per_device_train_batch_size is 1 and must be at least 2: kto compares rows of a batch"
        )
    if (steps := settings.get("max_steps", -1)) < 1 and steps != -1:
        raise UserError(f"--max_steps is {steps} and must be at least 1, or -1 for --num_train_epochs")
    rate = settings.get("learning_rate", PIXEL_DEFAULTS["learning_rate"])
    if not 0 < rate < inf:
        from pixeltune.picture.settings import RATES  # here, because an overview of verbs needs no Pillow

        raise UserError(f"--learning_rate is {rate:g} and must be above 0: {RATES} works")
