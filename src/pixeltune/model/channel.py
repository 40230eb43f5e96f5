"""What a vision tower spans: whether a model can be told anything new by a picture.

A picture is a channel from pixels to the vectors that the language model reads. On a tower that was raised on
few kinds of pictures the channel is narrow, and what the language model could be told cannot be painted,
whatever the rate, the start or the size. These figures say so before anything is trained.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from pixeltune.model.families import encode_pictures, vision_tower
from pixeltune.model.preprocessing import Preprocessor
from pixeltune.picture.settings import DEFAULT_TOKENS

WIDE = 90
"""Directions of a cell that sufficed, on the bundled model, to paint what it had never been taught; 48 did
not.
"""

CELLS = 2
"""Image tokens whose Jacobian is taken."""

DIRECTIONS = 256
"""Most output directions of a Jacobian that are looked at; wider features are projected onto so many."""

PICTURES = 8
"""Random pictures over which features are compared."""

STEPS, RATE = 60, 0.02  # of the search for pixels that reach given features


@dataclass(frozen=True)
class Channel:
    """What a vision tower hands on of a picture's pixels. Ranks are entropy ranks, see `entropy_rank`."""

    image_tokens: int
    hidden: int
    """Numbers in a feature, as the language model takes it."""
    jacobian_rank_noise: float
    """Directions in which the pixels of a cell move its own token, at a picture of noise; mean over cells."""
    jacobian_rank_grey: float
    jacobian_condition_noise: float
    """Largest over median singular value."""
    feature_rank: float
    """Directions in which features differ over random pictures."""
    feature_condition: float
    feature_norm: float
    text_norm: float
    """Mean norms of an image token's vector and of a text token's embedding."""
    residual: float
    """Share of a random change of all features, as large as half of them, that pixels cannot reach; 0 is all
    of it reached, 1 is nothing."""

    @property
    def wide(self) -> bool:
        """Whether the figure that sufficed elsewhere is reached. Evidence of one small model, and no promise."""
        return self.jacobian_rank_noise >= min(WIDE, 0.45 * self.hidden)

    def as_dict(self) -> dict[str, float]:
        """Plain numbers, as JSON."""
        return asdict(self)

    def __str__(self) -> str:
        rank, grey = self.jacobian_rank_noise, self.jacobian_rank_grey
        verdict = "wide enough for new behaviour, as far as is known" if self.wide else "narrow"
        lines = (
            ("directions", f"{rank:.1f} of {self.hidden} a token at noise, {grey:.1f} at grey: {verdict}"),
            (
                "condition",
                f"{self.jacobian_condition_noise:.3g}, largest over median singular value at noise",
            ),
            (
                "features",
                f"rank {self.feature_rank:.1f} over random pictures, condition {self.feature_condition:.3g}",
            ),
            ("size", f"{self.feature_norm:.3g} for an image token, {self.text_norm:.3g} for a text token"),
            ("reach", f"{1 - self.residual:.0%} of a random change of all features can be painted"),
        )
        return "\n".join(f"{name:10}  {text}" for name, text in lines)


