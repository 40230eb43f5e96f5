"""What an artwork should look like: small terms, smaller is better, that add with `+` and scale with `*`.

Terms import torch when they look at a picture, so that a style can be read (`pixeltune.picture.style_text`), and
what is wrong with it said, before.

    style = 3 * L2() + 0.1 * TotalVariation() + 0.02 * Caption("red", "What colour is the picture?")

Two more ways to keep a picture hold exactly and are settings of the canvas itself: `bound` and `mask`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from PIL import Image, ImageColor

from pixeltune.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

MOST_COLOURS = 64


class View(Protocol):
    """What a term can look at.

    Attributes:
        image: the live picture, `(3, H, W)` float32 in [0, 1], with the graph to what is trained.
        start: the start picture, the same without a graph.
    """

    image: Tensor
    start: Tensor

    def features(self, picture: Tensor) -> list[Tensor]:
        """What the frozen vision tower makes of a picture: `(tokens, hidden)` of several of its layers."""
        ...

    def reference_features(self, name: str) -> list[Tensor]:
        """The same of "start", a drawing or a picture file, without a graph, computed once."""
        ...

    def caption_loss(self, caption: str, prompt: str) -> Tensor:
        """Mean negative log-probability, in nats per token, of the caption as the frozen model's answer."""
        ...


class Term:
    """Something a picture can be less or more of, as a scalar tensor; a sum of terms is a term too."""

    def __call__(self, view: View) -> Tensor:
        raise NotImplementedError

    def parts(self) -> tuple[tuple[float, Term], ...]:
        """Weights and single terms."""
        return ((1.0, self),)

    def __add__(self, other: Term) -> Style:
        return Style(self.parts() + other.parts())

    def __mul__(self, weight: float) -> Style:
        if not (math.isfinite(weight) and weight >= 0):
            raise UserError(f"a weight of {weight} for {self}: give 0 or more")
        return Style(tuple((weight * own, term) for own, term in self.parts()))

    __rmul__ = __mul__


@dataclass(frozen=True)
class Style(Term):
    """A weighted sum."""

    weighted: tuple[tuple[float, Term], ...]

    def __call__(self, view: View) -> Tensor:
        import torch

        total = sum(weight * term(view) for weight, term in self.weighted)
        return torch.as_tensor(total)

    def parts(self) -> tuple[tuple[float, Term], ...]:
        return self.weighted


@dataclass(frozen=True)
class L2(Term):
    """Mean squared distance from the start picture, pixels in [0, 1]."""

    def __call__(self, view: View) -> Tensor:
        return (view.image - view.start).square().mean()


@dataclass(frozen=True)
class TotalVariation(Term):
    """Mean absolute difference between neighbours, down and across, pixels in [0, 1] (Rudin et al. 1992)."""

    def __call__(self, view: View) -> Tensor:
        image = view.image
        return image.diff(dim=1).abs().mean() + image.diff(dim=2).abs().mean()


@dataclass(frozen=True, init=False)
class Palette(Term):
    """Mean squared distance of each pixel from the nearest of some colours, pixels in [0, 1].

    `Palette(8)` takes eight colours from the start picture by median cut, `Palette("teal", "red")` has two.
    """

    colours: tuple[str, ...]
    count: int

    def __init__(self, *colours: str | int) -> None:
        count = colours[0] if len(colours) == 1 and isinstance(colours[0], int) else 0
        if count and not 1 <= count <= MOST_COLOURS:
            raise UserError(f"palette({count}): give 1 to {MOST_COLOURS} colours")
        named = () if count else colours
        if not count and not (named and all(isinstance(name, str) for name in named)):
            raise UserError('palette takes how many colours, or which: palette(8), palette("#204060", "red")')
        if len(named) > MOST_COLOURS:
            raise UserError(f"palette: at most {MOST_COLOURS} colours")
        for name in named:
            try:
                ImageColor.getrgb(name)
            except ValueError:
                raise UserError(f'palette: {name!r} is no colour; write "#204060" or a CSS name') from None
        object.__setattr__(self, "colours", named)
        object.__setattr__(self, "count", count)

    def __call__(self, view: View) -> Tensor:
        colours = self._of(view.start).to(view.image)
        apart = (view.image[None] - colours[:, :, None, None]).square().sum(1)
        return apart.min(0).values.mean() / 3

    def _of(self, start: Tensor) -> Tensor:
        import torch

        if not self.count:
            return torch.tensor([ImageColor.getrgb(name)[:3] for name in self.colours]) / 255
        levels = (start * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        few = Image.fromarray(levels).quantize(self.count, Image.Quantize.MEDIANCUT)
        return torch.tensor((few.getpalette() or [])[: 3 * self.count]).view(-1, 3) / 255


@dataclass(frozen=True)
class Band(Term):
    """Mean squared change outside a band of spatial frequencies, in cycles per pixel (0 to about 0.71).

    `Band(0, 0.1)` wants changes that are blurs, `Band(0.2, 1)` fine ones that one does not see from afar.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high:
            raise UserError(f"band({self.low}, {self.high}): give 0 <= low < high, in cycles per pixel")

    def __call__(self, view: View) -> Tensor:
        import torch

        height, width = view.image.shape[1:]
        rows, columns = torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width)[None, :]
        frequency = torch.hypot(rows, columns).to(view.image.device)
        outside = (frequency < self.low) | (frequency > self.high)
        waves = torch.fft.fft2(view.image - view.start, norm="ortho")
        return (waves.abs().square() * outside).mean()


@dataclass(frozen=True)
class Content(Term):
    """How far the frozen vision tower's features are from those of another picture, relative to their size.

    A perceptual distance (Johnson, Alahi and Fei-Fei 2016) in the model's own eye, without other weights.
    """

    reference: str = "start"

    def __call__(self, view: View) -> Tensor:
        return _apart(view.features(view.image), view.reference_features(self.reference))


@dataclass(frozen=True)
class Gram(Term):
    """The same for correlations between features, wherever they stand: texture (Gatys et al. 2016)."""

    reference: str

    def __call__(self, view: View) -> Tensor:
        there = [_gram(layer) for layer in view.reference_features(self.reference)]
        return _apart([_gram(layer) for layer in view.features(view.image)], there)


@dataclass(frozen=True)
class Caption(Term):
    """The frozen model must go on describing the picture so: nats per token of the caption as its answer."""

    caption: str
    prompt: str = "What does this picture show?"

    def __post_init__(self) -> None:
        if not (self.caption.strip() and self.prompt.strip()):
            raise UserError("caption: give a caption, and perhaps a prompt, that are not empty")

    def __call__(self, view: View) -> Tensor:
        return view.caption_loss(self.caption, self.prompt)


def _apart(here: list[Tensor], there: list[Tensor]) -> Tensor:
    """Squared distance over squared length, mean of layers."""
    import torch

    shares = [(a - b).square().sum() / b.square().sum() for a, b in zip(here, there, strict=True)]
    return torch.stack(shares).mean()


def _gram(tokens: Tensor) -> Tensor:
    """`(hidden, hidden)` from `(tokens, hidden)`."""
    return tokens.T @ tokens / len(tokens)
