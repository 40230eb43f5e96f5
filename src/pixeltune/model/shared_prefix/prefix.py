"""The shared prefix: what several rows of a batch begin with is computed once, exactly.

All nodes of a batch's tree (`pixeltune.model.shared_prefix.tree`) go through the language model in one pass, in
which each sees the nodes above it (`pixeltune.model.shared_prefix.branches`); where nodes fork, autograd sums
their gradients. The text before the artwork does not depend on pixels: it needs no gradient and, while it stays
the same, is kept from step to step.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer
from transformers.modeling_outputs import MoeModelOutputWithPast
from transformers.utils import logging

from pixeltune.model.compat.torch_insides import writes
from pixeltune.model.compat.transformers_insides import cache_name, checkpoints_reentrantly, given_cache
from pixeltune.model.sharding import is_sharded
from pixeltune.model.shared_prefix.branches import Branches, Left, take_part
from pixeltune.model.shared_prefix.tree import Level, Tree, grow

logger = logging.get_logger(__name__)

LAYERS = {"full_attention", "linear_attention"}
"""Kinds of text layers whose states can be forked."""


@dataclass(frozen=True)
class _Batch:
    """What the backbone hands to its language model, flattened to one axis of tokens.

    Attributes:
        embeds: `(rows * length, hidden)`.
        positions: `(rows * length,)`, or `(3 or 4, rows * length)` in families with grid positions.
        seen: `(rows * length,)` bool, where pictures are; None in families without deep-stack features.
        deep: deep-stack features, `(pieces of pictures, hidden)` for each of the first layers.
    """

    embeds: Tensor
    positions: Tensor
    seen: Tensor | None
    deep: list[Tensor]

    def take(self, levels: Sequence[Level]) -> dict[str, Any]:
        """The arguments for some levels of a tree, as one row."""
        tokens = torch.cat([level.tokens for level in levels])
        taken = {
            "inputs_embeds": self.embeds.index_select(0, tokens)[None],
            "position_ids": self.positions[..., tokens].unsqueeze(-2),
        }
        if self.seen is not None and any(level.pictures for level in levels):
            pieces = self.seen[tokens]
            rank = (self.seen.cumsum(0) - 1)[tokens[pieces]]
            taken["visual_pos_masks"] = pieces[None]
            # The tower may lie on another device than the text model (`device_map`).
            taken["deepstack_visual_embeds"] = [f.index_select(0, rank.to(f.device)) for f in self.deep]
        return taken


class SharedPrefix:
    """Runs a language model over a tree instead of a batch, and keeps what will not change."""

    def __init__(self, language_model: nn.Module, exact: Collection[str]) -> None:
        """
        Args:
            language_model: the text model in the backbone, which takes `inputs_embeds`, `position_ids`,
                `attention_mask` and a cache. Its `forward` and those of its attention are wrapped until `remove` is
                called; a call without `shared_prefix` stays as it is.
            exact: classes of language models for which the tree has been shown to be the same computation
                (`pixeltune.model.families.Family.exact`); others are passed over plainly.
        """
        self.language_model, self.exact = language_model, exact
        self.own = language_model.__dict__.get("forward")  # accelerate's, on a model over several devices
        self.plain = language_model.forward
        self.kept: dict[
            int, tuple[Hashable, Tensor, Branches]
        ] = {}  # by depth: what it depends on, its states
        config = language_model.config
        self.kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
        language_model.forward = self.forward
        self.give_back = take_part(language_model, self.kinds)

    def remove(self) -> None:
        """Give the language model its own methods back."""
        self.give_back()
        del self.language_model.forward
        if self.own is not None:
            self.language_model.forward = self.own

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
            picture: identifies the picture and what encodes it, see `ArtModel._seen`.
            kwargs: the other arguments of the backbone.
        """
        config, mask = self.language_model.config, kwargs.get("attention_mask")
        everything = ("output_hidden_states", "output_attentions")
        if len(input_ids) == 1 or any(kwargs.get(n, getattr(config, n, False)) for n in everything):
            return None
        if mask is not None and (not isinstance(mask, Tensor) or mask.ndim != 2):
            return None
        cache = given_cache(kwargs)
        training = self.language_model.training and torch.is_grad_enabled()
        if not (self._fills(cache) if cache is not None else training or kwargs.get("use_cache") is False):
            return None
        if reason := self._unfit(kwargs):
            logger.warning_once(f"the artwork is computed for each row, not once for all: {reason}")
            return None
        even, picture = "linear_attention" in self.kinds, None if torch.is_grad_enabled() else picture()
        return grow(input_ids, mask, image_token_id, image_tokens, even, picture)

    def _fills(self, cache: Any) -> bool:
        """Whether this is the empty cache of a generation that can be filled from a tree."""
        if torch.is_grad_enabled() or "linear_attention" in self.kinds:
            return False
        return type(cache) is DynamicCache and all(type(layer) is DynamicLayer for layer in cache.layers)

    def _unfit(self, kwargs: dict[str, Any]) -> str | None:
        """Why this model, as it is now and as it is called, cannot share a prefix."""
        model = self.language_model
        if type(model).__name__ not in self.exact:
            return f"with {type(model).__name__} it has not been shown to be the same computation"
        window = getattr(model.config, "sliding_window", None)
        if window and getattr(model.config, "layer_types", None) is None:
            return f"{type(model).__name__} attends to a sliding window of {window} tokens"
        rope = getattr(model.config, "rope_parameters", None) or {}
        kinds = {part.get("rope_type") for part in (rope, *rope.values()) if isinstance(part, dict)}
        if kinds & {"dynamic", "longrope"}:
            return f"positions of kind {', '.join(sorted(kinds))} depend on the length of a row"
        if other := set(self.kinds) - LAYERS:
            return f"{type(model).__name__} has layers of kind {', '.join(sorted(other))}"
        if kwargs.get("output_router_logits", getattr(model.config, "output_router_logits", False)):
            return "load balancing counts every token; experts are frozen, so set router_aux_loss_coef=0"
        if model.training and getattr(model.config, "attention_dropout", 0):
            return "attention_dropout would be drawn once for all; set it to 0"
        if checkpoints_reentrantly(model.layers):
            return 'set gradient_checkpointing_kwargs={"use_reentrant": False}'
        return None

    def forward(self, *args: Any, shared_prefix: Tree | None = None, **kwargs: Any) -> Any:
        """The language model's forward pass; with `shared_prefix`, of each node of that tree once."""
        if shared_prefix is None:
            return self.plain(*args, **kwargs)
        embeds, seen = kwargs.pop("inputs_embeds"), kwargs.pop("visual_pos_masks", None)
        positions = _positions(kwargs.pop("position_ids", None), kwargs.get("attention_mask"), embeds)
        batch = _Batch(
            embeds.flatten(0, 1),
            positions.flatten(-2),
            None if seen is None else seen.flatten(),
            kwargs.pop("deepstack_visual_embeds", None) or [],
        )
        fill = given_cache(kwargs)
        for name in ("input_ids", "attention_mask", "use_cache", "cache", "past_key_values"):
            kwargs.pop(name, None)

        levels = [level.to(embeds.device) for level in shared_prefix.levels]
        frozen = not any(p.requires_grad for p in self.language_model.parameters())
        # Layers that are shared out among processes are called once, whatever rows a process has.
        keeps = frozen and not is_sharded(self.language_model)
        hidden, passes, above = [], [], {}
        for depth, level in enumerate(levels):
            if level.known is None or not keeps:
                break
            states, branches = self._known(depth, level, batch, above, kwargs)
            hidden.append(states)
            passes.append(branches)
            above = branches.left
        states, branches = self._run(levels[len(passes) :], batch, above, kwargs, keep=fill is not None)
        if fill is not None:
            _fill(fill, [*passes, branches], shared_prefix.where)
        joined = _spread([*hidden, states], shared_prefix.where)
        # Some backbones also ask for `router_logits`, here None; this class has all that any asks for.
        return MoeModelOutputWithPast(last_hidden_state=joined, **{cache_name(): fill})

    def _known(
        self, depth: int, level: Level, batch: _Batch, above: Mapping[int, Left], kwargs: dict[str, Any]
    ) -> tuple[Tensor, Branches]:
        """A level of which all is known beforehand, without a gradient; computed if something changed."""
        key = (level.known, weights_now(self.language_model), batch.embeds.dtype)
        if depth not in self.kept or self.kept[depth][0] != key:
            with torch.no_grad():
                self.kept[depth] = (key, *self._run([level], batch, above, kwargs, keep=True))
        return self.kept[depth][1:]

    def _run(
        self,
        levels: Sequence[Level],
        batch: _Batch,
        above: Mapping[int, Left],
        kwargs: dict[str, Any],
        keep: bool,
    ) -> tuple[Tensor, Branches]:
        """The hidden states of some levels, `(tokens, hidden)`, and what they leave if it is to be kept."""
        branches = Branches(levels, above, keep)
        with branches.now(self.language_model.config):  # so that no mask is made
            out = self.plain(
                input_ids=None,
                attention_mask=None,
                use_cache=False,
                branches=branches,
                **batch.take(levels),
                **kwargs,
            )
        return out.last_hidden_state[0], branches


