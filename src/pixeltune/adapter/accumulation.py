"""The artwork is encoded once per optimiser step, also when that step accumulates several batches."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from accelerate.state import GradientState
from torch import Tensor


class Accumulation:
    """Hands the same features to every batch of an optimiser step and sends their gradient back at its end.

    Batches before the last get a copy cut off from the canvas, which collects their gradients; the last one
    gets the original, to whose gradient the collected ones are added. Which batch is the last is known from
    accelerate, as every trainer of transformers tells it; without accelerate each batch is.
    """

    def __init__(self) -> None:
        self.pending: tuple[Hashable, Any, list[Tensor]] | None = None

    def features(self, picture: Callable[[], Hashable], encode: Callable[[], Any]) -> Any:
        """Features for this batch.

        Args:
            picture: identifies it, see `ArtLayer.shown`.
            encode: makes them; a `ModelOutput` of tensors, tuples and lists of tensors.
        """
        if not torch.is_grad_enabled():
            return encode()
        pending, self.pending = self.pending, None
        last = GradientState().sync_gradients
        if pending is None and last:
            return encode()
        shown = picture()
        if pending is None or pending[0] != shown:
            made = encode()
            pending = (shown, made, [tensor.detach().requires_grad_() for tensor in _tensors(made)])
        _, made, copies = pending
        if not last:
            self.pending = pending
            return _with(made, copies)
        for tensor, copy in zip(_tensors(made), copies, strict=True):
            if copy.grad is not None:
                tensor.register_hook(lambda gradient, collected=copy.grad: gradient + collected)
        return made


def _tensors(output: Any) -> list[Tensor]:
    """The tensors of an output that the backbone reads, in a fixed order."""
    deep = getattr(output, "deepstack_features", None) or []
    return [*output.pooler_output, *(picture for layer in deep for picture in layer)]


def _with(output: Any, tensors: list[Tensor]) -> Any:
    """The same output with other tensors, in the order of `_tensors`."""
    rest = iter(tensors)
    parts = {"pooler_output": tuple(next(rest) for _ in output.pooler_output)}
    if getattr(output, "deepstack_features", None) is not None:
        parts["deepstack_features"] = [
            tuple(next(rest) for _ in layer) for layer in output.deepstack_features
        ]
    return type(output)(**parts)
