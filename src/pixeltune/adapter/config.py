"""The settings of an artwork, as a PEFT config."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from peft.config import PeftConfig

from pixeltune.sight import Sight


@dataclass
class ArtConfig(PeftConfig):
    """Train one picture, the artwork, in front of a frozen model (ART, arXiv 2606.11854).

    Use it like a `LoraConfig`: `get_peft_model(model, ArtConfig())`, or `peft_config=ArtConfig()` in a TRL
    trainer, whose rows must contain the artwork's placeholder (`config.block(sight)`, `pixeltune.placement`).
    """

    image_tokens: int | None = field(
        default=None,
        metadata={
            "help": "Budget: image tokens the artwork takes in each request. Default 64; the nearest size "
            "that the processor does not resize is used."
        },
    )
    height: int | None = field(default=None, metadata={"help": "Height in pixels, instead of image_tokens."})
    width: int | None = field(default=None, metadata={"help": "Width in pixels, instead of image_tokens."})
    start: str = field(
        default="grey", metadata={"help": 'First picture: "grey", "noise" or the path of a picture.'}
    )
    bound: int | None = field(
        default=None,
        metadata={"help": "Largest change of any pixel from the start picture, in grey levels (1 to 255)."},
    )
    mask: str | None = field(
        default=None, metadata={"help": "Path of a picture, white where the artwork may be painted."}
    )
    seed: int = field(default=0, metadata={"help": 'Seed of start="noise".'})
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
        super().__post_init__()
        self.peft_type = "ART"
        if (self.height is None) != (self.width is None):
            raise ValueError("give both height and width, or neither and image_tokens instead")
        if self.bound is not None and not 1 <= self.bound <= 255:
            raise ValueError(f"bound is in grey levels, 1 to 255, not {self.bound}")

    def resolve_size(self, sight: Sight) -> tuple[int, int]:
        """Height and width in pixels for this processor; also fills `height`, `width` and `image_tokens`.

        Raises:
            ValueError: the processor would resize that size, or size and image_tokens contradict each other.
        """
        if self.height is None:
            self.height, self.width = sight.size_for_tokens(
                64 if self.image_tokens is None else self.image_tokens
            )
        elif self.image_tokens not in (None, sight.tokens(self.height, self.width)):
            raise ValueError(
                f"{self.height}x{self.width} pixels are {sight.tokens(self.height, self.width)} image "
                f"tokens, not {self.image_tokens}: give either the size or image_tokens"
            )
        self.image_tokens = sight.tokens(self.height, self.width)
        return self.height, self.width

    def block(self, sight: Sight) -> str:
        """The placeholder text that training rows must contain (see `pixeltune.placement.place_dataset`)."""
        return sight.block(*self.resolve_size(sight))

    def files_missing(self) -> bool:
        """Whether the start or the mask is a file that is not there (any more)."""
        files = [] if self.start in ("grey", "noise") else [self.start]
        return not all(Path(file).is_file() for file in (*files, *([self.mask] if self.mask else [])))

    def save_pretrained(self, save_directory: str, **kwargs) -> None:
        """Save, marked as `restored`: what is loaded from there gets its pictures from the weights.

        PEFT saves with `inference_mode=True`; a trainer that got such a config would train nothing, so
        that is not kept. `PeftModel.from_pretrained` decides anew, by `is_trainable`.
        """
        saved = replace(self, restored=True, inference_mode=False)
        super(ArtConfig, saved).save_pretrained(save_directory, **kwargs)
