"""A frozen base that is shared out among processes, layer by layer (FSDP2). Imported without torch."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

VERSION = "FSDP 1 flattens weights together with the canvas: add --fsdp_version 2 to accelerate launch"
LOADING = (
    "where one process loads the model for all, accelerate cannot leave the canvas whole: add "
    "--fsdp_cpu_ram_efficient_loading false to accelerate launch"
)


def asked_for() -> bool:
    """Whether `accelerate launch --use_fsdp` started this process, beside others."""
    use = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
    return use and int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_sharded(module: nn.Module) -> bool:
    """Whether a module, or one in it, holds a part of its weights and fetches the rest when it is called.

    All processes must then call all such modules equally often, in the same order.
    """
    import torch.distributed

    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return False
    from torch.distributed.fsdp import FSDPModule

    return any(isinstance(one, FSDPModule) for one in module.modules())


def whole(tensor: Tensor) -> Tensor:
    """A tensor of which each process may hold a part; all of them must ask for it, in the same order."""
    full = getattr(tensor, "full_tensor", None)  # of DTensors
    return tensor if full is None else full()


def held(module: nn.Module) -> tuple[int, int]:
    """Bytes of a module's parameters, canvases apart, in this process while no layer is at work; and of the whole."""
    here = everything = 0
    for name, parameter in module.named_parameters():
        if "art_canvas." in name:
            continue
        local = getattr(parameter, "to_local", None)
        here += (parameter if local is None else local()).numel() * parameter.element_size()
        everything += parameter.numel() * parameter.element_size()
    return here, everything


def put_back(module: nn.Module) -> None:
    """Let go of fetched weights, which a pass without a gradient keeps for the pass after it.

    To be called in all processes: in one that does so alone, by saving for example, the next pass would fetch what the
    others have, and wait for them.
    """
    if is_sharded(module):
        from torch.distributed.fsdp import FSDPModule

        for one in module.modules():
            if isinstance(one, FSDPModule):
                one.reshard()