def channel(model: Any, processor: Any, image_tokens: int = DEFAULT_TOKENS, seed: int = 0) -> Channel:
    """Measure the vision tower of a supported model. Half a minute on the bundled one; no text is read.

    Args:
        model: a stock model; its weights get no gradient and are left as they are.
        processor: the model's.
        image_tokens: of the picture, the nearest size that the processor does not resize.
        seed: of pictures, cells and directions.

    Raises:
        UserError: the family or the size is not supported.
    """
    preprocessor = Preprocessor(processor)
    backbone, _ = vision_tower(model)
    height, width = preprocessor.size_for_tokens(image_tokens)
    device = next(backbone.parameters()).device
    draw = torch.Generator().manual_seed(seed)

    def look(picture: Tensor) -> Tensor:
        """Features ``(tokens, hidden)`` float32 of a picture ``(3, height, width)`` in [0, 1]."""
        pooled = encode_pictures(backbone, **preprocessor.pixel_values(picture)).pooler_output
        return pooled[0].reshape(-1, pooled[0].shape[-1]).float()

    wanted = [(p, p.requires_grad) for p in model.parameters()]
    try:
        for parameter, _ in wanted:
            parameter.requires_grad_(False)
        noise = torch.rand(3, height, width, generator=draw).to(device)
        grey = torch.full_like(noise, 0.5)
        with torch.no_grad():
            first = look(noise)
            others = [look(torch.rand(3, height, width, generator=draw).to(device)) for _ in range(PICTURES)]
        tokens, hidden = first.shape
        cells = torch.randperm(tokens, generator=draw)[:CELLS].tolist()
        at_noise = [torch.linalg.svdvals(_jacobian(look, noise, cell, draw)) for cell in cells]
        at_grey = [torch.linalg.svdvals(_jacobian(look, grey, cell, draw)) for cell in cells]
        seen = torch.cat([first, *others])
        spread = torch.linalg.svdvals(seen - seen.mean(0))
        change = torch.randn(first.shape, generator=draw).to(device)
        change *= 0.5 * first.norm() / change.norm()
        residual = _residual(look, noise, first + change)
    finally:
        for parameter, gradient in wanted:
            parameter.requires_grad_(gradient)
    text = model.get_input_embeddings().weight.detach().float()
    return Channel(
        image_tokens=tokens,
        hidden=hidden,
        jacobian_rank_noise=_mean(map(entropy_rank, at_noise)),
        jacobian_rank_grey=_mean(map(entropy_rank, at_grey)),
        jacobian_condition_noise=_mean(map(_condition, at_noise)),
        feature_rank=entropy_rank(spread),
        feature_condition=_condition(spread),
        feature_norm=float(seen.norm(dim=-1).mean()),
        text_norm=float(text.norm(dim=-1).mean()),
        residual=residual,
    )


def entropy_rank(singular_values: Tensor) -> float:
    """How many directions carry the energy: the exponential of the entropy of its shares (Roy & Vetterli,
    2007).

    Args:
        singular_values: any shape; the shares are those of their squares. k equal ones give k.
    """
    energy = singular_values.double().flatten() ** 2
    shares = energy / energy.sum().clamp_min(1e-300)
    shares = shares[shares > 0]
    return float(torch.exp(-(shares * shares.log()).sum()))


def _condition(singular_values: Tensor) -> float:
    return float(singular_values.max() / singular_values.median().clamp_min(1e-30))


def _jacobian(look: Callable[[Tensor], Tensor], picture: Tensor, token: int, draw: torch.Generator) -> Tensor:
    """How a token's feature moves with the pixels that move it most, its own cell's: ``(directions,
    pixels)``.

    Which pixels those are differs between families; here they are the square around the centre of the
    gradient, a token's share of the picture's area.
    """
    picture = picture.clone().requires_grad_()
    features = look(picture)
    tokens, hidden = features.shape
    basis = torch.eye(hidden, device=features.device)
    if hidden > DIRECTIONS:
        random = torch.randn(hidden, DIRECTIONS, generator=draw).to(features.device)
        basis = torch.linalg.qr(random).Q.T
    (gradient,) = torch.autograd.grad(features[token].pow(2).sum(), picture, retain_graph=True)
    top, left, side = _own_cell(gradient, tokens)
    rows = []
    for direction in basis:
        (gradient,) = torch.autograd.grad(features[token], picture, direction, retain_graph=True)
        rows.append(gradient[:, top : top + side, left : left + side].flatten())
    return torch.stack(rows).float()


def _own_cell(gradient: Tensor, tokens: int) -> tuple[int, int, int]:
    """Top, left and side of the square of a token's area in which the gradient has most of its energy."""
    height, width = gradient.shape[1:]
    side = max(1, round((height * width / tokens) ** 0.5))
    energy = torch.nn.functional.avg_pool2d((gradient**2).sum(0)[None, None], side, stride=side)[0, 0]
    best = int(energy.argmax())
    row, column = divmod(best, energy.shape[1])
    return row * side, column * side, side


def _residual(look: Callable[[Tensor], Tensor], start: Tensor, wanted: Tensor) -> float:
    """Distance to the wanted features that is left after `STEPS` steps of Adam on pixels, as a share."""
    picture = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([picture], lr=RATE, eps=1e-16)
    with torch.no_grad():
        before = (look(picture) - wanted).norm()
    for _ in range(STEPS):
        optimiser.zero_grad()
        (look(picture) - wanted).pow(2).sum().backward()
        optimiser.step()
        with torch.no_grad():
            picture.clamp_(0, 1)
    with torch.no_grad():
        return float((look(picture) - wanted).norm() / before)


def _mean(values: Any) -> float:
    values = list(values)
    return sum(values) / len(values)
