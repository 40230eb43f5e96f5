"""The shared prefix: what several rows of a batch begin with is computed once, exactly.

Every node of a batch's tree (`pixeltune.tree`) goes through the language model once and reads the keys and
values of the nodes above it; where nodes fork, autograd sums their gradients. The text before the artwork
does not depend on pixels: it needs no gradient and, while it stays the same, is kept from step to step.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, LinearAttentionLayer
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.utils import logging

from pixeltune.tree import Level, Tree, grow

logger = logging.get_logger(__name__)

LAYERS = {"full_attention", "linear_attention"}
"""Kinds of text layers whose states can be forked."""


class _Keys(DynamicLayer):
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

    def fork(self, parent: Tensor) -> _Keys:
        return _Keys(tuple(_repeat(state, parent) for state in self.states))


class _State(LinearAttentionLayer):
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

    def fork(self, parent: Tensor) -> _State:
        return _State(**{name: _repeat(state, parent) for name, state in self.states.items()})


def _repeat(state: Tensor, parent: Tensor) -> Tensor:
    """A state for each child; a single parent's is not copied."""
    return state.expand(len(parent), *state.shape[1:]) if len(state) == 1 else state.index_select(0, parent)


@dataclass(frozen=True)
class _Batch:
    """What the backbone hands to its language model, flattened to one axis of tokens.

    Attributes:
        embeds: `(rows * length, hidden)`.
        positions: `(3 or 4, rows * length)`.
        seen: `(rows * length,)` bool, where pictures are; None in families without deep-stack features.
        deep: deep-stack features, `(pieces of pictures, hidden)` for each of the first layers.
    """

    embeds: Tensor
    positions: Tensor
    seen: Tensor | None
    deep: list[Tensor]

    def take(self, level: Level) -> dict[str, Any]:
        """The arguments for one level of a tree."""
        taken = {
            "inputs_embeds": self.embeds.index_select(0, level.source.flatten()).view(
                *level.source.shape, -1
            ),
            "position_ids": self.positions[:, level.source],
        }
        if self.seen is not None and level.pictures:
            pieces = self.seen[level.source] & level.valid
            rank = (self.seen.cumsum(0) - 1)[level.source[pieces]]
            taken["visual_pos_masks"] = pieces
            taken["deepstack_visual_embeds"] = [features.index_select(0, rank) for features in self.deep]
        return taken


