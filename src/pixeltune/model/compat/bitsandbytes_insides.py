"""Private parts of bitsandbytes that are relied on; `tests/compat/test_insides.py` holds their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def keep_differentiable(model: nn.Module) -> None:
    """Keep 4-bit layers from a form that has no gradient.

    On processors with AVX512-BF16 a 4-bit layer repacks its weight in the first pass without gradient in
    evaluation mode, such as a held-out score, and from then on, in training too, calls a kernel that autograd
    does not know (`Linear4bit.forward` and `matmul_4bit` of bitsandbytes 0.50,
    https://github.com/bitsandbytes-foundation/bitsandbytes/blob/0.50.2/bitsandbytes/nn/modules.py): the loss
    stays right, but the gradient goes around the layers, and with labels on answers the pixels get exactly
    zero. Layers that are repacked already are brought back, as far as bitsandbytes can: not bit for bit.
    Models without such layers are left alone.
    """
    layers = [module for module in model.modules() if hasattr(module, "support_avx512bf16_for_cpu")]
    for layer in layers:
        layer.support_avx512bf16_for_cpu = False
        layer.state_dict()  # saving unpacks
