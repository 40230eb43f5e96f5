"""What the rows of a batch have in common, as a tree.

The levels, from the root: the text before the artwork; the artwork and whatever else all rows share; the
question that the completions of a group share (or the prompt of a chosen and a rejected answer); the rest of
each row.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Level:
    """Nodes of equal depth.

    Attributes:
        tokens: `(tokens,)` int64, where each stands in the flattened batch, `row * length + column`; node after
            node.
        slots: `(nodes, longest node)` int64, which token of `tokens` stands where if the nodes are padded on the
            right, 0 for padding; None if they are equally long.
        places: `(tokens,)` int64, where each token stands among the flattened `slots`; None likewise.
        above: `(nodes, tokens above)` bool, which keys of the levels above are no padding; None if none is.
        parent: `(nodes,)` int64, each node's parent in the level before (zeros in the first level).
        pictures: whether there are image tokens.
        known: all that the states depend on beside the weights (token ids, the picture), where that is known
            and no gradient is wanted; else None.
    """

    tokens: Tensor
    slots: Tensor | None
    places: Tensor | None
    above: Tensor | None
    parent: Tensor
    pictures: bool
    known: Hashable | None

    def to(self, device: torch.device) -> Level:
        """The same on another device."""
        tensors = {name: part for name, part in vars(self).items() if isinstance(part, Tensor)}
        return replace(self, **{name: part.to(device) for name, part in tensors.items()})


@dataclass(frozen=True)
class Tree:
    """A batch without its repetitions.

    Attributes:
        levels: from the root down.
        where: `(rows, length)` int64, where each token of the batch stands in the concatenated tokens of all
            levels; for padding the number after the last.
    """

    levels: tuple[Level, ...]
    where: Tensor

    @property
    def tokens(self) -> int:
        """Tokens to compute."""
        return sum(len(level.tokens) for level in self.levels)


def grow(
    input_ids: Tensor,
    attention_mask: Tensor | None,
    image_token_id: int,
    image_tokens: int,
    even: bool = False,
    picture: Hashable | None = None,
) -> Tree | None:
    """Find out what the rows of a batch share.

    Args:
        input_ids: `(rows, length)` int64.
        attention_mask: `(rows, length)`, 0 for padding on either side; None for no padding.
        image_token_id: the token that stands for a piece of a picture; the first run of it is the artwork.
        image_tokens: how many of them the artwork takes.
        even: the nodes of every level but the last must have equal lengths, because padding would change a
            recurrent state.
        picture: identifies the picture if no gradient is wanted. The artwork then is a level of its own, to
            be used again for other rows.

    Returns:
        None if nothing would be saved or padding stands inside a row.
    """
    ids = input_ids.cpu().numpy()
    rows, length = ids.shape
    mask = np.ones(ids.shape, bool) if attention_mask is None else attention_mask.cpu().numpy().astype(bool)
    start, lengths = mask.argmax(1), mask.sum(1)
    columns = np.arange(length)
    if not np.array_equal(mask, (columns >= start[:, None]) & (columns < (start + lengths)[:, None])):
        return None
    texts = np.take_along_axis(ids, np.minimum(start[:, None] + columns, length - 1), 1)
    texts = np.where(columns < lengths[:, None], texts, -1)
    order = np.lexsort(texts.T[::-1])  # rows that begin alike are now neighbours
    texts, start, lengths = texts[order], start[order], lengths[order]
    alike = np.minimum.accumulate(texts[1:] == texts[:-1], 1).sum(1)  # tokens shared with the next row
    # The last token stays a row's own, also where whole rows are equal.
    alike = np.minimum(alike, np.minimum(lengths[1:], lengths[:-1]) - 1)

    before = (texts == image_token_id).argmax(1) - 1  # the picture's start token belongs to the picture
    through = before + image_tokens + 2  # with the tokens that stand around it
    # Two rows' own pictures may differ where their tokens do not, so nothing is shared from there on.
    own = (texts == image_token_id) & (columns >= through[:, None])
    alike = np.minimum(alike, np.where(own.any(1), own.argmax(1), length)[1:])
    common = np.maximum(_common(alike, before), before) if picture is None else through
    groups = np.maximum(_groups(alike, common), common)
    cuts = [np.full(rows, cut.min()) if even else cut for cut in (before, common, groups)]
    tree = _tree(texts, [*cuts, lengths], alike, order, start, image_token_id, picture)
    return tree if tree.tokens < rows * length else None


def _common(alike: np.ndarray, before: np.ndarray) -> np.ndarray:
    """For each row, how much all rows with the same text before the artwork have in common."""
    first = np.concatenate([[True], alike < before[:-1]])
    return _shared(first, alike, np.zeros_like(before))


def _shared(first: np.ndarray, alike: np.ndarray, alone: np.ndarray) -> np.ndarray:
    """For each row, what its cluster of neighbouring rows shares, or `alone` in a cluster of one.

    Args:
        first: `(rows,)` bool, whether a row begins a cluster.
        alike: `(rows - 1,)` tokens shared with the next row.
        alone: `(rows,)`.
    """
    inside = np.where(first[1:], np.iinfo(np.int64).max, alike)  # pairs within a cluster
    cluster = first.cumsum() - 1
    least = np.minimum.reduceat(np.append(inside, np.iinfo(np.int64).max), np.flatnonzero(first))
    shared = least[cluster]
    return np.where(shared == np.iinfo(np.int64).max, alone, shared)


def _groups(alike: np.ndarray, common: np.ndarray) -> np.ndarray:
    """For each row, what its group shares, with the groups that leave the fewest tokens to compute."""
    best, fewest = common, 0
    for least in np.unique(alike):
        first = np.concatenate([[True], alike < least])
        shared = np.maximum(_shared(first, alike, common), common)
        saved = (shared - common).sum() - (shared - common)[first].sum()
        if saved > fewest:
            best, fewest = shared, saved
    return best


def _tree(
    texts: np.ndarray,
    cuts: list[np.ndarray],
    alike: np.ndarray,
    order: np.ndarray,
    start: np.ndarray,
    image_token_id: int,
    picture: Hashable | None,
) -> Tree:
    """A level for the tokens up to each of `cuts`; `order` says which row of the batch each text is."""
    rows, length = texts.shape
    where, levels, offset = np.full((rows, length), -1), [], 0
    begin, node, above = np.zeros(rows, np.int64), np.zeros(rows, np.int64), np.ones((1, 0), bool)
    for depth, end in enumerate(cuts):
        width, last = int((end - begin).max()), depth == len(cuts) - 1
        if width == 0:
            continue
        first = np.concatenate([[True], (alike < end[1:]) | (end[1:] != end[:-1]) | last])
        heads = np.flatnonzero(first)  # one row for each node
        parent, node = node[heads], first.cumsum() - 1
        ticks = np.arange(width)
        valid = ticks < (end - begin)[:, None]
        column = np.minimum((start + begin)[:, None] + ticks, length - 1)
        real = valid[heads]
        number = real.cumsum().reshape(real.shape) - 1  # of each token of the level
        row, tick = np.nonzero(valid)
        where[order[row], column[row, tick]] = offset + number[node[row], tick]
        source = order[heads][:, None] * length + column[heads]
        above = above[parent]
        pieces = (
            np.take_along_axis(texts, np.minimum(begin[:, None] + ticks, length - 1), 1) == image_token_id
        )
        known = None
        if depth == 0 or (depth == 1 and picture is not None):
            head = np.where(np.arange(end.max()) < end[:, None], texts[:, : end.max()], -1)[heads]
            known = (depth and picture, head.shape, head.tobytes())
        padded = not real.all()
        parts = (
            source[real],
            np.where(real, number, 0) if padded else None,
            np.flatnonzero(real) if padded else None,
            None if above.all() else above,
            parent,
        )
        tensors = [None if part is None else torch.from_numpy(part) for part in parts]
        levels.append(Level(*tensors, bool((pieces & valid).any()), known))
        above = np.concatenate([above, real], 1)
        offset, begin = offset + int(real.sum()), end
    where[where < 0] = offset
    return Tree(tuple(levels), torch.from_numpy(where))
