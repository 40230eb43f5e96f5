"""The last stage of the recipe: a vision tower that hands on more of a picture than it was taught to name.

A tower that learns from tiles of a dozen colours ends with some five directions in which a cell's pixels move
its token, where the same tower untrained has ninety: whatever the language model could be told, such a tower
cannot show. So a fresh tower learns, by regression and without a text or the language model, to see flat
colours as the old one does and everything finer as an untrained one does:

    target(x) = old(m(x)) + c * (fresh(x) - fresh(m(x)))

m(x) is the picture with each token's cell replaced by its mean colour, c makes the second part as large as
`REACH`. What a picture means stays; what has no meaning yet gets room.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from pixeltune.bundled.tiny import curriculum, pictures
from pixeltune.tasks.synthetic import boards

STEPS, RATE = 400, 2e-3
REACH = 12.0
"""Root mean square by which what is finer than a cell moves a feature, per dimension."""
CELL = 32
POSITIONS = 0.3
"""Share of their initial size with which the fresh tower's position embeddings start."""


def widen(model: Any, processor: Any, seed: int, steps: int = STEPS) -> None:
    """Replace the model's tower by one that spans more and sees cards and boards as before. In place.

    Args:
        model: a trained Qwen3-VL model of `architecture.build_model`, in float32; nothing but the tower changes.
        processor: the model's.
        seed: of the fresh tower and of the pictures.
        steps: of the optimiser, three pictures each.
    """
    torch.manual_seed(seed)
    old = model.model.visual.eval().requires_grad_(False)
    fresh = type(old)(old.config).eval().requires_grad_(False)
    torch.nn.init.normal_(fresh.pos_embed.weight, std=POSITIONS)
    draw = np.random.default_rng(seed)
    some = [pictures.varied(draw) for _ in range(8)]
    with torch.no_grad():
        texture = features(fresh, some, processor)[0] - features(fresh, map(means, some), processor)[0]
    scale = REACH / texture.square().mean().sqrt()
    new = copy.deepcopy(fresh).train().requires_grad_(True)
    with torch.no_grad():
        new.merger.linear_fc2.weight *= scale
        new.merger.linear_fc2.bias *= scale
    optimiser = torch.optim.Adam(new.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: 0.5 + 0.5 * math.cos(math.pi * step / steps)
    )
    known = _known(random.Random(f"{seed} widening"))
    bar = tqdm(range(steps), desc="widening", mininterval=5)
    for _ in bar:
        shown = [pictures.varied(draw), next(known), next(known)]
        flat = [means(picture) for picture in shown]
        with torch.no_grad():
            meant, deep = features(old, flat, processor)
            finer = features(fresh, shown, processor)[0] - features(fresh, flat, processor)[0]
            wanted = meant + scale * finer
        got, got_deep = features(new, shown, processor)
        loss = F.mse_loss(got, wanted) / REACH**2 + F.mse_loss(got_deep, deep) / deep.square().mean()
        loss.backward()
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        bar.set_postfix(loss=f"{loss.item():.4f}", refresh=False)
    model.model.visual = new.eval()


def features(tower: Any, shown: Iterable[np.ndarray], processor: Any) -> tuple[Tensor, Tensor]:
    """What a tower makes of pictures: tokens and deep-stack features, each ``(pictures * 64, hidden)``.

    Args:
        tower: Qwen3-VL's.
        shown: ``(256, 256, 3)`` uint8 each.
        processor: of the model.
    """
    canvases = [torch.from_numpy(picture).permute(2, 0, 1) for picture in shown]
    seen = processor.image_processor(images=canvases, return_tensors="pt")
    out = tower(seen["pixel_values"], grid_thw=seen["image_grid_thw"])
    return out.pooler_output, torch.cat(out.deepstack_features)


def _known(rng: random.Random) -> Iterator[np.ndarray]:
    """The pictures that the curriculum shows, cards, boards and neutral ones, without end."""
    while True:
        shown = curriculum.Gallery(rng).pictures
        rng.shuffle(shown)
        yield from shown


def means(picture: np.ndarray) -> np.ndarray:
    """The picture with every cell replaced by its mean colour."""
    side = boards.SIZE // CELL
    cells = picture.reshape(side, CELL, side, CELL, 3).astype(np.float32).mean((1, 3))
    return boards.to_bytes(cells.repeat(CELL, 0).repeat(CELL, 1))
