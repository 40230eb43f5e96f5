"""What TRL's configs are set to where nothing is said. Needs no torch."""

from __future__ import annotations

from typing import Any

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
COLUMNS = {
    "sft": ("prompt", "completion"),
    "dpo": ("prompt", "chosen", "rejected"),
    "kto": ("prompt", "completion", "label"),
    "grpo": ("prompt",),
    "rloo": ("prompt",),
    "distill": ("prompt",),
}
"""What the rows of an objective hold."""

DEFAULTS: dict[str, dict[str, Any]] = {
    "sft": PIXEL_DEFAULTS | OFFLINE,
    "dpo": PIXEL_DEFAULTS | OFFLINE,
    "kto": PIXEL_DEFAULTS | OFFLINE,
    "grpo": PIXEL_DEFAULTS | ONLINE,
    "rloo": PIXEL_DEFAULTS | ONLINE,
    "distill": PIXEL_DEFAULTS | DISTILLED,
}
"""By objective."""
