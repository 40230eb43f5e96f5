"""A second device for machines that have only one: tensors that say they lie there, and refuse to mix.

Inside `second_device()` a tensor sent to `SECOND` computes on the CPU, but an operation on tensors of both
devices fails as it does on a GPU (numbers without axes and indices from the CPU may mix), so that a model
dispatched over "cpu" and `SECOND` tells whether something was left on the wrong side.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

SECOND = torch.device("lazy:0")  # a type that the CPU build knows, without kernels or streams of its own
aten = torch.ops.aten


class Placed(torch.Tensor):
    """A tensor on the second device; `inner` holds the numbers."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Placed:
        layout = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "dtype": inner.dtype}
        return torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, **layout, device="meta", dispatch_device=True
        )

    def __init__(self, inner: torch.Tensor) -> None:
        self.inner = inner

    def tolist(self) -> Any:
        return self.inner.tolist()

    def __repr__(self) -> str:
        return f"Placed({self.inner})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return _run(func, args, kwargs or {})


class _Devices(TorchDispatchMode):
    """Sees the operations without a placed tensor among their arguments: what makes and moves tensors."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    if func is torch.ops.prim.device.default:
        return SECOND
    moves = func in (aten._to_copy.default, aten.copy_.default)
    tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
    indices = args[1] if func in (aten.index.Tensor, aten.index_put.default) else []
    indices = [i for i in indices if not isinstance(i, Placed)]
    checked = [t for t in tensors if t.ndim > 0 and not any(t is i for i in indices)]
    placed = [isinstance(t, Placed) for t in checked]
    if any(placed) and not all(placed) and not moves:
        raise RuntimeError(f"{func}: expected all tensors to be on the same device")
    device = kwargs.get("device")
    second = device == SECOND if device is not None else any(isinstance(t, Placed) for t in tensors)
    inner_args, inner_kwargs = tree_map_only(Placed, lambda t: t.inner, (args, kwargs))
    if device is not None:
        inner_kwargs["device"] = torch.device("cpu")
    out = func(*inner_args, **inner_kwargs)
    if func._schema.is_mutable:
        return args[0] if func._schema.returns else None
    return tree_map_only(torch.Tensor, Placed, out) if second else out


@contextmanager
def second_device() -> Iterator[None]:
    """While this lasts there is a second device."""
    tensor, autocast = torch.tensor, torch.is_autocast_enabled

    def make(data: Any, **options: Any) -> torch.Tensor:
        if isinstance(data, list | tuple):  # torch reads lists of tensors without asking them
            data = tree_map_only(torch.Tensor, lambda t: t.tolist(), data)
        return tensor(data, **options)

    with pytest.MonkeyPatch.context() as patch, _Devices():
        patch.setattr(torch, "tensor", make)
        # Autocast does not know this type of device.
        patch.setattr(
            torch, "is_autocast_enabled", lambda kind=None: autocast(kind) if kind == "cpu" else False
        )
        # Gradient checkpointing looks there for random states, of which this type of device has none.
        patch.setattr(torch, SECOND.type, SimpleNamespace(), raising=False)
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=SECOND) is made here and sent
        try:
            yield
        finally:
            torch._C._set_only_lift_cpu_tensors(False)
