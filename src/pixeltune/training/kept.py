"""What a model keeps from step to step without a gradient, so that a resumed run does not count it a second time.

The text before the artwork, and where no gradient is wanted the artwork's features and its tokens, are computed once
for as long as they stay the same (`pixeltune.model.shared_prefix`, `pixeltune.adapter.accumulation`). A new session
has to compute them anew, where an unbroken run would still have had them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from typing import Any

import torch

from pixeltune.adapter.guard import art_layer
from pixeltune.model.shared_prefix.prefix import weights_now
from pixeltune.training.flops import FlopCounter

FEATURES = "features"


class Kept:
    """Knows what a model has kept, by keys that are the same in every session."""

    def __init__(self, model: Any, counter: FlopCounter) -> None:
        """
        Args:
            model: which wears an artwork.
            counter: that is not to count what was counted before.
        """
        self.prefix, self.accumulation = model.base_model._prefix, art_layer(model).accumulation
        self.counter = counter

    def keys(self) -> dict[str, str]:
        """Of all that is kept now."""
        found = {str(depth): _key(*one[0]) for depth, one in self.prefix.kept.items()}
        kept = self.accumulation.kept
        return found if kept is None else found | {FEATURES: _digest(_lasting(kept[0]))}

    def resume(self, keys: dict[str, str]) -> None:
        """Do not count what is computed for the first time in this session, and was kept when another one ended.

        Args:
            keys: of that end.
        """
        left, plain, encoded = dict(keys), self.prefix._known, self.accumulation.features

        def known(depth: int, level: Any, batch: Any, *rest: Any) -> Any:
            wanted = left.pop(str(depth), None)
            key = wanted and _key(level.known, weights_now(self.prefix.language_model), batch.embeds.dtype)
            with self.counter.paused(key is not None and key == wanted):
                return plain(depth, level, batch, *rest)

        def features(picture: Callable[[], Hashable], encode: Callable[[], Any]) -> Any:
            wanted = None if torch.is_grad_enabled() else left.pop(FEATURES, None)
            with self.counter.paused(wanted is not None and wanted == _digest(_lasting(picture()))):
                return encoded(picture, encode)

        self.prefix._known, self.accumulation.features = known, features


def _key(known: Any, weights: Any, dtype: torch.dtype) -> str:
    """Of a level of a tree: what it depends on, as `SharedPrefix` has it, without addresses in memory."""
    picture, *ids = known
    return _digest((_lasting(picture) if picture else 0, ids, weights[1], str(dtype)))


def _lasting(seen: Any) -> Any:
    """What a model is shown, as `ArtModel` has it, and whether in autocast."""
    shown, (_, autocast) = seen
    return shown, autocast


def _digest(thing: Any) -> str:
    return hashlib.sha256(repr(thing).encode()).hexdigest()[:16]
