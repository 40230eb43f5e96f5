"""Private parts of transformers that are relied on; `tests/compat/test_insides.py` holds their names."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


def watch_every_trainer(callbacks: list[type]) -> None:
    """Add callbacks to those that every trainer starts with; once, however often it is called.

    `transformers.trainer.DEFAULT_CALLBACKS` has no public way in (transformers 5.19,
    https://github.com/huggingface/transformers/blob/v5.19.0/src/transformers/trainer.py), and people who only
    pass `peft_config=` to a trainer should get them. Known by name: a module that is loaded again has others.
    """
    from transformers.trainer import DEFAULT_CALLBACKS  # here, because it takes seconds to import

    names = {_name(one) for one in callbacks}
    DEFAULT_CALLBACKS[:] = [one for one in DEFAULT_CALLBACKS if _name(one) not in names]
    DEFAULT_CALLBACKS.extend(callbacks)


def _name(callback: Any) -> tuple[str, str]:
    kind = callback if isinstance(callback, type) else type(callback)
    return kind.__module__, kind.__qualname__


def checkpoints_reentrantly(layers: nn.ModuleList) -> bool:
    """Whether text layers are checkpointed in the way that loses gradients of what is not their input.

    `GradientCheckpointingLayer` keeps torch's function with its settings (transformers 5.24,
    https://github.com/huggingface/transformers/blob/v5.24.0/src/transformers/modeling_layers.py).
    """
    on = [layer for layer in layers if layer.gradient_checkpointing]
    return any(layer._gradient_checkpointing_func.keywords.get("use_reentrant") for layer in on)


@cache
def cache_name() -> str:
    """What models call the keys and values of earlier tokens, as an argument and in their outputs.

    ``cache`` from transformers 5.24 on, before it ``past_key_values``, which 5.24 still takes, with a warning, and
    5.40 will not (https://github.com/huggingface/transformers/blob/v5.24.0/src/transformers/modeling_outputs.py).
    """
    from transformers.modeling_outputs import BaseModelOutputWithPast

    names = BaseModelOutputWithPast.__dataclass_fields__
    return "cache" if "cache" in names else "past_key_values"


def given_cache(arguments: Mapping[str, Any]) -> Any:
    """The cache among a model's arguments, by either name; None: none."""
    found = (arguments.get(name) for name in ("cache", "past_key_values"))
    return next((one for one in found if one is not None), None)


def can_leave(cache: Any) -> bool:
    """Whether rows can be taken out of every layer of a cache (`batch_select_indices`); recurrent ones have no way to
    (https://github.com/huggingface/transformers/blob/v5.24.0/src/transformers/cache_utils.py).
    """
    from transformers.cache_utils import DynamicLayer

    return cache is not None and all(isinstance(layer, DynamicLayer) for layer in cache.layers)


def first_pass(model: Any, input_ids: Tensor, config: Any, arguments: dict[str, Any]) -> Any:
    """A generation's pass over its prompts, as transformers' own loop makes it.

    A `custom_generate` function gets what that loop gets, and the loop's parts have no public names (transformers 5.24,
    https://github.com/huggingface/transformers/blob/v5.24.0/src/transformers/generation/utils.py).
    """
    return model._prefill(input_ids, config, arguments)


def next_pass(model: Any, input_ids: Tensor, arguments: dict[str, Any]) -> Any:
    """A generation's pass over the newest token of each row; reason and link as for `first_pass`."""
    new = 1 if arguments["use_cache"] else None
    inputs = model.prepare_inputs_for_generation(input_ids, next_sequence_length=new, **arguments)
    with model._optimize_model_for_decode():
        return model(**inputs, return_dict=True)


def after_pass(model: Any, outputs: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """A generation's arguments with mask, positions and kinds of one more token; as for `first_pass`."""
    return model._update_model_kwargs_for_generation(outputs, arguments)


def recurrent_cache_name(mixer: nn.Module) -> str:
    """What a recurrent layer calls the cache: ``cache`` from transformers 5.24 on, before it ``cache_params``
    (https://github.com/huggingface/transformers/blob/v5.24.0/src/transformers/models/qwen3_5/modeling_qwen3_5.py).
    """
    return "cache" if "cache" in inspect.signature(mixer.forward).parameters else "cache_params"


def gemma4_size(height: int, width: int, patch: int, patches: int, pool: int) -> tuple[int, int]:
    """The size, (height, width), that Gemma 4's processor brings a picture to.

    A function of its module, not of its public classes (transformers 5.19,
    https://github.com/huggingface/transformers/blob/v5.19.0/src/transformers/models/gemma4/image_processing_gemma4.py).
    """
    from transformers.models.gemma4.image_processing_gemma4 import get_aspect_ratio_preserving_size

    return get_aspect_ratio_preserving_size(height, width, patch, patches, pool)


def minicpm_size(images: Any, height: int, width: int) -> tuple[int, int]:
    """The size, (height, width), that MiniCPM-V's image processor brings a picture to that it does not cut.

    From transformers 5.21 on it must be told how many tokens are merged, which it knows itself
    (https://github.com/huggingface/transformers/blob/v5.24.0/src/transformers/models/minicpmv4_6/image_processing_minicpmv4_6.py).
    """
    ask = images.find_best_resize
    merged = {"downsample_mode": images.downsample_mode}
    told = {name: value for name, value in merged.items() if name in inspect.signature(ask).parameters}
    return ask((height, width), images.scale_resolution, images.patch_size, allow_upscale=True, **told)
