"""Private parts of PEFT, accelerate and torch that the adapter relies on, beside the methods it overrides.

Those are named in `pixeltune.adapter.model`; `tests/compat/test_insides.py` holds all names and signatures.
"""

from __future__ import annotations

from typing import Any

from accelerate.state import AcceleratorState, GradientState
from peft import PeftConfig
from peft.mapping import (
    PEFT_TYPE_TO_CONFIG_MAPPING,
    PEFT_TYPE_TO_PREFIX_MAPPING,
    PEFT_TYPE_TO_TUNER_MAPPING,
)
from peft.tuners.tuners_utils import BaseTuner
from torch.utils._pytree import tree_map_only  # outputs of models are registered with this one

__all__ = ["is_last_batch", "register_method", "sharding_plugin", "tree_map_only"]


def register_method(name: str, config: type[PeftConfig], tuner: type[BaseTuner]) -> None:
    """Make PEFT know a method by name.

    `peft.utils.register_peft_method` accepts only names of PEFT's own enum `PeftType`, so its tables are
    written (PEFT 0.21, https://github.com/huggingface/peft/blob/v0.21.2/src/peft/utils/peft_types.py).
    """
    PEFT_TYPE_TO_CONFIG_MAPPING[name] = config
    PEFT_TYPE_TO_TUNER_MAPPING[name] = tuner
    PEFT_TYPE_TO_PREFIX_MAPPING[name] = tuner.prefix


def is_last_batch() -> bool:
    """Whether this batch is the last of an optimiser step; without a trainer each is.

    Every trainer of transformers tells accelerate, whose state is one for the process (accelerate 1.15,
    https://github.com/huggingface/accelerate/blob/v1.15.0/src/accelerate/state.py).
    """
    return GradientState().sync_gradients


def sharding_plugin() -> Any | None:
    """How accelerate is to shard models in this process; None: it is not.

    Callbacks do not get the trainer's accelerator, whose state is one for the process (accelerate 1.15,
    https://github.com/huggingface/accelerate/blob/v1.15.0/src/accelerate/state.py).
    """
    return AcceleratorState._shared_state.get("fsdp_plugin")
