"""Levels of a tree as one row of tokens: what looks at a single token sees the row, what mixes tokens its nodes.

Projections, norms, experts and MLPs of a text layer run over all nodes at once. Attention and recurrence are
computed level by level, each node behind what its parents left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.cache_utils import Cache

from pixeltune.model.compat.transformers_insides import recurrent_cache_name
from pixeltune.model.shared_prefix.cache import RecurrentCache, repeat
from pixeltune.model.shared_prefix.tree import Level

ATTENTION = "pixeltune_branches"
"""The name under which transformers' models find `attend`. There is no mask of this name, so they make none."""

Left = tuple[Tensor, Tensor] | RecurrentCache
"""What a level leaves to its children in one layer: keys and values, each `(nodes, heads, tokens from the root on,
head_dim)`, or the states of a recurrence."""


class Branches:
    """One pass of some levels of a tree through the text layers.

    Attributes:
        left: by layer, what the last of these levels leaves; filled if it is to be kept.
        keys_values: by layer, keys and values of all tokens, each `(1, heads, tokens, head_dim)`; likewise.
    """

    def __init__(self, levels: Sequence[Level], above: Mapping[int, Left], keep: bool) -> None:
        """
        Args:
            levels: that follow each other.
            above: by layer, what the level above them left; empty if there is none.
            keep: fill `left` and `keys_values`; only without a gradient, whose graph they would hold.
        """
        self.above, self.keep = above, keep
        self.left: dict[int, Left] = {}
        self.keys_values: dict[int, tuple[Tensor, Tensor]] = {}
        self._levels: dict[torch.device, Sequence[Level]] = {levels[0].tokens.device: levels}
        self._masks: dict[tuple[torch.device, int], list[Tensor | None]] = {}

    def levels(self, device: torch.device) -> Sequence[Level]:
        """The levels, on the device of a layer."""
        if device not in self._levels:
            self._levels[device] = [level.to(device) for level in next(iter(self._levels.values()))]
        return self._levels[device]

    def split(self, row: Tensor) -> list[Tensor]:
        """For each level `(nodes, tokens, ...)` of `(tokens, ...)`, padded with whatever token."""
        levels, parts = self.levels(row.device), []
        for level, part in zip(levels, row.split([len(level.tokens) for level in levels]), strict=True):
            padded = part if level.slots is None else part.index_select(0, level.slots.flatten())
            parts.append(padded.view(len(level.parent), -1, *row.shape[1:]))
        return parts

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """`split`, undone."""
        flat = [part.flatten(0, 1) for part in parts]
        levels = self.levels(flat[0].device)
        return torch.cat(
            [
                part if level.places is None else part.index_select(0, level.places)
                for level, part in zip(levels, flat, strict=True)
            ]
        )

    def masks(self, widths: Sequence[int], before: int, device: torch.device) -> list[Tensor | None]:
        """For each level which keys its tokens see, `(nodes or 1, 1, tokens, tokens from the root on)` bool.

        None where causality is all, because nothing is above.

        Args:
            widths: tokens of a node, for each level.
            before: how many tokens are above the first level.
            device: where they are wanted.
        """
        if (device, before) not in self._masks:
            made: list[Tensor | None] = []
            above = before
            for level, width in zip(self.levels(device), widths, strict=True):
                if above == 0:
                    made.append(None)
                else:
                    sees = torch.ones(width, above + width, dtype=torch.bool, device=device).tril(above)[None]
                    if level.above is not None:
                        known = nn.functional.pad(level.above, (0, width), value=True)
                        sees = sees & known[:, None]
                    made.append(sees[:, None])
                above += width
            self._masks[device, before] = made
        return self._masks[device, before]

    @contextmanager
    def now(self, config: Any) -> Iterator[None]:
        """While a module with this config runs, its attention is that of these branches."""
        token, usual = _NOW.set(self), config._attn_implementation
        config._attn_implementation = ATTENTION
        try:
            yield
        finally:
            config._attn_implementation = usual
            _NOW.reset(token)


