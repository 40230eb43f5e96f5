"""The artwork is encoded once per optimiser step, also when that step accumulates several batches.

Where no gradient is wanted it is encoded once for as long as it stays the same.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

from pixeltune.adapter.compat import is_last_batch, tree_leaves, tree_map_only


class Accumulation:
    """Hands the same features to every batch of an optimiser step and sends their gradient back at its end.

    Batches before the last get a copy cut off from the canvas, which collects their gradients; the last one
    gets the original, to whose gradient the collected ones are added. Which batch is the last is known from
    accelerate, as every trainer of transformers tells it; in a loop of one's own each batch is.
    """

    def __init__(self) -> None:
        self.pending: tuple[Hashable, Any, Any] | None = None
        self.kept: tuple[Hashable, Any] | None = None  # without a gradient

    def features(self, picture: Callable[[], Hashable], encode: Callable[[], Any]) -> Any:
        """Features for this batch.

        Args:
            picture: identifies it and what encodes it, see `ArtModel._seen`.
            encode: makes them, as a `ModelOutput`, whatever tensors the model's family puts into it.
        """
        if not torch.is_grad_enabled():
            seen = picture()
            if self.kept is None or self.kept[0] != seen:
                self.kept = seen, encode()
            return self.kept[1]
        pending, self.pending = self.pending, None
        last = is_last_batch()
        if pending is None and last:
            return encode()
        shown = picture()
        if pending is None or pending[0] != shown:
            made = encode()
            pending = (shown, made, tree_map_only(Tensor, lambda t: t.detach().requires_grad_(), made))
        _, made, cut_off = pending
        if not last:
            self.pending = pending
            return cut_off
        for tensor, copy in zip(tree_leaves(made), tree_leaves(cut_off), strict=True):
            if isinstance(copy, Tensor) and copy.grad is not None:
                tensor.register_hook(lambda gradient, collected=copy.grad: gradient + collected)
        return made
