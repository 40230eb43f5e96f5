"""Which pictures of a batch are the artwork, which the rows' own, and which image tokens are only text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pixeltune.errors import UserError

_REMEDY = (
    "Put the artwork into the conversation: place_dataset(dataset, model.art_block) for training rows, "
    "place(messages, model.art_block) for a prompt (pixeltune.data.placement)"
)


@dataclass(frozen=True)
class Placeholders:
    """The tokens of a model that stand for pieces of pictures.

    Attributes:
        pieces: ids of the artwork, from its first to its last image token (`Preprocessor.piece_ids`).
        image: id of the image token.
        others: ids of the tokens of videos and sounds, which never come with an artwork.
        name: of the image token, for messages.
    """

    pieces: Sequence[int]
    image: int
    others: Sequence[int]
    name: str


@dataclass(frozen=True)
class Pictures:
    """What the image tokens of a batch stand for.

    Attributes:
        order: for each picture, row by row, `(0, 0)` for the artwork or `(1, index)` for one that came with
            the batch.
        text: `(rows, length)` bool: tokens of pictures, videos or sounds that stand for nothing, because a
            model sampled them or somebody typed them; None where there are none.
    """

    order: list[tuple[int, int]]
    text: Tensor | None


def find_pictures(input_ids: Tensor, placeholders: Placeholders, own: Sequence[int] | None) -> Pictures:
    """Find the artwork, which is the first picture of every row, and what the other image tokens stand for.

    Args:
        input_ids: `(rows, length)` int64.
        placeholders: of the model.
        own: image tokens of each picture that came with the batch: the rows' own pictures, or those plus one
            stand-in per row for the artwork (rows made by a processor); stand-ins are replaced. None: none
            came.

    Raises:
        ValueError: a row has no artwork, image tokens in the text before it, or another number of pictures
            than came with the batch.
    """
    ids = input_ids.cpu().numpy()
    runs, total = _runs(ids, placeholders), len(own or ())
    for row, found in enumerate(runs):
        _check_artwork(row, found, placeholders)
    count = sum(len(found) for found in runs)
    for stand_ins in (True, False):
        expected = count if stand_ins else count - len(runs)
        kept = runs if total == expected else _kept(runs, list(own or ()), stand_ins)
        if kept is not None:
            break
    else:
        raise UserError(
            f"the rows have {count} pictures, {len(runs)} of them the artwork, but {total} pictures came "
            f"with the batch. Pass pixel_values for every other picture, and take {placeholders.name} out of "
            "texts; packing and padding_free join rows and are not supported"
        )
    order, index = [], 0
    for found in kept:
        index += stand_ins
        order.append((0, 0))
        order.extend((1, index + picture) for picture in range(len(found) - 1))
        index += len(found) - 1
    text = np.isin(ids, [placeholders.image, *placeholders.others])
    for row, found in enumerate(kept):
        for run in found:
            text[row, run.start : run.stop] = False
    return Pictures(order, torch.from_numpy(text).to(input_ids.device) if text.any() else None)


@dataclass(frozen=True)
class _Run:
    """Tokens of pictures in a row: columns `start` up to `stop`, `images` of them image tokens."""

    start: int
    stop: int
    images: int


def _runs(ids: np.ndarray, placeholders: Placeholders) -> list[list[_Run]]:
    """The runs of picture tokens of each row; one without an image token, such as a line break, is none."""
    piece, image = np.isin(ids, sorted(set(placeholders.pieces))), ids == placeholders.image
    edges = np.diff(np.pad(piece, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows = [
        zip(np.flatnonzero(row == 1).tolist(), np.flatnonzero(row == -1).tolist(), strict=True)
        for row in edges
    ]
    runs = [
        [_Run(start, stop, int(image[row, start:stop].sum())) for start, stop in found]
        for row, found in enumerate(rows)
    ]
    return [[run for run in found if run.images] for found in runs]


def _check_artwork(row: int, runs: list[_Run], placeholders: Placeholders) -> None:
    tokens = len(placeholders.pieces)
    if not runs:
        raise UserError(
            f"row {row} of the batch has no artwork in it, so it would train or show nothing. {_REMEDY}. If "
            "it was there, it was cut off: raise max_length."
        )
    lengths = [run.stop - run.start for run in runs]
    if lengths[0] == tokens:
        return
    if tokens in lengths[1:]:
        raise UserError(
            f"row {row} of the batch has the token {placeholders.name} in the text before the artwork, where "
            "an engine would put the picture: take it out of the text, or break it up with a space"
        )
    raise UserError(
        f"the first picture of row {row} has {lengths[0]} image tokens, but the artwork takes {tokens}. Use "
        f"this model's own art_block, and a max_length that does not cut it. {_REMEDY}."
    )


def _kept(runs: list[list[_Run]], own: list[int], stand_ins: bool) -> list[list[_Run]] | None:
    """The runs that are pictures, where there are more runs than pictures: those as long as the next picture.

    None where the pictures do not come out even, or a row has a second artwork that no picture came for.
    """
    kept, left = [], own
    for found in runs:
        artwork, *others = found
        if stand_ins:
            if not left or left[0] != artwork.images:
                return None
            left = left[1:]
        kept.append([artwork])
        for run in others:
            if left and run.images == left[0]:
                kept[-1].append(run)
                left = left[1:]
            elif run.images == artwork.images:
                return None  # rows were joined
    return None if left else kept
