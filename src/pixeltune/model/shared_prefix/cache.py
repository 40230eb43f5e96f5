"""What a recurrent text layer remembers of the nodes above, so that it can be read again and forked."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import LinearAttentionLayer


class RecurrentCache(LinearAttentionLayer):
    """Its two states, each `(nodes, ...)`, which are assigned where the stock layer copies in place."""

    def __init__(self, conv: Tensor | None = None, recurrent: Tensor | None = None) -> None:
        super().__init__()
        self.conv_states, self.recurrent_states = {0: conv}, {0: recurrent}
        self.has_previous_state = {0: conv is not None}
        self.record_past = True  # otherwise a level of one token would be written into the state, in place
        self.states: dict[str, Tensor] = {}

    def update_conv_state(
        self, conv_states: Tensor, state_idx: int = 0, conv_kernel_size: int | None = None, **kwargs: Any
    ) -> Tensor:
        if self.conv_states[0] is None:
            conv_states = nn.functional.pad(conv_states, (conv_kernel_size, 0))
        else:
            conv_states = torch.cat([self.conv_states[0], conv_states], dim=-1)
        self.states["conv"] = conv_states[..., -conv_kernel_size:]
        return conv_states

    def update_recurrent_state(self, recurrent_states: Tensor, state_idx: int = 0, **kwargs: Any) -> Tensor:
        self.states["recurrent"] = recurrent_states
        return recurrent_states

    def fork(self, parent: Tensor) -> RecurrentCache:
        """For each child, what its parent left."""
        return RecurrentCache(**{name: repeat(state, parent) for name, state in self.states.items()})


def repeat(state: Tensor, parent: Tensor) -> Tensor:
    """A state for each child; a single parent's is not copied."""
    if len(state) == 1:
        return state.expand(len(parent), *state.shape[1:])
    return state.index_select(0, parent)