def weights_now(module: nn.Module) -> Hashable:
    """Equal as long as nobody writes to the module's weights, canvases apart, or switches autocast.

    Weights that are shared out among processes are fetched to ever new addresses, and nobody can write to them as they
    are: they count as what they were, so that all processes say the same.
    """
    named = () if is_sharded(module) else module.named_parameters()
    weights = tuple((p.data_ptr(), writes(p)) for name, p in named if "art_canvas." not in name)
    device = next(module.parameters()).device.type
    return weights, torch.is_autocast_enabled(device)


def _positions(position_ids: Tensor | None, attention_mask: Tensor | None, embeds: Tensor) -> Tensor:
    """Positions of all tokens, `(rows, length)` or `(3 or 4, rows, length)`.

    Where the backbone left them to its text model they are counted from the first token of a row, so that
    they do not depend on the padding before it.
    """
    rows, length = embeds.shape[:2]
    if position_ids is not None:
        return position_ids.expand(*position_ids.shape[:-2], rows, length)
    if attention_mask is None:
        return torch.arange(length, device=embeds.device).expand(rows, length)
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)


def _spread(levels: Sequence[Tensor], where: Tensor) -> Tensor:
    """The tokens of a tree, each of `levels` `(tokens, ...)`, as the rows of its batch, `(rows, length, ...)`.

    Padding gets zeros: whoever counts it in a loss by mistake adds no gradient. A model may lie on several devices
    (`device_map`), so `where` goes to that of these tokens.
    """
    tokens = torch.cat([*levels, levels[-1].new_zeros(1, *levels[-1].shape[1:])])
    rows = tokens.index_select(0, where.flatten().to(tokens.device))
    return rows.view(*where.shape, *tokens.shape[1:])


def _fill(cache: Cache, passes: Sequence[Branches], where: Tensor) -> None:
    """Put the keys and values of a tree into an empty cache, where a plain pass would have put them."""
    for number in passes[0].keys_values:
        parts = zip(*(one.keys_values[number] for one in passes), strict=True)
        filled = [_spread([kv[0].transpose(0, 1) for kv in part], where).transpose(1, 2) for part in parts]
        cache.update(*filled, number)
