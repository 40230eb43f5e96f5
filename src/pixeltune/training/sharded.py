"""What a run cannot do whose base is shared out among processes (`accelerate launch --use_fsdp`).

Imported without torch, as settings are refused before that is.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pixeltune.data.contexts import OWN
from pixeltune.errors import UserError
from pixeltune.model.sharding import LOADING, VERSION, asked_for
from pixeltune.training.settings import PaintArguments

if TYPE_CHECKING:
    from transformers import TrainingArguments

LAUNCHED = "to accelerate launch"


def check_sharded(verb: str, arguments: PaintArguments, config: TrainingArguments) -> None:
    """Refuse what was not shown to work while the base is shared out, where that is asked for.

    Raises:
        UserError: one of the settings, or of accelerate's.
    """
    if getattr(config, "fsdp", None):
        raise UserError(
            "--fsdp is set by the launcher here: accelerate launch --use_fsdp (docs/guide/scaling.md)"
        )
    if not asked_for():
        return
    if verb != "sft":
        raise UserError("while a model is shared out among processes only sft works: leave out --use_fsdp")
    if os.environ.get("FSDP_VERSION", "1") != "2":
        raise UserError(VERSION)
    if os.environ.get("FSDP_AUTO_WRAP_POLICY") != "TRANSFORMER_BASED_WRAP":
        raise UserError(
            "a process should fetch one layer at a time, and not the whole model: add --fsdp_auto_wrap_policy "
            f"TRANSFORMER_BASED_WRAP {LAUNCHED}"
        )
    if _is_on("FSDP_CPU_RAM_EFFICIENT_LOADING"):
        raise UserError(LOADING)
    if _is_on("FSDP_ACTIVATION_CHECKPOINTING"):
        raise UserError(
            f"give --gradient_checkpointing true, and not --fsdp_activation_checkpointing {LAUNCHED}"
        )
    for name, given in _refused(arguments, config).items():
        if given:
            raise UserError(
                f"{name} was not shown to work while a model is shared out among processes: leave it or --use_fsdp out"
            )


def _is_on(name: str) -> bool:
    return os.environ.get(name, "false").lower() == "true"


def _refused(arguments: PaintArguments, config: TrainingArguments) -> dict[str, Any]:
    """What is refused, by flag, and whether it is given."""
    return {
        "--fsdp_offload_params": _is_on("FSDP_OFFLOAD_PARAMS"),
        "--also": arguments.also,
        "--load_in_4bit or --load_in_8bit": arguments.bits,
        "--device_map": arguments.device_map,
        "--contexts own": arguments.contexts == OWN,
        "--style": arguments.style,
        "--bf16 (not --dtype bfloat16)": config.bf16,
        "--fp16": config.fp16,
    }
