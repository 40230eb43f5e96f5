"""Which sizes of pictures a processor may leave as they are, kind by kind.

Only candidates: whether a processor really leaves a picture alone is found out by showing it one
(`pixeltune.model.preprocessing.Preprocessor.is_identity`). Which family has which kind of processor is
said in `pixeltune.model.families`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pixeltune.model.compat.transformers_insides import gemma4_size

if TYPE_CHECKING:
    from transformers import ProcessorMixin

MOST = 256
"""Largest side of a picture in image tokens that is looked for."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of one processor.

    Attributes:
        unit: side, in pixels, of the square that becomes one image token, where sides are multiples of it;
            None where there is only one size.
        only: that size, (height, width) in pixels.
        keeps: a quick test that a size must pass.
        probe: the processor's own arithmetic on (height, width), which raises ValueError for a picture that
            it takes in no way; None where it has to be shown a picture to find out.
        constants: what the processor does to sizes, in plain numbers (JSON-serialisable).
        remedy: what to set where no size passes.
    """

    unit: int | None = None
    only: tuple[int, int] | None = None
    keeps: Callable[[int, int], bool] = lambda height, width: True
    probe: Callable[[int, int], Any] | None = None
    constants: dict[str, Any] = field(default_factory=dict)
    remedy: str = "use the checkpoint's own processor"

    def near(self, count: int) -> Iterator[tuple[int, int]]:
        """Sizes (height, width) that pass, at most 1:2, those closest to `count` image tokens first."""
        if self.only is not None:
            yield self.only
            return
        most = min(MOST, max(64, 2 * int(count**0.5) + 2))
        sides = [(rows, columns) for rows in range(1, most) for columns in range(rows, 2 * rows + 1)]
        for rows, columns in sorted(
            sides, key=lambda side: (abs(side[0] * side[1] - count), side[1] - side[0])
        ):
            if self.passes(rows * self.unit, columns * self.unit):
                yield rows * self.unit, columns * self.unit

    def passes(self, height: int, width: int) -> bool:
        """Whether a size is a candidate."""
        if self.only is not None:
            return (height, width) == self.only
        sides = sorted((height, width))
        if sides[0] < self.unit or height % self.unit or width % self.unit or sides[1] > 200 * sides[0]:
            return False
        return self.keeps(height, width)


def area(processor: ProcessorMixin) -> Sizes:
    """Qwen and GLM: sides are rounded, the area is kept within limits."""
    images = processor.image_processor
    patch, merge = images.patch_size, images.merge_size
    return Sizes(
        unit=patch * merge,
        keeps=lambda h, w: images.get_number_of_image_patches(h, w) == (h // patch) * (w // patch),
        probe=images.get_number_of_image_patches,
        constants={
            "patch": patch,
            "merge": merge,
            "min_pixels": images.size["shortest_edge"],
            "max_pixels": images.size["longest_edge"],
        },
    )


def edge(processor: ProcessorMixin) -> Sizes:
    """Pixtral (Mistral 3): sides are rounded up, the longer one is limited."""
    longest = processor.image_processor.size["longest_edge"]
    return Sizes(
        unit=processor.patch_size * processor.spatial_merge_size,
        keeps=lambda h, w: max(h, w) <= longest,
        constants={
            "patch": processor.patch_size,
            "merge": processor.spatial_merge_size,
            "longest_edge": longest,
        },
    )


def budget(processor: ProcessorMixin) -> Sizes:
    """Gemma 4: every picture is enlarged or reduced to as many patches as the budget holds."""
    images = processor.image_processor
    patch, pool, most = images.patch_size, images.pooling_kernel_size, images.max_soft_tokens

    def keeps(height: int, width: int) -> bool:
        if height * width > most * (patch * pool) ** 2:
            return False
        return gemma4_size(height, width, patch, most * pool**2, pool) == (height, width)

    return Sizes(
        unit=patch * pool, keeps=keeps, constants={"patch": patch, "merge": pool, "max_soft_tokens": most}
    )


def sliced(processor: ProcessorMixin) -> Sizes:
    """MiniCPM-V: every picture is brought to the area of one slice; a larger one is also cut into slices."""
    images = processor.image_processor
    patch, side = images.patch_size, images.scale_resolution

    def keeps(height: int, width: int) -> bool:
        cut = images.slice_mode and images.get_sliced_grid((height, width), images.max_slice_nums, side)
        best = images.find_best_resize((height, width), side, patch, allow_upscale=True)
        return not cut and best == (height, width)

    return Sizes(
        unit=patch * 4,  # two merges of 2 x 2, as in find_best_resize
        keeps=keeps,
        constants={
            "patch": patch,
            "merge": 4,
            "scale_resolution": side,
            "downsample_mode": images.downsample_mode,
            "slice_mode": images.slice_mode,
        },
    )


def square(processor: ProcessorMixin) -> Sizes:
    """Gemma 3, InternVL, LLaVA-OneVision: every picture becomes this size, perhaps after having been cut."""
    size = processor.image_processor.size
    height, width = size["height"], size["width"]
    return Sizes(only=(height, width), constants={"size": [height, width], **_switches(processor)})


def split(processor: ProcessorMixin) -> Sizes:
    """Idefics3, SmolVLM: the longer side becomes `longest_edge`, then the picture is cut into squares."""
    images = processor.image_processor
    side, longest = images.max_image_size["longest_edge"], images.size["longest_edge"]
    return Sizes(
        only=(side, side),
        constants={"size": [side, side], "longest_edge": longest, **_switches(processor)},
        remedy=f"it enlarges every picture to {longest} pixels and cuts that into squares of {side}, with a "
        f'reduced copy beside them. Set size={{"longest_edge": {side}}} in the image processor, in training '
        'and in the engine (vLLM: --mm-processor-kwargs \'{"size": {"longest_edge": ' + str(side) + "}}')",
    )


def _switches(processor: ProcessorMixin) -> dict[str, Any]:
    """Whether pictures are cut, and into how many."""
    names = (
        "do_pan_and_scan",
        "crop_to_patches",
        "max_patches",
        "do_image_splitting",
        "image_grid_pinpoints",
    )
    images = processor.image_processor
    return {name: getattr(images, name) for name in names if getattr(images, name, None) is not None}