class SharedPrefix:
    """Runs a language model over a tree instead of a batch, and keeps what will not change."""

    def __init__(self, language_model: nn.Module) -> None:
        """
        Args:
            language_model: the text model in the backbone, which takes `inputs_embeds`, `position_ids`,
                `attention_mask` and `past_key_values`. Its `forward` is wrapped until `remove` is called; a
                call without `shared_prefix` stays as it is.
        """
        self.language_model = language_model
        self.plain = language_model.forward
        self.kept: dict[int, tuple[Hashable, Tensor, Cache]] = {}  # by depth: what it depends on, its states
        config = language_model.config
        self.kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
        language_model.forward = self.forward

    def remove(self) -> None:
        """Give the language model its own forward back."""
        del self.language_model.forward

    def tree(
        self,
        input_ids: Tensor,
        image_token_id: int,
        image_tokens: int,
        picture: Callable[[], Hashable],
        kwargs: dict[str, Any],
    ) -> Tree | None:
        """The tree of a batch; None where it is computed plainly, because nothing is shared or the caller
        wants what only a plain pass gives: all hidden states, attention weights, a cache to go on with.

        Args:
            input_ids: `(rows, length)` int64.
            image_token_id: the token that stands for a piece of a picture.
            image_tokens: how many of them the artwork takes.
            picture: identifies the picture, see `ArtLayer.shown`.
            kwargs: the other arguments of the backbone.
        """
        config, mask = self.language_model.config, kwargs.get("attention_mask")
        everything = ("output_hidden_states", "output_attentions")
        if len(input_ids) == 1 or any(kwargs.get(n, getattr(config, n, False)) for n in everything):
            return None
        if mask is not None and (not isinstance(mask, Tensor) or mask.ndim != 2):
            return None
        cache = kwargs.get("past_key_values")
        training = self.language_model.training and torch.is_grad_enabled()
        if not (self._fills(cache) if cache is not None else training or kwargs.get("use_cache") is False):
            return None
        if reason := self._unfit():
            logger.warning_once(f"the artwork is computed for each row, not once for all: {reason}")
            return None
        even, picture = "linear_attention" in self.kinds, None if torch.is_grad_enabled() else picture()
        return grow(input_ids, mask, image_token_id, image_tokens, even, picture)

    def _fills(self, cache: Any) -> bool:
        """Whether this is the empty cache of a generation that can be filled from a tree."""
        if torch.is_grad_enabled() or "linear_attention" in self.kinds:
            return False
        return type(cache) is DynamicCache and all(type(layer) is DynamicLayer for layer in cache.layers)

    def _unfit(self) -> str | None:
        """Why this model, as it is now, cannot share a prefix."""
        model = self.language_model
        if other := set(self.kinds) - LAYERS:
            return f"{type(model).__name__} has layers of kind {', '.join(sorted(other))}"
        if model.training and getattr(model.config, "attention_dropout", 0):
            return "attention_dropout would be drawn once for all; set it to 0"
        for layer in model.layers:
            keywords = layer._gradient_checkpointing_func.keywords if layer.gradient_checkpointing else {}
            if keywords.get("use_reentrant"):
                return 'set gradient_checkpointing_kwargs={"use_reentrant": False}'
        return None

    def forward(self, *args: Any, shared_prefix: Tree | None = None, **kwargs: Any) -> Any:
        """The language model's forward pass; with `shared_prefix`, of each node of that tree once."""
        if shared_prefix is None:
            return self.plain(*args, **kwargs)
        embeds, seen = kwargs.pop("inputs_embeds"), kwargs.pop("visual_pos_masks", None)
        batch = _Batch(
            embeds.flatten(0, 1),
            kwargs.pop("position_ids").flatten(1),
            None if seen is None else seen.flatten(),
            kwargs.pop("deepstack_visual_embeds", None) or [],
        )
        fill = kwargs.pop("past_key_values", None)
        for name in ("input_ids", "attention_mask", "use_cache"):
            kwargs.pop(name, None)

        hidden, caches = [], []
        for depth, level in enumerate(shared_prefix.levels):
            level = level.to(embeds.device)
            if caches:
                layers = [layer.fork(level.parent) for layer in caches[-1].layers]
            else:
                layers = [_State() if kind == "linear_attention" else _Keys() for kind in self.kinds]
            if depth == len(shared_prefix.levels) - 1 and fill is None:
                for layer in layers:
                    layer.recording = False
            states, cache = self._level(depth, level, batch, Cache(layers=layers), kwargs)
            hidden.append(states.flatten(0, 1))
            caches.append(cache)
        where = shared_prefix.where.to(embeds.device)
        if fill is not None:
            _fill(fill, caches, where)
        joined = torch.cat(hidden).index_select(0, where.flatten()).view(*where.shape, -1)
        return BaseModelOutputWithPast(last_hidden_state=joined, past_key_values=fill)

    def _level(
        self, depth: int, level: Level, batch: _Batch, cache: Cache, kwargs: dict[str, Any]
    ) -> tuple[Tensor, Cache]:
        """The hidden states of one level, and its cache; without a gradient where all is known beforehand."""
        if level.known is None or any(p.requires_grad for p in self.language_model.parameters()):
            return self._run(level, batch, cache, kwargs), cache
        weights = tuple((p.data_ptr(), p._version) for p in self.language_model.parameters())
        device, dtype = batch.embeds.device, batch.embeds.dtype
        key = (level.known, weights, dtype, torch.is_autocast_enabled(device.type))
        if depth not in self.kept or self.kept[depth][0] != key:
            with torch.no_grad():
                self.kept[depth] = (key, self._run(level, batch, cache, kwargs), cache)
        return self.kept[depth][1:]

    def _run(self, level: Level, batch: _Batch, cache: Cache, kwargs: dict[str, Any]) -> Tensor:
        with _checkpointed_with_cache(self.language_model):
            return self.plain(
                input_ids=None,
                attention_mask=None if level.mask is None else level.mask.long(),
                past_key_values=cache,
                use_cache=False,
                **batch.take(level),
                **kwargs,
            ).last_hidden_state


def _fill(cache: Cache, caches: list[Cache], where: Tensor) -> None:
    """Put the keys and values of a tree into an empty cache, where a plain pass would have put them."""
    for number in range(len(caches[0].layers)):
        filled = []
        for part in (0, 1):
            own = []
            for level in caches:
                layer = level.layers[number]
                states = layer.states[part][:, :, layer.get_seq_length() :]
                own.append(states.transpose(1, 2).flatten(0, 1))
            rows = torch.cat(own).index_select(0, where.flatten()).view(*where.shape, *own[0].shape[1:])
            filled.append(rows.transpose(1, 2))
        cache.update(*filled, number)


@contextmanager
def _checkpointed_with_cache(language_model: nn.Module) -> Iterator[None]:
    """Let gradient checkpointing keep the cache, which can be read again with the same result."""
    layers = [layer for layer in language_model.layers if layer.gradient_checkpointing]
    for layer in layers:
        layer._can_checkpoint_with_cache = True
    try:
        yield
    finally:
        for layer in layers:
            del layer._can_checkpoint_with_cache
