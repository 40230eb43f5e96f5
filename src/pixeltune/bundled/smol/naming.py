"""Stage one: a cell's token becomes the input embedding of the word that stands there. No language model runs.

    loss = |f - e|^2 / |e|^2  +  cross-entropy of f among the embeddings of all words

f is the token that the tower makes of a cell, e the embedding that it should be. Shapes are named like words:
a shape's first cells say its colour and its kind, its last ones where it is; empty cells say a new line.
Textures have no name; there the target is what an untrained tower makes of them, as `tiny.widening` does it.
Otherwise the tower would forget how to hand on what has no name yet, and nothing new could be painted for it.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pixeltune.bundled.smol import pictures
from pixeltune.bundled.smol.pictures import COLOURS, DIGITS, PLACES, SHAPES, SIDE, WORDS, Thing

WRITTEN, SCENES, TEXTURES = 4, 1, 1
"""Pictures of a step."""
EMPTY = "\n"
REACH = 2.0
"""Size of a texture's tokens, against a word's."""
SHARP = 20.0
"""Factor of cosines in the cross-entropy."""

NAMES = [
    *dict.fromkeys(
        [*WORDS, *DIGITS, *COLOURS, *SHAPES, *(part for place in PLACES for part in place.split())]
    ),
    EMPTY,
]
"""All that a cell can say."""


class Names:
    """Input embeddings of all `NAMES`, in their order, ``(names, hidden)`` float32, and their mean size."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        ids = []
        for name in NAMES:
            spelled = name if name in (EMPTY, *DIGITS) else f" {name}"
            (one,) = tokenizer(spelled)["input_ids"]
            ids.append(one)
        self.embeddings = model.get_input_embeddings().weight.detach()[ids]
        self.size = self.embeddings.square().mean().sqrt()
        self.number = {name: number for number, name in enumerate(NAMES)}


def cells(shown: list[Thing]) -> list[str | None]:
    """What each cell of a scene says, in raster order."""
    said: list[str | None] = [None] * SIDE**2
    for thing in shown:
        down, side = thing.place.split()
        last = thing.size - 1
        for row, column, name in (
            (0, 0, thing.colour),
            (0, last, thing.shape),
            (last, 0, down),
            (last, last, side),
        ):
            said[SIDE * (thing.row + row) + thing.column + column] = name
    return said


def text(rng: random.Random) -> list[str | None]:
    """Words for the cells of a picture: full, or a first few, with a digit now and then."""
    count = SIDE**2 if rng.random() < 0.7 else rng.randint(1, SIDE**2)
    one = [rng.choice(DIGITS if rng.random() < 0.08 else WORDS) for _ in range(count)]
    return one + [None] * (SIDE**2 - count)


def tokens(tower: Any, shown: list[np.ndarray], processor: Any) -> Tensor:
    """What the tower makes of pictures, ``(tokens of all, hidden)`` float32."""
    canvases = [torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1) for picture in shown]
    seen = processor.image_processor(images=canvases, return_tensors="pt")
    out: Tensor = tower(seen["pixel_values"], grid_thw=seen["image_grid_thw"]).pooler_output
    return out


class Textures:
    """What an untrained tower makes of pictures, each dimension around 0, as large as `REACH` says."""

    def __init__(self, fresh: Any, processor: Any, size: Tensor) -> None:
        self.fresh, self.processor = fresh, processor
        rng = random.Random("textures")
        with torch.no_grad():
            some = tokens(fresh, [pictures.texture(rng) for _ in range(16)], processor)
        self.middle = some.mean(0)
        self.scale = REACH * size / (some - self.middle).square().mean().sqrt()

    def __call__(self, shown: list[np.ndarray]) -> Tensor:
        """``(tokens of all, hidden)`` float32."""
        with torch.no_grad():
            return (tokens(self.fresh, shown, self.processor) - self.middle) * self.scale


def loss(
    tower: Any,
    processor: Any,
    names: Names,
    textures: Textures,
    rng: random.Random,
    counts: tuple[int, int, int] = (WRITTEN, SCENES, TEXTURES),
) -> Tensor:
    """One step's loss.

    Args:
        tower: in training.
        processor: the model's.
        names: what cells can say.
        textures: what cells without a name should become.
        rng: of this step.
        counts: pictures of words, of shapes and of textures.
    """
    written, scenes, unlike_all = counts
    said = [text(rng) for _ in range(written)]
    seen = [pictures.things(rng, rng.randint(1, 4)) for _ in range(scenes)]
    unnamed = [pictures.texture(rng) for _ in range(unlike_all)]
    shown = [pictures.words(rng, one) for one in said] + [pictures.scene(rng, one) for one in seen]
    made = tokens(tower, shown + unnamed, processor)
    wanted = torch.tensor([names.number[name or EMPTY] for one in [*said, *map(cells, seen)] for name in one])
    named, others = made[: len(wanted)], made[len(wanted) :]
    weight = torch.where(wanted == names.number[EMPTY], 0.2, 1.0)
    far = (named - names.embeddings[wanted]).square().mean(1) / names.size**2
    logits = SHARP * F.normalize(named, dim=1) @ F.normalize(names.embeddings, dim=1).T
    unlike = F.cross_entropy(logits, wanted, reduction="none")
    of_names = (weight * (far + unlike)).sum() / weight.sum()
    of_textures = F.mse_loss(others, textures(unnamed)) / (REACH * names.size) ** 2
    return of_names + of_textures


def fine_loss(tower: Any, processor: Any, textures: Textures, rng: random.Random, count: int) -> Tensor:
    """How unlike an untrained tower's are the changes of tokens that what is finer than a cell makes.

    Textures of any contrast, down to a twentieth, beside themselves with every cell of one colour: near a plain
    picture too the tower is to tell apart what an untrained one does.

    Args:
        tower: in training.
        processor: the model's.
        textures: what an untrained tower makes of them.
        rng: of this step.
        count: of textures.

    Returns:
        Mean over textures of ``|change - wanted change|^2 / |wanted change|^2``.
    """
    strong = [pictures.texture(rng) for _ in range(count)]
    shown = [pictures.faint(picture, 0.05 ** rng.random()) for picture in strong]
    both = [*shown, *map(pictures.flat, shown)]
    made, wanted = (part.view(2, count, -1) for part in (tokens(tower, both, processor), textures(both)))
    change, right_change = made[0] - made[1], wanted[0] - wanted[1]
    return ((change - right_change).square().mean(1) / right_change.square().mean(1)).mean()


def right(tower: Any, processor: Any, names: Names, rng: random.Random, count: int) -> dict[str, float]:
    """Share of cells of fresh pictures whose nearest embedding is that of their name.

    Args:
        tower: in evaluation.
        processor: the model's.
        names: what cells can say.
        rng: of the pictures.
        count: pictures of words, and of shapes.

    Returns:
        Of words and digits, and of the four cells of each shape that speak.
    """
    found = {}
    for kind in ("words", "shapes"):
        said, shown = [], []
        for _ in range(count):
            if kind == "words":
                said.append(text(rng))
                shown.append(pictures.words(rng, said[-1]))
            else:
                seen = pictures.things(rng, rng.randint(1, 4))
                said.append(cells(seen))
                shown.append(pictures.scene(rng, seen))
        with torch.no_grad():
            made = F.normalize(tokens(tower, shown, processor), dim=1)
        nearest = (made @ F.normalize(names.embeddings, dim=1).T).argmax(1).tolist()
        wanted = [name for one in said for name in one]
        hits = [NAMES[near] == name for near, name in zip(nearest, wanted, strict=True) if name]
        found[kind] = sum(hits) / len(hits)
    return found
