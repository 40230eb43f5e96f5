"""The families of models that can be painted for: one record each, and what differs between their backbones.

How their processors see a picture is in `pixeltune.model.preprocessing`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pixeltune.errors import UserError
from pixeltune.model import sizes
from pixeltune.model.sizes import Sizes

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel, ProcessorMixin


@dataclass(frozen=True)
class Family:
    """One family of models.

    Attributes:
        title: its name for people.
        tower: name of the vision tower in the backbone.
        image_processor: class of its stock image processor.
        sizes: which sizes of pictures such a processor may leave as they are (`pixeltune.model.sizes`).
        exact: classes of its text model for which `tests/adapter` compares the shared prefix with the plain
            pass, in float64; with others, and in families that attend in both directions within a picture,
            the plain pass is taken.
        text: name of the text model in the backbone.
    """

    title: str
    tower: str
    image_processor: str
    sizes: Callable[[ProcessorMixin], Sizes]
    exact: tuple[str, ...] = ()
    text: str = "language_model"


_QWEN = "visual", "Qwen2VLImageProcessor", sizes.area
_GLM4V = "visual", "Glm4vImageProcessor", sizes.volume
_IDEFICS = {"exact": ("LlamaModel",), "text": "text_model"}

FAMILIES = {
    "qwen2_5_vl": Family("Qwen2.5-VL", *_QWEN, exact=("Qwen2_5_VLTextModel",)),
    "qwen3_vl": Family("Qwen3-VL", *_QWEN, exact=("Qwen3VLTextModel",)),
    "qwen3_5": Family("Qwen3.5", *_QWEN, exact=("Qwen3_5TextModel",)),
    "qwen2_vl": Family("Qwen2-VL", *_QWEN, exact=("Qwen2VLTextModel",)),
    "qwen3_vl_moe": Family("Qwen3-VL MoE", *_QWEN, exact=("Qwen3VLMoeTextModel",)),
    "qwen3_5_moe": Family("Qwen3.5 MoE", *_QWEN, exact=("Qwen3_5MoeTextModel",)),
    "glm4v": Family("GLM-4.1V", *_GLM4V, exact=("Glm4vTextModel",)),
    "glm4v_moe": Family("GLM-4.5V", *_GLM4V, exact=("Glm4vMoeTextModel",)),
    "glm46v": Family("GLM-4.6V", "visual", "Glm46VImageProcessor", sizes.volume, exact=("Glm4vTextModel",)),
    "gemma3": Family("Gemma 3", "vision_tower", "Gemma3ImageProcessor", sizes.square),
    "gemma4": Family("Gemma 4", "vision_tower", "Gemma4ImageProcessor", sizes.budget),
    "internvl": Family("InternVL", "vision_tower", "GotOcr2ImageProcessor", sizes.square, ("Qwen2Model",)),
    "mistral3": Family(
        "Mistral 3 (Pixtral's processor)",
        "vision_tower",
        "PixtralImageProcessor",
        sizes.edge,
        ("MistralModel",),
    ),
    "llava_onevision": Family(
        "LLaVA-OneVision", "vision_tower", "LlavaOnevisionImageProcessor", sizes.square, ("Qwen2Model",)
    ),
    "idefics3": Family("Idefics3", "vision_model", "Idefics3ImageProcessor", sizes.split, **_IDEFICS),
    "smolvlm": Family("SmolVLM", "vision_model", "SmolVLMImageProcessor", sizes.split, **_IDEFICS),
    "minicpmv4_6": Family(
        "MiniCPM-V 4.6", "vision_tower", "MiniCPMV4_6ImageProcessor", sizes.sliced, ("Qwen3_5TextModel",)
    ),
}
"""Supported families by `model_type`. A new one is an entry here, a tiny model in `tests/families.py` and a
row in `tests/model/test_preprocessing.py`."""

REFUSED = {
    "paligemma": "its prompt is attended in both directions and its answer is not, and a row of training "
    "text does not say where the one ends; its checkpoints have no chat template either",
    "llama4": "its vision encoder and its language head sit on one module, so there is no backbone that "
    "trainers could call without the head",
}
"""Model types that were tried and do not work, each with the reason."""


def family_of(model: nn.Module) -> Family:
    """The family of a model, or of its backbone.

    Raises:
        ValueError: it is not supported.
    """
    kind = getattr(getattr(model, "config", None), "model_type", None)
    if kind not in FAMILIES:
        why = f": {REFUSED[kind]}" if kind in REFUSED else ""
        raise UserError(
            f"cannot paint for a model of type {kind!r} ({type(model).__name__}){why}; supported: "
            f"{', '.join(FAMILIES)}, loaded with AutoModelForImageTextToText"
        )
    return FAMILIES[kind]


def vision_tower(model: PreTrainedModel) -> tuple[nn.Module, str]:
    """The backbone of `model` and the name of its vision tower in the backbone.

    Raises:
        ValueError: the model is of an unsupported family, or was loaded without its vision tower.
    """
    family, backbone = family_of(model), getattr(model, "base_model", None)
    if not hasattr(backbone, family.tower):
        raise UserError(
            f"{type(model).__name__} has no vision tower: load it with AutoModelForImageTextToText"
        )
    return backbone, family.tower


def text_model(backbone: nn.Module) -> nn.Module:
    """The language model in a backbone, without its head."""
    return getattr(backbone, family_of(backbone).text)


def sizes_of(processor: ProcessorMixin) -> Sizes | None:
    """The sizes of a processor; None if it is of no supported family.

    Families with the same image processor have the same sizes.
    """
    return sizes_by(type(getattr(processor, "image_processor", None)).__name__, processor)


def sizes_by(kind: str, processor: Any) -> Sizes | None:
    """The same by the name of the image processor's class, of a processor or of what its file says."""
    found = (family for family in FAMILIES.values() if family.image_processor == kind)
    family = next(found, None)
    return None if family is None else family.sizes(processor)


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
            tensor `(pictures, tokens, hidden)`.
        order: for each picture of the result, the index of its source and of the picture in that source.
    """
    import torch  # here, because families are also looked up before torch is imported

    pooled = [sources[source].pooler_output[picture] for source, picture in order]
    together = torch.stack if isinstance(sources[0].pooler_output, torch.Tensor) else tuple
    arranged = {"pooler_output": together(pooled)}
    if getattr(sources[0], "deepstack_features", None) is not None:  # Qwen3-VL: for early text layers
        arranged["deepstack_features"] = [
            tuple(sources[source].deepstack_features[layer][picture] for source, picture in order)
            for layer in range(len(sources[0].deepstack_features))
        ]
    return type(sources[0])(**arranged)


def placeholder_ids(config: Any) -> list[int]:
    """Ids of the tokens that stand for pieces of pictures, then of videos and sounds where there are any."""
    found = (getattr(config, f"{kind}_token_id", None) for kind in ("image", "video", "audio"))
    return [token for token in found if token is not None]


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
