"""How a model sees a picture: through its own, unmodified image processor, with a gradient.

Everything that differs between model families is in this file.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from pixeltune.torchvision_cpu import declare_operators

declare_operators()

from transformers import PreTrainedModel, ProcessorMixin, Qwen2VLImageProcessor  # noqa: E402

TOWERS = {"qwen2_5_vl": "visual", "qwen3_vl": "visual", "qwen3_5": "visual"}
"""Supported model types, each with the name of its vision tower inside the backbone."""


@dataclass(frozen=True)
class Parity:
    """The trained tensor against the PNG through the stock processor.

    Attributes:
        equal: every value is the same, bit for bit.
        max_abs: largest difference, in normalised pixel units.
        constants: what the processor did: class, patch, merge, mean, std, size limits in pixels.
    """

    equal: bool
    max_abs: float
    constants: dict[str, Any]


class Sight:
    """A processor's view of one picture.

    The stock torchvision image processor is differentiable and, for sizes it does not resize, gives the same
    values for a float tensor in 0..255 as for the 8-bit picture. So this calls it, and re-implements nothing.
    """

    def __init__(self, processor: ProcessorMixin) -> None:
        """
        Args:
            processor: the model's processor, from `AutoProcessor.from_pretrained(model)`.

        Raises:
            ValueError: the image processor is of an unsupported family, or has no gradient.
        """
        images = getattr(processor, "image_processor", None)
        if type(images).__name__.endswith("Pil"):
            raise ValueError(
                f"{type(images).__name__} works on PIL pictures and has no gradient. Install torchvision and "
                'load the processor with AutoProcessor.from_pretrained(model, backend="torchvision")'
            )
        if not isinstance(images, Qwen2VLImageProcessor):
            raise ValueError(
                f"cannot train a picture for {type(processor).__name__} with {type(images).__name__}; "
                f"supported model types: {', '.join(TOWERS)}"
            )
        self.processor = processor
        self.images = images
        self.image_token_id: int = processor.image_token_id
        self._blocks: dict[tuple[int, int], list[int]] = {}

    def pixel_values(self, image: Tensor) -> dict[str, Tensor]:
        """What the vision tower receives for `image`, with the graph to it.

        Args:
            image: `(3, H, W)` float in [0, 1], of an identity size (see `check_size`). Values on the 8-bit
                grid (`Canvas` makes them so) give exactly what the PNG gives: in float32, k / 255 * 255 is
                exactly k.

        Returns:
            `pixel_values` `(patches, values)` float32 and `image_grid_thw` `(1, 3)` int64, on image's device.

        Raises:
            ValueError: the processor would resize the image.
        """
        self.check_size(*image.shape[-2:])
        seen = self.images(images=[image * 255], return_tensors="pt")
        return {name: value.to(image.device) for name, value in seen.items()}

    def tokens(self, height: int, width: int) -> int:
        """How many image tokens a picture of this size takes."""
        self.check_size(height, width)
        return self._patches(height, width) // self.images.merge_size**2

    def grid(self, height: int, width: int) -> Tensor:
        """`image_grid_thw` of one picture of this size: `(1, 3)` int64."""
        self.check_size(height, width)
        return torch.tensor([[1, height // self.images.patch_size, width // self.images.patch_size]])

    def block_ids(self, height: int, width: int) -> list[int]:
        """Token ids of the picture's placeholder, as the processor writes them into a rendered message."""
        if (height, width) not in self._blocks:
            self.check_size(height, width)
            picture = Image.new("RGB", (width, height))
            parts = [{"type": "image", "image": picture}, {"type": "text", "text": "x"}]
            ids = self.processor.apply_chat_template(
                [{"role": "user", "content": parts}], tokenize=True, return_dict=True, return_tensors="pt"
            )["input_ids"][0].tolist()
            first = ids.index(self.image_token_id)
            last = len(ids) - ids[::-1].index(self.image_token_id)
            block = ids[first - 1 : last + 1]  # with the vision start and end tokens around it
            if len(block) != self.tokens(height, width) + 2:
                raise ValueError(
                    f"the chat template of {type(self.processor).__name__} does not render a picture "
                    "as start token, image tokens, end token; use the model's own chat template"
                )
            self._blocks[height, width] = block
        return list(self._blocks[height, width])

    def block(self, height: int, width: int) -> str:
        """The same placeholder as text, to be put into training rows (see `pixeltune.placement`)."""
        tokenizer, ids = self.processor.tokenizer, self.block_ids(height, width)
        text = "".join(tokenizer.convert_ids_to_tokens(ids))  # special tokens: each is its own text
        if tokenizer(text, add_special_tokens=False)["input_ids"] != ids:
            raise ValueError(
                "the tokenizer does not read the picture's placeholder back: are "
                f"{text[:40]!r}... special tokens in it?"
            )
        return text

    def size_for_tokens(self, count: int) -> tuple[int, int]:
        """The identity size (height, width) closest to `count` image tokens, at most 1:2 and squarest first.

        Raises:
            ValueError: `count` is not positive.
        """
        if count < 1:
            raise ValueError(f"a picture needs at least one image token, not {count}")
        unit = self._unit()
        fewest = -(-self.images.size["shortest_edge"] // unit**2)
        most = self.images.size["longest_edge"] // unit**2
        goal = min(max(count, fewest), most)
        sides = [
            (rows, columns) for rows in range(1, int(goal**0.5) + 2) for columns in range(rows, 2 * rows + 1)
        ]
        good = [side for side in sides if self.is_identity(side[0] * unit, side[1] * unit)]
        rows, columns = min(good, key=lambda side: (abs(side[0] * side[1] - goal), side[1] - side[0]))
        return rows * unit, columns * unit

    def is_identity(self, height: int, width: int) -> bool:
        """Whether the processor leaves a picture of this size as it is."""
        unit = self._unit()
        if height < unit or width < unit or height % unit or width % unit:
            return False
        if max(height, width) > 200 * min(height, width):  # the processor refuses these
            return False
        return self._patches(height, width) == (height // self.images.patch_size) * (
            width // self.images.patch_size
        )

    def check_size(self, height: int, width: int) -> None:
        """Refuse sizes that the processor would resize: the engine would then see other pixels than training.

        Raises:
            ValueError: naming the nearest good sizes.
        """
        if self.is_identity(height, width):
            return
        unit = self._unit()
        near = {(h, w) for h in _around(height, unit) for w in _around(width, unit) if self.is_identity(h, w)}
        near.add(self.size_for_tokens(max(1, round(height * width / unit**2))))
        best = sorted(near, key=lambda size: abs(size[0] - height) + abs(size[1] - width))[:3]
        raise ValueError(
            f"the processor would resize a {height}x{width} picture (height x width). Nearest good "
            f"sizes: {', '.join(f'{h}x{w}' for h, w in best)}; sides must be multiples of {unit}"
        )

    def parity(self, image: np.ndarray) -> Parity:
        """Compare the tensor that is trained on with the PNG of `image` through the stock processor.

        Args:
            image: `(H, W, 3)` uint8.

        Raises:
            ValueError: not such an array, or the processor would resize it.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"expected (H, W, 3) uint8, got {image.shape} {image.dtype}")
        trained = self.pixel_values(torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255)
        file = io.BytesIO()
        Image.fromarray(image).save(file, format="PNG")
        with Image.open(io.BytesIO(file.getvalue())) as picture:
            served = self.images(images=[picture.convert("RGB")], return_tensors="pt")
        if trained["pixel_values"].shape != served["pixel_values"].shape:
            return Parity(False, float("inf"), self.constants())
        difference = (trained["pixel_values"] - served["pixel_values"]).abs().max().item()
        equal = all(torch.equal(trained[name], served[name]) for name in served)
        return Parity(equal, difference, self.constants())

    def constants(self) -> dict[str, Any]:
        """What the processor does to a picture, in plain numbers (JSON-serialisable)."""
        return {
            "image_processor": type(self.images).__name__,
            "backend": "torchvision",
            "patch": self.images.patch_size,
            "merge": self.images.merge_size,
            "mean": list(self.images.image_mean),
            "std": list(self.images.image_std),
            "min_pixels": self.images.size["shortest_edge"],
            "max_pixels": self.images.size["longest_edge"],
        }

    def _unit(self) -> int:
        """Side, in pixels, of the square that becomes one image token."""
        return self.images.patch_size * self.images.merge_size

    def _patches(self, height: int, width: int) -> int:
        return self.images.get_number_of_image_patches(height, width)


def vision_tower(model: PreTrainedModel) -> tuple[nn.Module, str]:
    """The backbone of `model` and the name of its vision tower in the backbone.

    Raises:
        ValueError: the model is of an unsupported family.
    """
    kind = getattr(getattr(model, "config", None), "model_type", None)
    backbone = getattr(model, "base_model", None)
    if kind not in TOWERS or not hasattr(backbone, TOWERS[kind]):
        raise ValueError(
            f"cannot paint for a model of type {kind!r} ({type(model).__name__}); supported: "
            f"{', '.join(TOWERS)}, loaded with AutoModelForImageTextToText"
        )
    return backbone, TOWERS[kind]


def encode(backbone: nn.Module, pixel_values: Tensor, image_grid_thw: Tensor) -> Any:
    """Run the vision tower: features as the backbone takes them in `mm_encoder_outputs={"image": ...}`."""
    return backbone.get_image_features(pixel_values, image_grid_thw=image_grid_thw, return_dict=True)


def rearrange(sources: Sequence[Any], order: Sequence[tuple[int, int]]) -> Any:
    """Put the features of several encodings into one, picture by picture, without running the tower again.

    Args:
        sources: results of `encode`.
        order: for each picture of the result, the index of its source and of the picture in that source.
    """
    kind = type(sources[0])
    arranged = {"pooler_output": tuple(sources[source].pooler_output[picture] for source, picture in order)}
    if (
        getattr(sources[0], "deepstack_features", None) is not None
    ):  # Qwen3-VL: features for early text layers
        arranged["deepstack_features"] = [
            tuple(sources[source].deepstack_features[layer][picture] for source, picture in order)
            for layer in range(len(sources[0].deepstack_features))
        ]
    return kind(**arranged)


def token_types(config: Any, input_ids: Tensor) -> Tensor:
    """`mm_token_type_ids`, from which the backbone computes positions: text 0, picture 1, video 2."""
    return (input_ids == config.image_token_id).int() + 2 * (input_ids == config.video_token_id).int()


def _around(length: int, unit: int) -> tuple[int, int]:
    below = max(unit, length // unit * unit)
    return below, below + unit
