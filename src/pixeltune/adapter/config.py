"""The settings of an artwork, as a PEFT config."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_type_hints

from peft.config import PeftConfig

from pixeltune.errors import UserError
from pixeltune.errors.checking import checked
from pixeltune.model.preprocessing import Preprocessor
from pixeltune.model.sizes import none_of
from pixeltune.picture.canvas import Canvas, cells_mask, paintable_mask, start_picture
from pixeltune.picture.files import STARTS
from pixeltune.picture.settings import DEFAULT_TOKENS, ArtworkSettings


class SizeWarning(UserWarning):
    """The artwork takes another number of image tokens than the usual one."""


@dataclass
class ArtConfig(ArtworkSettings, PeftConfig):
    """Train one picture, the artwork, in front of a frozen model (ART, arXiv 2606.11854).

    Use it like a `LoraConfig`: `get_peft_model(model, ArtConfig())`, or `peft_config=ArtConfig()` in a TRL
    trainer, whose rows must contain the artwork's placeholder (`config.block(preprocessor)`,
    `pixeltune.data.placement`).

    `image_tokens` is a budget that is kept: the squarest picture, at most 1:2, of exactly so many tokens that
    the processor does not resize. Not every number has one: processors enlarge small pictures and reduce
    large ones, a prime has no sides but a strip's, and some families have a single size. Such a number is
    refused with the nearest ones that work. Only the default, 64, becomes the nearest, with a `SizeWarning`.
    For another shape, a strip too, give `height` and `width`.
    """

    seed: int = field(
        default=0,
        metadata={
            "help": 'Seed of start="noise", of cells, of robust, of what is random in a parametrisation.'
        },
    )
    processor: str | None = field(
        default=None, metadata={"help": "Path or hub name of the processor. Default: the base model's own."}
    )
    target_modules: str | None = field(
        default=None, metadata={"help": "The vision tower; found from the model, leave empty."}
    )
    restored: bool = field(
        default=False,
        metadata={
            "help": "Set in saved configs: the pictures come with the weights, so the start and mask files "
            "may be missing."
        },
    )

    def __post_init__(self) -> None:
        PeftConfig.__post_init__(self)
        hints = get_type_hints(ArtworkSettings) | {"seed": int, "processor": str | None}
        for name, hint in hints.items():
            setattr(self, name, checked(name, getattr(self, name), hint))
        ArtworkSettings.__post_init__(self)
        self.peft_type = "ART"

    def resolve_size(self, preprocessor: Preprocessor, limit: int | None = None) -> tuple[int, int]:
        """Height and width in pixels for this processor; also fills `height`, `width` and `image_tokens`.

        Args:
            preprocessor: of the model.
            limit: tokens of the model's context, in which the picture must leave room; None: not known.

        Raises:
            UserError: the processor would resize that size, no size has just so many tokens, the picture does
                not fit into the context, or size and image_tokens contradict each other.
        """
        if self.height is None:
            asked = DEFAULT_TOKENS if self.image_tokens is None else self.image_tokens
            _check_room(f"image_tokens is {asked}", asked, limit)
            height, width = _size(preprocessor, asked)
            tokens = preprocessor.tokens(height, width)
        else:
            height, width = self.height, self.width
            if unit := preprocessor.sizes.unit:  # before a picture of that size is shown to the processor
                about = (height // unit) * (width // unit) * preprocessor.sizes.each
                _check_room(f"a picture of {height}x{width} takes {about} image tokens", about, limit)
            tokens = preprocessor.tokens(height, width)
            if self.image_tokens not in (None, tokens):
                raise UserError(
                    f"{height}x{width} pixels are {tokens} image tokens, not {self.image_tokens}: give either "
                    "the size or image_tokens"
                )
        _check_room(f"a picture of {height}x{width} takes {tokens} image tokens", tokens, limit)
        self.height, self.width, self.image_tokens = height, width, tokens
        return height, width

    def block(self, preprocessor: Preprocessor) -> str:
        """The placeholder text that training rows must contain (`pixeltune.data.placement.place_dataset`)."""
        return preprocessor.block(*self.resolve_size(preprocessor))

    def canvas(self) -> Canvas:
        """A canvas at its start. Needs `height`, `width` and `image_tokens`, which `resolve_size` fills in.

        Raises:
            ValueError: the start or mask cannot be used (unless this config was loaded from a checkpoint and
                they are gone: then the weights will bring them), or there are not so many cells.
        """
        settings = {
            "bound": None if self.bound is None else self.bound / 255,
            "parametrisation": self.parametrisation,
            "seed": self.seed,
        }
        if self.restored and self.files_missing():
            masked = self.mask is not None or self.cells is not None
            return Canvas.awaiting(self.height, self.width, masked=masked, **settings)
        size = self.height, self.width
        start = start_picture(self.start, *size, self.seed, self.backdrop, self.fit)
        mask = None if self.mask is None else paintable_mask(self.mask, *size, self.fit)
        if self.cells is not None:
            mask = cells_mask(self.cells, self.image_tokens, *size, self.seed)
        return Canvas(start, mask=mask, **settings)

    def files_missing(self) -> bool:
        """Whether the start or the mask is a file that is not there (any more)."""
        files = [] if self.start in STARTS else [self.start]
        return not all(Path(file).is_file() for file in (*files, *([self.mask] if self.mask else [])))

    def save_pretrained(self, save_directory: str, **kwargs) -> None:
        """Save, marked as `restored`: what is loaded from there gets its pictures from the weights.

        PEFT saves with `inference_mode=True`; a trainer that got such a config would train nothing, so
        that is not kept. `PeftModel.from_pretrained` decides anew, by `is_trainable`.
        """
        saved = replace(self, restored=True, inference_mode=False)
        super(ArtConfig, saved).save_pretrained(save_directory, **kwargs)


def _size(preprocessor: Preprocessor, asked: int) -> tuple[int, int]:
    """The size of a picture of so many image tokens; for the default number, the nearest that there is.

    Raises:
        UserError: no size has just so many; before a picture is shown to the processor, which may be huge.
    """
    preprocessor.sizes.check_count(asked)
    size = preprocessor.size_for_tokens(asked)
    tokens = preprocessor.tokens(*size)
    if tokens != asked != DEFAULT_TOKENS:
        raise UserError(none_of(asked, [tokens]))
    if tokens != asked:
        warnings.warn(
            f"the model's processor has no picture of {asked} image tokens: the artwork takes {tokens}, "
            f"{size[0]}x{size[1]} pixels",
            SizeWarning,
            stacklevel=4,
        )
    return size


def _check_room(what: str, tokens: int, limit: int | None) -> None:
    """
    Raises:
        UserError: a picture of so many image tokens leaves no room in the context.
    """
    if limit is not None and tokens >= limit:
        raise UserError(f"{what}, and the model's context holds {limit} tokens, words included: take fewer")