_NOW: ContextVar[Branches | None] = ContextVar("branches", default=None)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of one layer to the branches of this pass, as transformers calls such a function.

    Args:
        module: the layer's attention.
        query: `(1, heads, tokens, head_dim)`; `key` and `value` likewise, with as many heads as they have.
        attention_mask: none, see `ATTENTION`.
        dropout: always 0, see `SharedPrefix`.
        scaling: of the scores.

    Returns:
        `(1, tokens, heads, head_dim)`, and no weights.
    """
    branches, number = _NOW.get(), module.layer_idx
    stock = AttentionInterface()["sdpa"]
    parts = [
        [part.transpose(1, 2) for part in branches.split(states[0].transpose(0, 1))]
        for states in (query, key, value)
    ]
    above = branches.above.get(number)
    masks = branches.masks(
        [q.shape[2] for q in parts[0]], 0 if above is None else above[0].shape[2], query.device
    )
    out = []
    for level, q, k, v, mask in zip(branches.levels(query.device), *parts, masks, strict=True):
        if above is not None:
            k, v = (torch.cat([repeat(a, level.parent), o], 2) for a, o in zip(above, (k, v), strict=True))
        out.append(stock(module, q, k, v, mask, dropout, scaling, is_causal=mask is None)[0])
        above = k, v
    if branches.keep:
        branches.left[number], branches.keys_values[number] = above, (key, value)
    return branches.join(out)[None], None


AttentionInterface.register(ATTENTION, attend)


def take_part(language_model: nn.Module, kinds: Sequence[str]) -> Callable[[], None]:
    """Let what mixes the tokens of a language model take `branches=`; without it all stays as it is.

    Not the layers around: where they are checkpointed, what they are called with is kept and given again.

    Args:
        language_model: with `layers`, which hand their named arguments on.
        kinds: of each layer, "full_attention" or "linear_attention".

    Returns:
        What gives the modules their own methods back.
    """
    taken: list[tuple[nn.Module, Any]] = []
    for layer, kind in zip(language_model.layers, kinds, strict=False):
        recurrent = kind == "linear_attention"
        mixer = layer.linear_attn if recurrent else layer.self_attn
        taken.append((mixer, mixer.__dict__.get("forward")))  # accelerate's, on a model over several devices
        mixer.forward = _by_level(mixer) if recurrent else _as_branches(mixer)

    def give_back() -> None:
        for module, own in taken:
            del module.forward
            if own is not None:
                module.forward = own

    return give_back


def _as_branches(attention: nn.Module) -> Callable[..., Any]:
    """An attention's forward in which `attend` finds the branches."""
    plain = attention.forward

    def forward(*args: Any, branches: Branches | None = None, **kwargs: Any) -> Any:
        if branches is None:
            return plain(*args, **kwargs)
        with branches.now(attention.config):
            return plain(*args, **kwargs)

    return forward


def _by_level(mixer: nn.Module) -> Callable[..., Any]:
    """A recurrence's forward that starts every node from what its parent left."""
    plain, number, cached_as = mixer.forward, mixer.layer_idx, recurrent_cache_name(mixer)

    def forward(*args: Any, branches: Branches | None = None, **kwargs: Any) -> Any:
        if branches is None:
            return plain(*args, **kwargs)
        hidden = kwargs["hidden_states"]
        left, out = branches.above.get(number), []
        for level, part in zip(branches.levels(hidden.device), branches.split(hidden[0]), strict=True):
            cache = RecurrentCache() if left is None else left.fork(level.parent)
            layers = [cache] * (number + 1)  # of which it takes its own
            out.append(plain(hidden_states=part, **{cached_as: Cache(layers=layers)}))
            left = cache
        if branches.keep:
            branches.left[number] = left
        return branches.join(out)[None]

    return forward
