"""Which sizes of pictures a processor may leave as they are, kind by kind. Needs no torch.

Only candidates: whether a processor really leaves a picture alone is found out by showing it one
(`pixeltune.model.preprocessing.Preprocessor.is_identity`). Which family has which kind of processor is
said in `pixeltune.model.families`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pixeltune.errors import UserError
from pixeltune.model.compat.transformers_insides import gemma4_size, minicpm_size
from pixeltune.picture.settings import DEFAULT_TOKENS

if TYPE_CHECKING:
    from transformers import ProcessorMixin

MOST = 256
"""Largest side of a picture in image tokens that is looked for."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of one processor.

    Attributes:
        unit: side, in pixels, of the square that becomes one image token (or `each` of them), where sides are
            multiples of it; None where there is only one size.
        each: image tokens of such a square.
        only: that size, (height, width) in pixels.
        keeps: a quick test that a size must pass.
        probe: the processor's own arithmetic on (height, width), which raises ValueError for a picture that
            it takes in no way; None where it has to be shown a picture to find out.
        constants: what the processor does to sizes, in plain numbers (JSON-serialisable).
        remedy: what to set where no size passes.
        asks: whether `keeps` needs the processor itself, and not only what its file says.
    """

    unit: int | None = None
    each: int = 1
    only: tuple[int, int] | None = None
    keeps: Callable[[int, int], bool] = lambda height, width: True
    probe: Callable[[int, int], Any] | None = None
    constants: dict[str, Any] = field(default_factory=dict)
    remedy: str = "use the checkpoint's own processor"
    asks: bool = False

    def near(self, count: int) -> Iterator[tuple[int, int]]:
        """Sizes (height, width) that pass, at most 1:2, those closest to `count` image tokens first."""
        if self.only is not None:
            yield self.only
            return
        for rows, columns in sorted(
            _sides(count // self.each),
            key=lambda side: (abs(side[0] * side[1] * self.each - count), side[1] - side[0]),
        ):
            if self.passes(rows * self.unit, columns * self.unit):
                yield rows * self.unit, columns * self.unit

    def counts(self, count: int) -> list[int]:
        """The numbers of image tokens next to `count` that pictures of these sizes take, at most 1:2.

        Returns:
            `count` alone where it is one; else the nearest below and the nearest above, as far as there are
            any. Empty where there is only one size, whose tokens the processor has to be asked for.
        """
        if self.unit is None:
            return []
        found = {
            rows * columns * self.each
            for rows, columns in _sides(count // self.each)
            if self.passes(rows * self.unit, columns * self.unit)
        }
        if count in found:
            return [count]
        below, above = [n for n in found if n < count], [n for n in found if n > count]
        return [*([max(below)] if below else []), *([min(above)] if above else [])]

    def nearest(self, count: int, keeps: Callable[[int, int], bool] | None = None) -> tuple[int, int]:
        """The size (height, width) closest to `count` image tokens, at most 1:2 and squarest first.

        Args:
            count: of image tokens.
            keeps: whether the processor really keeps a candidate; None: candidates are taken at their word.

        Raises:
            UserError: `count` is not positive, or no size is kept.
        """
        if count < 1:
            raise UserError(f"a picture needs at least one image token, not {count}")
        for size in self.near(count):
            if keeps is None or keeps(*size):
                return size
        raise UserError(f"the model's processor leaves no picture as it is: {self.remedy}")

    def check(self, height: int, width: int, keeps: Callable[[int, int], bool] | None = None) -> None:
        """Refuse sizes that the processor would resize: the engine would then see other pixels than training.

        Args:
            height: in pixels.
            width: in pixels.
            keeps: as in :meth:`nearest`.

        Raises:
            UserError: naming the nearest good sizes.
        """
        keeps, unit = keeps or self.passes, self.unit
        if keeps(height, width):
            return
        near = {self.nearest(max(1, round(height * width / unit**2)) if unit else 1, keeps)}
        if unit:
            around = ((h, w) for h in _around(height, unit) for w in _around(width, unit))
            near |= {size for size in around if keeps(*size)}
        best = sorted(near, key=lambda size: abs(size[0] - height) + abs(size[1] - width))[:3]
        raise UserError(
            f"the processor would resize {'' if unit else 'or cut '}a {height}x{width} picture "
            f"(height x width). Nearest good sizes: {', '.join(f'{h}x{w}' for h, w in best)}"
            + (f"; sides must be multiples of {unit}" if unit else "")
        )

    def check_count(self, count: int) -> None:
        """Refuse a number of image tokens, other than the default, that no size has.

        Raises:
            UserError: naming the nearest that there are.
        """
        near = self.counts(count) if count > 0 else []
        if count != DEFAULT_TOKENS and near and count not in near:
            raise UserError(none_of(count, near))

    def passes(self, height: int, width: int) -> bool:
        """Whether a size is a candidate."""
        if self.only is not None:
            return (height, width) == self.only
        sides = sorted((height, width))
        if sides[0] < self.unit or height % self.unit or width % self.unit or sides[1] > 200 * sides[0]:
            return False
        return self.keeps(height, width)


def none_of(count: int, near: list[int]) -> str:
    """The refusal of a number of image tokens, with those that can be had."""
    return (
        f"image_tokens is {count}, and the model's processor leaves no picture of so many as it is (sides at "
        f"most 1:2): take {' or '.join(map(str, near))}"
    )


def _around(length: int, unit: int) -> tuple[int, int]:
    below = max(unit, length // unit * unit)
    return below, below + unit


def _sides(count: int) -> list[tuple[int, int]]:
    """Sides in units, at most 1:2, among which those nearest to `count` are."""
    most = min(MOST, max(64, 2 * int(count**0.5) + 2))
    return [(rows, columns) for rows in range(1, most) for columns in range(rows, 2 * rows + 1)]


def area(processor: ProcessorMixin, frames: int = 1) -> Sizes:
    """Qwen: sides are rounded, the area, of so many frames, is kept within limits."""
    images = processor.image_processor
    patch, merge = images.patch_size, images.merge_size
    least, most = images.size["shortest_edge"], images.size["longest_edge"]
    return Sizes(
        unit=patch * merge,
        keeps=lambda h, w: least <= frames * h * w <= most,
        probe=getattr(images, "get_number_of_image_patches", None),  # which its file does not have
        constants={
            "patch": patch,
            "merge": merge,
            "min_pixels": least,
            "max_pixels": most,
        },
    )


def volume(processor: ProcessorMixin) -> Sizes:
    """GLM: the same for a video, as which a picture counts that is repeated to fill one temporal patch."""
    return area(processor, processor.image_processor.temporal_patch_size)


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
        unit=patch * pool,
        keeps=keeps,
        constants={"patch": patch, "merge": pool, "max_soft_tokens": most},
        asks=True,
    )


def sliced(processor: ProcessorMixin) -> Sizes:
    """MiniCPM-V: every picture is brought to the area of one slice; a larger one is also cut into slices."""
    images = processor.image_processor
    patch, side = images.patch_size, images.scale_resolution

    def keeps(height: int, width: int) -> bool:
        cut = images.slice_mode and images.get_sliced_grid((height, width), images.max_slice_nums, side)
        return not cut and minicpm_size(images, height, width) == (height, width)

    return Sizes(
        unit=patch * 4,  # two merges of 2 x 2, as at its usual downsample_mode
        each=4 if images.downsample_mode == "4x" else 1,
        keeps=keeps,
        asks=True,
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
