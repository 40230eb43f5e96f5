"""Floating-point operations of models, counted where they happen: tokens that pass, weights that they pass through.

A shared prefix counts once, for its tokens pass once. A gradient is counted when it arrives, so that frozen weights
cost the one of what goes in, what needs no gradient costs none, and recomputed activations are a forward pass more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from transformers import AttentionInterface

from pixeltune.adapter.layer import ArtLayer

CONVOLUTIONS = nn.Conv1d, nn.Conv2d, nn.Conv3d
ATTENTION = "sdpa"
"""The attention that is counted, by transformers' name for it; branches of a shared prefix call it, too."""

_WATCHED: WeakKeyDictionary[nn.Module, FlopCounter] = WeakKeyDictionary()


class FlopCounter:
    """Counts operations of models, by the part of a run that they are done in.

    Counted are linear layers, convolutions, experts with their routers, TRL's fused head at labelled positions, and
    attention as plain matrix products of all tokens with all (half of them masked where it is causal); as
    `torch.utils.flop_counter` counts them, two operations for a multiplication and an addition. Not counted are
    recurrences of linear attention, elementwise operations, and the canvas itself.

    Attributes:
        part: that goes on now.
        forward, backward: operations by part.
        pictures: calls of a vision tower, also by part: one encodes the artwork, or all of a batch's own pictures.
    """

    def __init__(self) -> None:
        self.part = ""
        self.forward: Counter[str] = Counter()
        self.backward: Counter[str] = Counter()
        self.pictures: Counter[str] = Counter()
        self._counts = True
        self._handles: list[Any] = []

    def watch(self, model: nn.Module) -> None:
        """Count what a model computes from now on.

        Args:
            model: as it is called; of an artwork's the whole of what PEFT made of it.
        """
        head = model.get_output_embeddings()
        self._handles.append(model.register_forward_hook(lambda m, args, out: self._fused_head(out, head)))
        for module in model.modules():
            if hook := self._hook_of(module):
                self._handles.append(module.register_forward_hook(hook))
            _WATCHED[module] = self
        usual = AttentionInterface()[ATTENTION]
        if not isinstance(usual, _Attention):
            AttentionInterface.register(ATTENTION, _Attention(usual))

    def release(self) -> None:
        """Count no more."""
        for handle in self._handles:
            handle.remove()
        for module in [module for module, counter in _WATCHED.items() if counter is self]:
            del _WATCHED[module]
        self._handles = []
        counted = AttentionInterface()[ATTENTION]
        if not _WATCHED and isinstance(counted, _Attention):
            AttentionInterface.register(ATTENTION, counted.usual)

    @contextmanager
    def paused(self, pause: bool = True) -> Iterator[None]:
        """Within this nothing is counted; with False all is."""
        counts, self._counts = self._counts, self._counts and not pause
        try:
            yield
        finally:
            self._counts = counts

    def add(self, forward: int, out: Tensor, backward: int) -> None:
        """Count one operation.

        Args:
            forward: what it took.
            out: what came out.
            backward: what a gradient of `out` will take.
        """
        if not self._counts:
            return
        self.forward[self.part] += forward
        if out.requires_grad and backward:
            out.register_hook(lambda gradient: self._arrived(backward))

    def _arrived(self, operations: int) -> None:
        self.backward[self.part] += operations

    def _hook_of(self, module: nn.Module) -> Callable | None:
        """What is to be done when a module was called; None for one that computes nothing that counts."""
        if isinstance(module, nn.Linear):
            return self._linear(2 * module.in_features)
        if isinstance(module, CONVOLUTIONS):
            return self._convolution
        if isinstance(module, ArtLayer):
            return self._picture
        own = [weight for weight in module.parameters(recurse=False) if weight.is_floating_point()]
        if own and all(weight.ndim == 3 for weight in own) and hasattr(module, "num_experts"):
            return self._experts
        if type(module).__name__.endswith("Router") and isinstance(
            getattr(module, "weight", None), nn.Parameter
        ):
            return self._router
        return None

    def _linear(self, twice: int) -> Callable:
        """Generation calls this in every layer for every token, so without a gradient it does next to nothing."""

        def hook(module: nn.Linear, args: tuple, out: Tensor) -> None:
            each = twice * out.numel()
            if out.requires_grad:
                self.add(each, out, each * _gradients(module, args))
            elif self._counts:
                self.forward[self.part] += each

        return hook

    def _convolution(self, module: Any, args: tuple, out: Tensor) -> None:
        each = 2 * out.numel() * module.in_channels // module.groups * prod(module.kernel_size)
        self.add(each, out, each * _gradients(module, args))

    def _experts(self, module: nn.Module, args: tuple, out: Tensor) -> None:
        """Every token passes through those that it was sent to."""
        sent = args[1].numel()
        each = 2 * sent * sum(weight[0].numel() for weight in module.parameters(recurse=False))
        self.add(each, out, each * _gradients(module, args))

    def _router(self, module: Any, args: tuple, out: Any) -> None:
        each = 2 * args[0].numel() * len(module.weight)
        logits = out[0] if isinstance(out, tuple) else out
        self.add(each, logits, each * _gradients(module, args))

    def _picture(self, module: nn.Module, args: tuple, out: Any) -> None:
        if self._counts:
            self.pictures[self.part] += 1

    def _fused_head(self, out: Any, head: nn.Module) -> None:
        """TRL's head, which looks at weights without calling their layer, and computes logits again for a gradient."""
        labelled = getattr(out, "label_mask", None)
        if labelled is not None:
            each = 2 * int(labelled.sum()) * head.in_features * head.out_features
            self.add(each, out.log_probs, 2 * each)


def _gradients(module: nn.Module, args: tuple) -> int:
    """How many matrices of gradients a layer has to make."""
    weight = getattr(module, "weight", None)
    into = bool(args) and isinstance(args[0], Tensor) and args[0].requires_grad
    return into + bool(weight is not None and weight.requires_grad)


class _Attention:
    """An attention function, as transformers calls it, that is counted where its layer is watched."""

    def __init__(self, usual: Callable) -> None:
        self.usual = usual

    def __call__(
        self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        out = self.usual(module, query, key, value, *args, **kwargs)
        counter = _WATCHED.get(module)
        if counter is not None:
            rows, heads, asking, width = query.shape
            pairs = 2 * rows * heads * asking * key.shape[2]
            scores, mixed, back = pairs * width, pairs * value.shape[3], 0
            if out[0].requires_grad:
                asks, answers = query.requires_grad, key.requires_grad
                back = scores * (asks + answers) + mixed * (value.requires_grad + (asks or answers))
            counter.add(scores + mixed, out[0], back)
        return out
