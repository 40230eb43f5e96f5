"""The artwork is encoded once per optimiser step, also when that step accumulates several batches.

Where no gradient is wanted it is encoded once for as long as it stays the same.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

from pixeltune.adapter.compat import is_last_batch, tree_map_only


class Accumulation:
    """Hands the same features to every batch of an optimiser step and sends their gradient back at its end.

    Batches before the last get a copy cut off from the canvas, which collects their gradients; the last one
    gets the original, to whose gradient the collected ones are added. Which batch is the last is known from
    accelerate, as every trainer of transformers tells it; in a loop of one's own each batch is.
    """

    def __init__(self) -> None:
        self.pending: tuple[Hashable, Any, Any, list[tuple[Tensor, Tensor]]] | None = None
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
            pairs: list[tuple[Tensor, Tensor]] = []

            def cut(tensor: Tensor) -> Tensor:
                pairs.append((tensor, tensor.detach().requires_grad_()))
                return pairs[-1][1]

            # Some outputs have nothing under some names, and come back with their parts in another order.
            pending = shown, made, tree_map_only(Tensor, cut, made), pairs
        _, made, cut_off, pairs = pending
        if not last:
            self.pending = pending
            return cut_off
        for tensor, copy in pairs:
            if copy.grad is not None:
                tensor.register_hook(lambda gradient, collected=copy.grad: gradient + collected)
        return made
