"""How a model sees a picture: through its own, unmodified processor, with a gradient.

What differs between families of models is in `pixeltune.model.families`.
"""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import ProcessorMixin

from pixeltune.data.placement import place
from pixeltune.errors import UserError
from pixeltune.model.families import FAMILIES, REFUSED, sizes_of
from pixeltune.picture.settings import DEFAULT_TOKENS


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


class Preprocessor:
    """A processor's view of one picture.

    The stock torchvision image processors are differentiable and, for sizes they do not resize, give the same
    values for a float tensor in 0..255 as for the 8-bit picture. So this calls the whole processor, with the
    settings it would use for a request, and re-implements nothing.
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
            raise UserError(
                f"{type(images).__name__} works on PIL pictures and has no gradient. Install torchvision and "
                'load the processor with AutoProcessor.from_pretrained(model, backend="torchvision")'
            )
        family = type(processor).__name__.removesuffix("Processor").lower()
        if (sizes := sizes_of(processor)) is None or family in REFUSED:
            why = f": {REFUSED[family]}" if family in REFUSED else ""
            raise UserError(
                f"cannot train a picture for {type(processor).__name__} with {type(images).__name__}{why}; "
                f"supported model types: {', '.join(FAMILIES)}"
            )
        self.processor = processor
        self.images = images
        self.sizes = sizes
        self._kept: dict[tuple[int, int], bool] = {}
        self._blocks: dict[tuple[int, int], tuple[str, list[int]]] = {}
        self._counts: dict[tuple[int, int], Counter[int]] = {}
        self._refused: dict[tuple[int, int], str] = {}

    def __repr__(self) -> str:
        sides = f", sides in multiples of {self.sizes.unit}" if self.sizes.unit else ""
        return f"Preprocessor({type(self.processor).__name__} with {type(self.images).__name__}{sides})"

    def pixel_values(self, image: Tensor) -> dict[str, Tensor]:
        """What the vision tower receives for `image`, with the graph to it.

        Args:
            image: `(3, H, W)` float in [0, 1], of an identity size (see `check_size`). Values on the 8-bit
                grid (`Canvas` makes them so) give exactly what the PNG gives: in float32, k / 255 * 255 is
                exactly k.

        Returns:
            By name, on image's device, what this family's processor makes of a picture: `pixel_values`,
            float32, in the Qwen and GLM families `(patches, values)` with `image_grid_thw` `(1, 3)` int64, in
            others `(1, 3, H, W)` or with more axes; see `image_processor.model_input_names`.

        Raises:
            ValueError: the processor would resize or split the image.
        """
        self.check_size(*image.shape[-2:])
        return self._see(image)

    @property
    def inputs(self) -> list[str]:
        """Names of what a processor makes of pictures."""
        return list(self.images.model_input_names)

    @cached_property
    def image_token_id(self) -> int:
        """The token that stands for a piece of a picture."""
        return self._expanded(*self.size_for_tokens(DEFAULT_TOKENS)).most_common(1)[0][0]

    def tokens(self, height: int, width: int) -> int:
        """How many image tokens a picture of this size takes."""
        self.check_size(height, width)
        return self._expanded(height, width)[self.image_token_id]

    def tokens_of_any(self, height: int, width: int) -> int:
        """How many image tokens a picture of a user's own takes, which may be resized."""
        return self._expanded(height, width)[self.image_token_id]

    def grid(self, height: int, width: int) -> Tensor | None:
        """`image_grid_thw` of one picture of this size, `(1, 3)` int64; None in families without grids."""
        if "image_grid_thw" not in self.inputs:
            return None
        self.check_size(height, width)
        return torch.tensor([[1, height // self.images.patch_size, width // self.images.patch_size]])

    def piece_ids(self, height: int, width: int) -> list[int]:
        """The part of `block_ids` from its first to its last image token, line breaks of it included."""
        ids, token = self.block_ids(height, width), self.image_token_id
        return ids[ids.index(token) : len(ids) - ids[::-1].index(token)]

    def block_ids(self, height: int, width: int) -> list[int]:
        """Token ids of the picture's placeholder, as the processor writes them into a rendered message."""
        self.block(height, width)
        return list(self._blocks[height, width][1])

    def block(self, height: int, width: int) -> str:
        """The placeholder as text, to be put into training rows (see `pixeltune.data.placement`).

        It is what a picture in front of a question adds to the rendered message, after the processor has put
        in the image tokens.

        Raises:
            ValueError: a row with this text would have other token ids than the message with the picture.
        """
        if (height, width) not in self._blocks:
            self.check_size(height, width)
            block = self._block(height, width)
            ids = self.processor.tokenizer(block, add_special_tokens=False)["input_ids"]
            self._blocks[height, width] = block, ids
        return self._blocks[height, width][0]

    def _block(self, height: int, width: int) -> str:
        processor, tokenizer, name = self.processor, self.processor.tokenizer, type(self.processor).__name__
        question = {"type": "text", "text": "What is it?"}
        bare = [{"role": "user", "content": [question]}]
        served = [{"role": "user", "content": [{"type": "image"}, question]}]
        if getattr(processor, "chat_template", None) is None:
            raise UserError(f"{name} has no chat template, which artworks need: give it the model's own")
        without, text = (processor.apply_chat_template(m, tokenize=False) for m in (bare, served))
        start = next(
            (i for i, two in enumerate(zip(text, without, strict=False)) if len(set(two)) > 1), len(without)
        )
        added = text[start : start + len(text) - len(without)]
        if not added or text != without[:start] + added + without[start:]:
            raise UserError(
                f"the chat template of {name} does not put a picture in front of the text after it"
            )
        blank = Image.new("RGB", (width, height))
        ids = self._ids([added], blank, add_special_tokens=False)
        block = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        expected = self._ids([text], blank, add_special_tokens=False)
        rows = (
            place([{"role": "user", "content": content}], block) for content in (question["text"], [question])
        )
        texts = [processor.apply_chat_template(row, tokenize=False) for row in rows]
        if any(ids != expected for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]):
            raise UserError(
                f"with the chat template of {name} a training row with the picture's placeholder as text, "
                f"{block[:40]!r}..., would have other tokens than a served message with the picture: the "
                "template drops or trims text, or the placeholder's tokens are no special tokens. Give the "
                "processor a chat_template that writes the content of a message as it is"
            )
        return block

    def size_for_tokens(self, count: int) -> tuple[int, int]:
        """The identity size (height, width) closest to `count` image tokens, at most 1:2 and squarest first.

        Raises:
            ValueError: `count` is not positive, or the processor, as it is set, leaves no picture as it is.
        """
        return self.sizes.nearest(count, self.is_identity)

    def is_identity(self, height: int, width: int) -> bool:
        """Whether the processor leaves a picture of this size as it is.

        So it is if every value that the model receives is that of one pixel, and every pixel is received.
        """
        if (height, width) not in self._kept:
            self._kept[height, width] = self.sizes.passes(height, width) and self._keeps(height, width)
        return self._kept[height, width]

    def check_size(self, height: int, width: int) -> None:
        """Refuse sizes that the processor would resize: the engine would then see other pixels than training.

        Raises:
            ValueError: naming the nearest good sizes.
        """
        self.sizes.check(height, width, self.is_identity)

    def check_picture(self, image: Image.Image) -> None:
        """Refuse a picture of a user's own, which may be resized, if the processor takes none of its size.

        Needs no model; cheap where the processor can be asked for its arithmetic, else a size is tried once.

        Raises:
            ValueError: with the processor's reason (sides of 1:200, less than a pixel after resizing, ...).
        """
        width, height = image.size
        if (height, width) not in self._refused:
            try:
                if self.sizes.probe is not None:
                    self.sizes.probe(height, width)
                else:
                    self._call(Image.new("RGB", (width, height)))
                self._refused[height, width] = ""
            except Exception as error:  # of any class: it is the processor's, and told with its reason
                self._refused[height, width] = " ".join(str(error).split()) or type(error).__name__
        if reason := self._refused[height, width]:
            raise UserError(
                f"{type(self.images).__name__} takes no picture of {height}x{width} pixels (height x width): "
                f"{reason}. Crop or pad the picture, or leave its row out"
            )

    def parity(self, image: np.ndarray) -> Parity:
        """Compare the tensor that is trained on with the PNG of `image` through the stock processor.

        Args:
            image: `(H, W, 3)` uint8.

        Raises:
            ValueError: not such an array, or the processor would resize it.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise UserError(f"expected (H, W, 3) uint8, got {image.shape} {image.dtype}")
        trained = self.pixel_values(torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255)
        file = io.BytesIO()
        Image.fromarray(image).save(file, format="PNG")
        with Image.open(io.BytesIO(file.getvalue())) as picture:
            served = self._call(picture.convert("RGB"))
        if trained["pixel_values"].shape != served["pixel_values"].shape:
            return Parity(False, float("inf"), self.constants())
        difference = (trained["pixel_values"] - served["pixel_values"]).abs().max().item()
        equal = trained.keys() == served.keys()
        equal = equal and all(torch.equal(trained[name], served[name]) for name in served)
        return Parity(equal, difference, self.constants())

    def constants(self) -> dict[str, Any]:
        """What the processor does to a picture, in plain numbers (JSON-serialisable)."""
        return {
            "image_processor": type(self.images).__name__,
            "backend": "torchvision",
            "mean": list(self.images.image_mean),
            "std": list(self.images.image_std),
            **self.sizes.constants,
        }

    def _call(self, picture: Any) -> dict[str, Tensor]:
        """The picture's part of what the whole processor makes of a picture and nothing else."""
        made = self.processor(text=[self.processor.image_token], images=[picture], return_tensors="pt")
        return {name: made[name] for name in self.inputs if isinstance(made.get(name), Tensor)}

    def _see(self, image: Tensor) -> dict[str, Tensor]:
        return {name: value.to(image.device) for name, value in self._call(image * 255).items()}

    def _expanded(self, height: int, width: int) -> Counter[int]:
        """How often which token id stands in what the processor writes for a picture."""
        if (height, width) not in self._counts:
            picture = Image.new("RGB", (width, height))
            self._counts[height, width] = Counter(self._ids([self.processor.image_token], picture))
        return self._counts[height, width]

    def _ids(self, text: list[str], picture: Image.Image, **options: Any) -> list[int]:
        """Token ids of a text with one picture in it."""
        made = self.processor(text=text, images=[picture], return_tensors="pt", **options)
        return made["input_ids"][0].tolist()

    def _keeps(self, height: int, width: int) -> bool:
        """Look at black, white, and noise of both: resampling would make grey of the noise."""
        with torch.no_grad():
            black, white = (self._see(torch.full((3, height, width), v))["pixel_values"] for v in (0.0, 1.0))
        noise = torch.randint(0, 2, (3, height, width), generator=torch.Generator().manual_seed(0)).float()
        with torch.enable_grad():  # also where the caller wants none
            seen = self._see(noise.requires_grad_())["pixel_values"]
            total = seen.float().sum()
        if not (seen.shape == black.shape == white.shape and seen.requires_grad):
            return False
        if not ((seen == black) | (seen == white)).all():
            return False
        (gradient,) = torch.autograd.grad(total, noise)
        return bool(gradient.ne(0).all())
