"""Which pictures of a batch are the artwork."""

from __future__ import annotations

import torch
from torch import Tensor

from pixeltune.errors import UserError

_REMEDY = (
    "Put the artwork into the conversation: place_dataset(dataset, model.art_block) for training rows, "
    "place(messages, model.art_block) for a prompt (pixeltune.data.placement)"
)


def pictures_per_row(input_ids: Tensor, pieces: list[int]) -> list[int]:
    """Count the pictures in each row and check that the first one has the artwork's number of tokens.

    Args:
        input_ids: `(rows, length)` int64.
        pieces: token ids of the artwork, from its first to its last image token (`Preprocessor.piece_ids`); a
        run of
            such tokens is one picture.

    Returns:
        The number of pictures of each row, the artwork included.

    Raises:
        ValueError: a row has no picture, or its first picture has another number of tokens.
    """
    kinds, tokens = torch.tensor(sorted(set(pieces)), device=input_ids.device), len(pieces)
    piece = torch.isin(input_ids, kinds)
    starts = piece.clone()
    starts[:, 1:] &= ~piece[:, :-1]
    pictures = starts.sum(-1).tolist()
    first = (piece & (starts.cumsum(-1) == 1)).sum(-1).tolist()
    for row, (count, length) in enumerate(zip(pictures, first, strict=True)):
        if count == 0:
            raise UserError(
                f"row {row} of the batch has no artwork in it, so it would train or show nothing. "
                f"{_REMEDY}. If it was there, it was cut off: raise max_length."
            )
        if length != tokens:
            raise UserError(
                f"the first picture of row {row} has {length} image tokens, but the artwork takes "
                f"{tokens}. Use this model's own art_block, and a max_length that does not cut it. "
                f"{_REMEDY}."
            )
    return pictures


def arrange(pictures: list[int], own: int) -> list[tuple[int, int]]:
    """The order of a batch's pictures: in each row the artwork first, then the row's own pictures.

    Args:
        pictures: pictures per row, the artwork included.
        own: number of pictures that came with the batch. Either the rows' own ones, or those plus one
            stand-in per row for the artwork (rows made by a processor); stand-ins are replaced.

    Returns:
        For each picture `(0, 0)` for the artwork or `(1, index)` for a picture of the batch.

    Raises:
        ValueError: the number of pictures does not fit the rows.
    """
    rows, total = len(pictures), sum(pictures)
    if own not in (total, total - rows):
        raise UserError(
            f"the rows have {total} pictures, {rows} of them the artwork, but {own} pictures came with the "
            "batch. Pass pixel_values for every other picture; packing and padding_free join rows and are "
            "not supported"
        )
    order, index = [], 0
    for count in pictures:
        index += own == total  # skip the stand-in
        order.append((0, 0))
        order.extend((1, index + picture) for picture in range(count - 1))
        index += count - 1
    return order
