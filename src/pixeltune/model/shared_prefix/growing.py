"""Keys and values of a generation, kept in room that is made ahead: a token is written, nothing is copied.

transformers' own `DynamicLayer` makes both anew for every token, and an allocator that gives such pieces back to the
kernel spends much of a generation there.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

AHEAD = 64  # tokens of room at least, whenever there is none left


class GrowingLayer(DynamicLayer):
    """`DynamicLayer` whose keys and values, each `(rows, heads, tokens, size)`, are the beginning of larger tensors.

    Whatever else assigns `keys` and `values` (cropping, another order of rows) is seen at the next `update`, which then
    makes room anew.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.room: tuple[Tensor, Tensor] | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """The keys and values so far, the new ones, `(rows, heads, new tokens, size)`, behind them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        before, new = self.get_seq_length(), key_states.shape[-2]
        if not self._has_room(before + new, key_states):
            self.room = (
                _larger(self.keys, key_states, before + new),
                _larger(self.values, value_states, before + new),
            )
        assert self.room is not None
        for room, states in zip(self.room, (key_states, value_states), strict=True):
            room[:, :, before : before + new] = states
        self.keys, self.values = (room[:, :, : before + new] for room in self.room)
        return self.keys, self.values

    def _has_room(self, tokens: int, states: Tensor) -> bool:
        """Whether the keys still lie where they were written, with room for so many tokens."""
        if self.room is None or self.keys is None or self.keys.numel() == 0:
            return False
        room = self.room[0]
        same = self.keys.data_ptr() == room.data_ptr() and len(room) == len(states) == len(self.keys)
        return same and room.shape[-2] >= tokens


def make_growing(cache: Any) -> None:
    """Give an empty cache of transformers layers of this kind, in place of `DynamicLayer` itself.

    Those of other kinds (they look at a window, or are recurrent) stay as they are, and so does a cache of another
    kind.
    """
    if type(cache) is DynamicCache and cache.get_seq_length() == 0:
        cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]


def can_leave(cache: Any) -> bool:
    """Whether rows can be taken out of every layer (`batch_select_indices`); recurrent ones have no way to."""
    return cache is not None and all(isinstance(layer, DynamicLayer) for layer in cache.layers)


def _larger(kept: Tensor, states: Tensor, tokens: int) -> Tensor:
    """Room for the tokens and half as many again, with what is kept at its beginning."""
    rows, heads, _, size = states.shape
    room = states.new_empty(rows, heads, tokens + max(AHEAD, tokens // 2), size)
    if kept.numel():
        room[:, :, : kept.shape[-2]] = kept
    return room
