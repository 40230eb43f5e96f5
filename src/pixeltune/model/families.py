"""The model side of the families: where their vision tower and text model are, what their backbone takes.

How their processors see a picture is in `pixeltune.model.preprocessing`.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pixeltune.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TOWERS = {
    "qwen2_5_vl": "visual",
    "qwen3_vl": "visual",
    "qwen3_5": "visual",
    "qwen2_vl": "visual",
    "qwen3_vl_moe": "visual",
    "qwen3_5_moe": "visual",
    "glm4v": "visual",
    "glm4v_moe": "visual",
    "glm46v": "visual",
    "gemma3": "vision_tower",
    "gemma4": "vision_tower",
    "internvl": "vision_tower",
    "mistral3": "vision_tower",
    "llava_onevision": "vision_tower",
    "idefics3": "vision_model",
    "smolvlm": "vision_model",
    "minicpmv4_6": "vision_tower",
}
"""Supported model types, each with the name of its vision tower inside the backbone."""

REFUSED = {
    "paligemma": "its prompt is attended in both directions and its answer is not, and a row of training "
    "text does not say where the one ends; its checkpoints have no chat template either",
    "llama4": "its vision encoder and its language head sit on one module, so there is no backbone that "
    "trainers could call without the head",
}
"""Model types that were tried and do not work, each with the reason."""


def vision_tower(model: PreTrainedModel) -> tuple[nn.Module, str]:
    """The backbone of `model` and the name of its vision tower in the backbone.

    Raises:
        ValueError: the model is of an unsupported family.
    """
    kind = getattr(getattr(model, "config", None), "model_type", None)
    backbone = getattr(model, "base_model", None)
    if kind not in TOWERS or not hasattr(backbone, TOWERS[kind]):
        why = f": {REFUSED[kind]}" if kind in REFUSED else ""
        raise UserError(
            f"cannot paint for a model of type {kind!r} ({type(model).__name__}){why}; supported: "
            f"{', '.join(TOWERS)}, loaded with AutoModelForImageTextToText"
        )
    return backbone, TOWERS[kind]


def text_model(backbone: nn.Module) -> nn.Module:
    """The language model in a backbone, without its head."""
    return backbone.text_model if hasattr(backbone, "text_model") else backbone.language_model


def encode_pictures(backbone: nn.Module, **seen: Tensor) -> Any:
    """Run the vision tower: features as the backbone takes them in `mm_encoder_outputs={"image": ...}`.

    Args:
        backbone: from `vision_tower`.
        seen: what the processor made of the pictures, as `Preprocessor.pixel_values` returns it.
    """
    taken = inspect.signature(type(backbone).get_image_features).parameters
    return backbone.get_image_features(
        **{name: value for name, value in seen.items() if name in taken}, return_dict=True
    )


def rearrange(sources: Sequence[Any], order: Sequence[tuple[int, int]]) -> Any:
    """Put the features of several encodings into one, picture by picture, without running the tower again.

    Args:
        sources: results of `encode_pictures`, whose `pooler_output` is a tuple of `(tokens, hidden)` or one
        tensor
            `(pictures, tokens, hidden)`.
        order: for each picture of the result, the index of its source and of the picture in that source.
    """
    pooled = [sources[source].pooler_output[picture] for source, picture in order]
    together = torch.stack if isinstance(sources[0].pooler_output, Tensor) else tuple
    arranged = {"pooler_output": together(pooled)}
    if getattr(sources[0], "deepstack_features", None) is not None:  # Qwen3-VL: for early text layers
        arranged["deepstack_features"] = [
            tuple(sources[source].deepstack_features[layer][picture] for source, picture in order)
            for layer in range(len(sources[0].deepstack_features))
        ]
    return type(sources[0])(**arranged)


def token_types(backbone: nn.Module, input_ids: Tensor) -> dict[str, Tensor]:
    """What the backbone must be told about the kinds of tokens: text 0, picture 1, video 2.

    Grid positions (Qwen, GLM) and attention in both directions within a picture (Gemma) come from it. Without
    it the backbone would compute something else than in serving, and not say so.

    Returns:
        The argument by the name that this backbone has for it; empty if it has none.
    """
    config, taken = backbone.config, inspect.signature(type(backbone).forward).parameters
    kinds = (input_ids == config.image_token_id).int()
    if (video := getattr(config, "video_token_id", None)) is not None:
        kinds += 2 * (input_ids == video).int()
    return {name: kinds for name in ("mm_token_type_ids", "token_type_ids") if name in taken}
