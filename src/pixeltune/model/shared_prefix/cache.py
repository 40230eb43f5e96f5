"""What a text layer remembers of the nodes above, so that it can be read again and forked."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicLayer, LinearAttentionLayer


class KeyValueCache(DynamicLayer):
    """Keys and values of the nodes above, `(nodes, heads, tokens, head_dim)`, and of one level with them.

    Unlike a stock layer it can be read again with the same result, as gradient checkpointing does.
    """

    def __init__(self, past: tuple[Tensor, Tensor] | None = None) -> None:
        super().__init__()
        self.past, self.states, self.recording = past, None, True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any):
        states = (key_states, value_states)
        if self.past is not None:
            states = tuple(torch.cat(pair, dim=-2) for pair in zip(self.past, states, strict=True))
        if self.recording:
            self.states = states
        return states

    def get_seq_length(self) -> int:
        return 0 if self.past is None else self.past[0].shape[-2]

    def fork(self, parent: Tensor) -> KeyValueCache:
        return KeyValueCache(tuple(_repeat(state, parent) for state in self.states))


class RecurrentCache(LinearAttentionLayer):
    """The same for a recurrent layer, whose two states are assigned where the stock layer copies in place."""

    def __init__(self, conv: Tensor | None = None, recurrent: Tensor | None = None) -> None:
        super().__init__()
        self.conv_states, self.recurrent_states = {0: conv}, {0: recurrent}
        self.has_previous_state = {0: conv is not None}
        self.record_past = True  # otherwise a level of one token would be written into the state, in place
        self.states, self.recording = {}, True

    def update_conv_state(
        self, conv_states: Tensor, state_idx: int = 0, conv_kernel_size: int | None = None, **kwargs: Any
    ) -> Tensor:
        if self.conv_states[0] is None:
            conv_states = nn.functional.pad(conv_states, (conv_kernel_size, 0))
        else:
            conv_states = torch.cat([self.conv_states[0], conv_states], dim=-1)
        if self.recording:
            self.states["conv"] = conv_states[..., -conv_kernel_size:]
        return conv_states

    def update_recurrent_state(self, recurrent_states: Tensor, state_idx: int = 0, **kwargs: Any) -> Tensor:
        if self.recording:
            self.states["recurrent"] = recurrent_states
        return recurrent_states

    def fork(self, parent: Tensor) -> RecurrentCache:
        return RecurrentCache(**{name: _repeat(state, parent) for name, state in self.states.items()})


def _repeat(state: Tensor, parent: Tensor) -> Tensor:
    """A state for each child; a single parent's is not copied."""
    if len(state) == 1:
        return state.expand(len(parent), *state.shape[1:])
    return state.index_select(0, parent.to(state.device))  # layers may lie on several devices
