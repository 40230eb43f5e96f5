"""ART as a PEFT method: a frozen model that looks at one trainable picture."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import torch
from peft.tuners.tuners_utils import BaseTuner
from torch import Tensor, nn

from pixeltune.adapter.checkpoint import canvas_state, loaded_state, saved_key
from pixeltune.adapter.config import ArtConfig
from pixeltune.adapter.layer import ArtLayer
from pixeltune.adapter.processors import Processors
from pixeltune.adapter.rows import Placeholders, find_pictures
from pixeltune.errors import UserError
from pixeltune.model.compat.transformers_insides import given_cache
from pixeltune.model.families import (
    encode_pictures,
    family_of,
    placeholder_ids,
    rearrange,
    text_model,
    token_types,
    vision_tower,
)
from pixeltune.model.preprocessing import Preprocessor
from pixeltune.model.shared_prefix.prefix import SharedPrefix, weights_now


class ArtModel(BaseTuner):
    """Supplies the live artwork to the backbone wherever a row contains its placeholder.

    The picture is encoded once per optimiser step (`pixeltune.adapter.accumulation`) and its features are
    repeated for every row, so the cost of the vision tower does not depend on the batch size. This happens in
    a pre-hook of the *backbone*, because TRL's fused head calls the backbone and never the forward of the
    whole model: anything higher up would train nothing, silently.
    """

    prefix = "art_"
    tuner_layer_cls = ArtLayer

    @property
    def art_block(self) -> str:
        """The artwork's placeholder text, for rows and prompts (`pixeltune.data.placement`)."""
        config = self._art_config()
        return self._preprocessor(config).block(config.height, config.width)

    def get_artwork_image(self) -> np.ndarray:
        """The current picture of the active adapter as `(H, W, 3)` uint8: what a PNG of it holds."""
        return self._layer().canvas().to_uint8()

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """`generate` of the base model, looking at the live artwork.

        Positions are prepared before the backbone is called, so what they depend on is added here. Tokens
        that stand for pictures are never chosen: an answer that held one could not be read again.

        Raises:
            ValueError: a prompt lacks the artwork's placeholder.
        """
        kwargs = _by_name(type(self.model).generate, args, kwargs)
        if kwargs.get("inputs") is not None:
            kwargs["input_ids"] = kwargs.pop("inputs")
        input_ids = kwargs.get("input_ids")
        if input_ids is not None and not _is_continued(kwargs) and not self._is_plain_text(input_ids):
            with torch.no_grad():
                described = self._with_artwork(kwargs, encoded=kwargs.get("pixel_values") is not None)
            kwargs = {**described, "input_ids": input_ids}  # which are returned in front of the answer
            settings = kwargs.get("generation_config") or self.model.generation_config
            suppressed = kwargs.get("suppress_tokens") or settings.suppress_tokens or []
            suppressed = sorted({*suppressed, *self._picture_tokens()})
            if kwargs.get("generation_config") is None:
                kwargs["suppress_tokens"] = suppressed
            else:  # beside which transformers wants no other settings
                kwargs["generation_config"] = copy.deepcopy(settings)
                kwargs["generation_config"].suppress_tokens = suppressed
        return type(self.model).generate(self.model, **kwargs)

    # What PEFT saves and loads; see `pixeltune.adapter.checkpoint`.

    @classmethod
    def _get_adapter_state_dict(
        cls, model: nn.Module, config: ArtConfig, adapter_name: str, state_dict: dict, **kwargs: Any
    ) -> dict[str, Tensor]:
        return canvas_state(model, adapter_name, state_dict)

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        return saved_key(key, adapter_name)

    @classmethod
    def _remap_adapter_state_dict_for_load(
        cls, model: nn.Module, config: ArtConfig, adapter_name: str, state_dict: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        return loaded_state(model, adapter_name, state_dict)

    def _prepare_adapter_config(self, peft_config: ArtConfig, model_config: dict) -> ArtConfig:
        backbone, tower = vision_tower(self.model)
        name = next(name for name, module in self.model.named_modules() if module is backbone)
        peft_config.target_modules = rf"(.*\.)?{re.escape(f'{name}.{tower}' if name else tower)}"
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        peft_config.resolve_size(self._preprocessor(peft_config), limit)
        return peft_config

    def _create_and_replace(
        self,
        peft_config: ArtConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        _check_name(adapter_name)
        if isinstance(target, ArtLayer):
            target.update_layer(adapter_name, peft_config)
            return
        layer = ArtLayer(target)
        layer.train(target.training)
        layer.update_layer(adapter_name, peft_config)  # first, so that a refused one leaves the model alone
        self._replace_module(parent, target_name, layer, target)
        self._hook = parent.register_forward_pre_hook(self._supply, with_kwargs=True)
        self._prefix = SharedPrefix(text_model(parent), family_of(parent).exact)
        # PeftModel.generate calls the base model's generate, not the tuner's, so it has to sit there.
        self.model.generate = self.generate

    def _replace_module(
        self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module
    ) -> None:
        # PEFT's own method also copies the module's `weight`, which a vision tower does not have.
        setattr(parent, child_name, new_module)

    def _supply(self, backbone: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict] | None:
        """Pre-hook of the backbone: hand it the encoded artwork. None leaves the call as it is."""
        kwargs = _by_name(type(backbone).forward, args, kwargs)
        input_ids = kwargs.get("input_ids")
        if input_ids is None:
            if _is_continued(kwargs):
                return None
            raise UserError("the artwork's place is found in input_ids: pass those instead of inputs_embeds")
        if _is_continued(kwargs):
            return self._continue(input_ids, kwargs)
        if self._is_plain_text(input_ids):
            return None
        kwargs = self._with_artwork(kwargs, encoded=True)
        input_ids = kwargs["input_ids"]
        self._check_positions(input_ids, kwargs.get("position_ids"))
        image = self.model.config.image_token_id, len(self._pieces())
        if tree := self._prefix.tree(input_ids, *image, self._seen, kwargs):
            kwargs["shared_prefix"] = tree
        return (), kwargs

    def _continue(self, input_ids: Tensor, kwargs: dict[str, Any]) -> tuple[tuple, dict] | None:
        """The call of the backbone for what follows on a part with the artwork.

        Raises:
            ValueError: the artwork may have been cut.
        """
        tokens = torch.tensor(placeholder_ids(self.model.config), device=input_ids.device)
        stray = torch.isin(input_ids, tokens)
        if _own_pictures(kwargs) or not stray.any():
            return None
        if input_ids.shape[1] > 1:
            raise UserError(
                "image tokens came after the start of a sequence, without pictures for them; the "
                "artwork must be in the first part, in one piece (no chunked prefill)"
            )
        return (), {**kwargs, "input_ids": self._as_text(input_ids, stray)}

    def _with_artwork(self, kwargs: dict[str, Any], encoded: bool) -> dict[str, Any]:
        """The arguments of a forward pass, completed by what describes the artwork, stray tokens as text.

        Args:
            kwargs: with `input_ids`; may have pictures of its own, as `pixel_values` and what goes with them,
                or already encoded as `mm_encoder_outputs`.
            encoded: also add the features of the artwork, else only what positions depend on.
        """
        kwargs, input_ids = dict(kwargs), kwargs["input_ids"]
        config, layer = self._art_config(), self._layer()
        preprocessor, (backbone, _) = self._preprocessor(config), vision_tower(self.model)
        seen = {name: kwargs.pop(name) for name in preprocessor.inputs if kwargs.get(name) is not None}
        grid, outputs = seen.get("image_grid_thw"), dict(kwargs.get("mm_encoder_outputs") or {})
        own = encode_pictures(backbone, **seen) if "pixel_values" in seen else outputs.get("image")
        lengths = None if own is None else [len(picture) for picture in own.pooler_output]
        pictures = find_pictures(input_ids, self._placeholders(), lengths)
        input_ids = self._as_text(input_ids, pictures.text)

        if encoded:
            artwork = layer.accumulation.features(
                self._seen, lambda: encode_pictures(backbone, **preprocessor.pixel_values(layer.image()))
            )
            sources = [artwork] if own is None else [artwork, own]
            kwargs["mm_encoder_outputs"] = {**outputs, "image": rearrange(sources, pictures.order)}
        art_grid = preprocessor.grid(config.height, config.width)
        if art_grid is not None and (own is None or grid is not None):
            grids = art_grid.to(input_ids.device), grid
            kwargs["image_grid_thw"] = torch.cat([grids[source][[index]] for source, index in pictures.order])
        for name, kinds in token_types(backbone, input_ids).items():
            if kwargs.get(name) is None or pictures.text is not None:
                kwargs[name] = kinds
        return kwargs | {"input_ids": input_ids}

    def _as_text(self, input_ids: Tensor, text: Tensor | None) -> Tensor:
        """The same ids with padding in place of picture tokens that stand for nothing.

        The backbone would look for their pictures. What follows them is conditioned on a blank; what is
        predicted in their place, and its probability, stays theirs, because labels are not touched.
        """
        if text is None:
            return input_ids
        tokenizer = self._preprocessor(self._art_config()).processor.tokenizer
        blank = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        return input_ids.masked_fill(text, blank)

    def _seen(self) -> Hashable:
        """Equal as long as the model sees the same: the picture, and the weights that look at it."""
        return self._layer().shown(), weights_now(vision_tower(self.model)[0])

    def _check_positions(self, input_ids: Tensor, position_ids: Tensor | None) -> None:
        """Refuse positions made without the artwork: where there are grids, its tokens must lie on one."""
        if position_ids is None or "image_grid_thw" not in self._preprocessor(self._art_config()).inputs:
            return
        piece = input_ids == self.model.config.image_token_id
        flat = position_ids.ndim < 3 or torch.equal(position_ids[-2][piece], position_ids[-1][piece])
        if flat and self._art_config().image_tokens > 1:
            raise UserError(
                "position_ids were made without the artwork. Pass none, so that they are "
                "computed, and do not use packing or padding_free"
            )

    def _is_plain_text(self, input_ids: Tensor) -> bool:
        """With adapters disabled the model may also be used without any picture, as the base model it is."""
        return self._layer().disable_adapters and not (input_ids == self.model.config.image_token_id).any()

    def _layer(self) -> ArtLayer:
        backbone, tower = vision_tower(self.model)
        return getattr(backbone, tower)

    def _art_config(self) -> ArtConfig:
        return self.peft_config[self._layer().active()]

    def _placeholders(self) -> Placeholders:
        """The tokens that stand for pictures."""
        image, *others = placeholder_ids(self.model.config)
        tokenizer = self._preprocessor(self._art_config()).processor.tokenizer
        return Placeholders(self._pieces(), image, others, tokenizer.convert_ids_to_tokens(image))

    def _picture_tokens(self) -> set[int]:
        """All special tokens that have to do with pictures, also those around them."""
        config = self._art_config()
        preprocessor = self._preprocessor(config)
        block = preprocessor.block_ids(config.height, config.width)
        special = {*preprocessor.processor.tokenizer.all_special_ids}
        return {*placeholder_ids(self.model.config), *(special & {*block})}

    def _pieces(self) -> list[int]:
        """Token ids of the active artwork, from its first to its last image token."""
        config = self._art_config()
        return self._preprocessor(config).piece_ids(config.height, config.width)

    def _preprocessor(self, config: ArtConfig) -> Preprocessor:
        """The processor's view, handed over (`use_processor`) or loaded once."""
        return self.__dict__.setdefault("_processors", Processors()).of(self.model, config)

    def _check_merge_allowed(self) -> None:
        raise UserError(
            "an artwork is a picture and cannot be merged into weights, which stay as they are. Save it "
            "(get_artwork_image) and send it with each request; unload() gives the base model back. "
            "If a trainer wanted to merge in order to sync weights with vLLM: there are none to sync, send "
            "the live picture instead"
        )

    def _unload_and_optionally_merge(self, merge: bool = True, **kwargs: Any) -> nn.Module:
        if merge:
            self._check_merge_allowed()
        self._hook.remove()
        self._prefix.remove()
        del self.model.generate
        return super()._unload_and_optionally_merge(merge=False, **kwargs)


def _check_name(adapter_name: str) -> None:
    """Canvases lie in a `ModuleDict`, as all of PEFT's adapters do, which cannot hold every name."""
    if not adapter_name or "." in adapter_name or hasattr(nn.ModuleDict, adapter_name):
        raise UserError(
            f"an adapter cannot be called {adapter_name!r}: give it a name without dots that is no method of "
            f"torch.nn.ModuleDict, for example {'art_' + adapter_name.replace('.', '_')!r}"
        )


def _by_name(method: Callable, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Positional and named arguments of an unbound method's call, all by name."""
    names = list(inspect.signature(method).parameters)[1:]
    return {**dict(zip(names, args, strict=False)), **kwargs}


def _is_continued(kwargs: dict[str, Any]) -> bool:
    """Whether this call continues a sequence whose beginning, with the artwork, is in the cache."""
    cache = given_cache(kwargs)
    return cache is not None and cache.get_seq_length() > 0


def _own_pictures(kwargs: dict[str, Any]) -> bool:
    encoded = (kwargs.get("mm_encoder_outputs") or {}).get("image")
    return kwargs.get("pixel_values") is not None or encoded is not None
