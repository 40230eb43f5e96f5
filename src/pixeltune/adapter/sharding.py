"""The canvas stays whole, in float32, in every process where FSDP2 shares the base out among them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

from pixeltune.adapter.compat import is_last_batch, sharding_plugin
from pixeltune.adapter.guard import find_art_layer
from pixeltune.errors import UserError
from pixeltune.model.sharding import LOADING, VERSION, is_sharded


class WholeCanvas(TrainerCallback):
    """Leaves the canvas out of what accelerate shards, and takes the mean of its gradient over processes.

    Active in every trainer whose model wears an artwork, as the checks of `pixeltune.adapter.guard` are; where
    nothing is sharded it does nothing.
    """

    def on_init_end(self, args, state, control, model=None, **kwargs) -> None:
        """
        Raises:
            UserError: it is to be sharded in a way in which the canvas cannot stay whole.
        """
        layer, plugin = find_art_layer(model), sharding_plugin()
        if layer is None or plugin is None:
            return
        if plugin.fsdp_version != 2:
            raise UserError(VERSION)
        if plugin.cpu_ram_efficient_loading:
            raise UserError(LOADING)
        layer.art_canvas.to(args.device)  # before there is an optimiser, which knows it by its address
        plugin.ignored_modules = [layer.art_canvas]
        if plugin.transformer_cls_names_to_wrap is None:
            # Those that the family's class names may not all be there, a tower's text part for example.
            present = {type(module).__name__ for module in model.modules()}
            named = getattr(model, "_no_split_modules", None) or ()
            plugin.transformer_cls_names_to_wrap = [name for name in named if name in present]

    def on_train_begin(self, args, state, control, model=None, **kwargs) -> None:
        self.handles: list[Any] = []
        layer = find_art_layer(model)
        if layer is None or not is_sharded(model):
            return
        if "generate" not in vars(model):  # else some parts are asked for weights that were not fetched
            torch.distributed.fsdp.register_fsdp_forward_method(model, "generate")
        for pixels in layer.art_canvas.parameters():
            torch.distributed.broadcast(pixels.data, src=0)
            if pixels.requires_grad:
                self.handles.append(pixels.register_post_accumulate_grad_hook(_mean))

    def on_train_end(self, args, state, control, **kwargs) -> None:
        for handle in self.handles:
            handle.remove()


def _mean(pixels: nn.Parameter) -> None:
    """At the end of a step each process gets the mean of the gradients, as DDP makes it."""
    if pixels.grad is not None and is_last_batch():
        torch.distributed.all_reduce(pixels.grad)
        pixels.grad /= torch.distributed.get_world_size()
