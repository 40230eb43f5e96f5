"""Names and signatures of other libraries' insides that are relied on: an upgrade says here what it broke.

Each has its reason at the function that touches it (`adapter/compat.py`, `model/compat/`, `training/compat/`),
or where it is overridden.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch

import pixeltune.adapter
from pixeltune.adapter import ArtConfig, ArtLayer, ArtModel
from pixeltune.model.compat.torch_insides import writes
from pixeltune.model.compat.transformers_insides import (
    cache_name,
    checkpoints_reentrantly,
    recurrent_cache_name,
)
from pixeltune.model.families import FAMILIES
from pixeltune.model.shared_prefix.cache import RecurrentCache


def find(path: str) -> Any:
    """An object by "package.module:Name.attribute"."""
    module, _, names = path.partition(":")
    found = importlib.import_module(module)
    for name in names.split("."):
        found = getattr(found, name)
    return found


def parameters(function: Callable) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]


# What is called: the arguments that are given.
CALLED = {
    "peft.tuners.tuners_utils:BaseTunerLayer._move_adapter_to_device_of_base_layer": [
        "adapter_name",
        "device",
    ],
    "peft.tuners.tuners_utils:BaseTunerLayer.set_adapter": ["adapter_names"],
    "transformers.cache_utils:Cache.__init__": ["layers"],
    "transformers.cache_utils:Cache.update": ["key_states", "value_states", "layer_idx"],
    "transformers.cache_utils:Cache.get_seq_length": [],
    "transformers.cache_utils:Cache.batch_select_indices": ["indices"],
    "transformers.generation.utils:GenerationMixin._prefill": [
        *("input_ids", "generation_config", "model_kwargs")
    ],
    "transformers.generation.utils:GenerationMixin._update_model_kwargs_for_generation": [
        *("outputs", "model_kwargs")
    ],
    "transformers.generation.utils:GenerationMixin._optimize_model_for_decode": [],
    "transformers.models.gemma4.image_processing_gemma4:get_aspect_ratio_preserving_size": [
        *("height", "width", "patch_size", "max_patches", "pooling_kernel_size")
    ],
    "transformers.models.minicpmv4_6.image_processing_minicpmv4_6:MiniCPMV4_6ImageProcessor.get_sliced_grid": [
        *("image_size", "max_slice_nums", "scale_resolution")
    ],
    "transformers.models.minicpmv4_6.image_processing_minicpmv4_6:MiniCPMV4_6ImageProcessor.find_best_resize": [
        *("image_size", "scale_resolution", "patch_size", "allow_upscale")
    ],
    **{
        f"transformers:{kind}.get_number_of_image_patches": ["height", "width"]
        for kind in ("Qwen2VLImageProcessor", "Glm4vImageProcessor", "Glm46VImageProcessor")
    },
    "torch.nn:Module._apply": ["fn", "recurse"],
    "torch.utils._pytree:tree_map_only": [],
}


@pytest.mark.parametrize("path", CALLED)
def test_what_is_called_takes_what_it_is_given(path):
    taken = parameters(find(path))
    assert [name for name in taken if name in CALLED[path]] == CALLED[path], taken


# What is overridden, and so called by PEFT with its own arguments.
OVERRIDDEN = [
    "_check_merge_allowed",
    "_create_and_replace",
    "_get_adapter_state_dict",
    "_prepare_adapter_config",
    "_remap_adapter_state_dict_for_load",
    "_remove_adapter_name_from_key",
    "_replace_module",
    "_unload_and_optionally_merge",
]


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_what_is_overridden_is_still_called_as_we_take_it(name):
    theirs = inspect.signature(getattr(find("peft.tuners.tuners_utils:BaseTuner"), name)).parameters
    ours = inspect.signature(getattr(ArtModel, name)).parameters
    open_ended = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in ours.values())
    assert set(theirs) <= set(ours) or open_ended, (list(theirs), list(ours))
    needed = {key for key, one in ours.items() if one.default is one.empty and one.kind.name != "VAR_KEYWORD"}
    allowed = set(theirs) | {"parameter_name"}
    assert needed <= allowed, (list(theirs), list(ours))


def test_nothing_of_peft_is_overridden_that_is_not_listed():
    base = find("peft.tuners.tuners_utils:BaseTuner")
    private = {
        name for name in vars(ArtModel) if name.startswith("_") and not name.startswith(("__", "_abc"))
    }
    assert {name for name in private if hasattr(base, name)} == set(OVERRIDDEN)


def test_peft_asks_the_hooks_of_its_own_tables():
    """`register_peft_method` refuses names that are not in PEFT's enum, so its tables are written."""
    mapping = importlib.import_module("peft.mapping")
    assert mapping.PEFT_TYPE_TO_CONFIG_MAPPING["ART"] is ArtConfig
    assert mapping.PEFT_TYPE_TO_TUNER_MAPPING["ART"] is ArtModel
    assert mapping.PEFT_TYPE_TO_PREFIX_MAPPING["ART"] == ArtModel.prefix
    saving = "peft.utils.save_and_load"
    for function, hook in (
        ("get_peft_model_state_dict", "_get_adapter_state_dict("),
        ("get_peft_model_state_dict", "_remove_adapter_name_from_key("),
        ("set_peft_model_state_dict", "_remap_adapter_state_dict_for_load("),
    ):
        source = inspect.getsource(find(f"{saving}:{function}"))
        assert "tuner_cls = PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type]" in source, function
        assert f"tuner_cls.{hook}" in source
    init = inspect.getsource(find("peft.peft_model:PeftModel.__init__"))
    assert "PEFT_TYPE_TO_TUNER_MAPPING[peft_config.peft_type]" in init
    with pytest.raises(Exception, match=r"ART|PeftType"):
        find("peft.utils:register_peft_method")(
            name="art", config_cls=ArtConfig, model_cls=ArtModel, prefix=ArtModel.prefix
        )


def test_tuner_layers_know_which_adapter_is_on():
    layer = find("peft.tuners.tuners_utils:BaseTunerLayer")
    assert isinstance(inspect.getattr_static(layer, "active_adapters"), property)
    assert isinstance(inspect.getattr_static(layer, "disable_adapters"), property)
    assert ArtLayer.adapter_layer_names == ("art_canvas",)


def test_trainers_start_from_a_list_of_callbacks():
    callbacks = find("transformers.trainer:DEFAULT_CALLBACKS")
    assert isinstance(callbacks, list)
    assert "DEFAULT_CALLBACKS" in inspect.getsource(find("transformers.trainer:Trainer.__init__"))
    names = [callback.__qualname__ for callback in callbacks]
    assert names.count("NoOpGuard") == names.count("PixelOptimizerCheck") == 1
    assert pixeltune.adapter.NoOpGuard in callbacks


def test_layers_that_are_checkpointed_keep_their_function():
    kind = find("transformers.modeling_layers:GradientCheckpointingLayer")
    source = inspect.getsource(kind)
    assert kind.gradient_checkpointing is False
    assert "_gradient_checkpointing_func" in source
    config = find("transformers:LlamaConfig")(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=2, num_attention_heads=1
    )
    model = _on_meta(find("transformers:LlamaModel"), config)
    for reentrant in (True, False):
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        assert checkpoints_reentrantly(model.layers) == reentrant


def test_attention_of_our_name_is_given_a_whole_row_without_a_mask(monkeypatch):
    """`shared_prefix.branches.attend`."""
    config = find("transformers:LlamaConfig")(
        vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2
    )
    model, given = find("transformers:LlamaModel")(config), {}

    def attention(module: torch.nn.Module, query: torch.Tensor, *rest: Any, **named: Any) -> tuple:
        given.update(named, number=module.layer_idx, shape=tuple(query.shape), mask=rest[2])
        return query.transpose(1, 2), None

    find("transformers:AttentionInterface").register("pixeltune_test", attention)
    config._attn_implementation = "pixeltune_test"
    model(inputs_embeds=torch.zeros(1, 5, 8), position_ids=torch.tensor([[0, 1, 2, 1, 2]]), use_cache=False)
    assert (given["number"], given["shape"], given["mask"]) == (0, (1, 2, 5, 4), None)
    assert given["dropout"] == 0
    assert given["scaling"] == pytest.approx(0.5)


def test_recurrent_layers_take_a_cache_by_the_name_that_is_told():
    mixer = find("transformers.models.qwen3_5.modeling_qwen3_5:Qwen3_5GatedDeltaNet")
    assert {"hidden_states", recurrent_cache_name(mixer)} <= {*parameters(mixer.forward)}


def test_4_bit_layers_say_whether_they_repack_their_weights():
    """`keep_differentiable`; what goes wrong without it is in `tests/model/test_precision.py`."""
    pytest.importorskip("bitsandbytes")
    layer = find("bitsandbytes.nn:Linear4bit")
    assert "self.support_avx512bf16_for_cpu = " in inspect.getsource(layer.__init__)
    assert "self.support_avx512bf16_for_cpu" in inspect.getsource(layer.forward)
    assert "_convert_weight_packed_for_cpu_inverse(" in inspect.getsource(layer._save_to_state_dict)


def test_tensors_count_what_is_written_to_them():
    tensor = torch.zeros(2)
    before = writes(tensor)
    tensor.add_(1)
    assert writes(tensor) == before + 1
    tensor.data = torch.ones(2)
    assert writes(tensor) == before + 1


def test_accelerate_tells_which_batch_is_the_last():
    state = find("accelerate.state:GradientState")
    state._reset_state()
    assert state().sync_gradients is True  # also where no trainer is
    assert parameters(state._set_sync_gradients) == ["sync_gradients"]


def test_accelerate_tells_how_it_shards_and_can_be_told():
    """And transformers keeps whether it does in an attribute of the trainer, made once."""
    assert isinstance(find("accelerate.state:AcceleratorState")._shared_state, dict)
    assert "self.fsdp_plugin = fsdp_plugin" in inspect.getsource(find("accelerate.state:AcceleratorState"))
    told = {"fsdp_version", "cpu_ram_efficient_loading", "ignored_modules", "transformer_cls_names_to_wrap"}
    assert told <= set(find("accelerate.utils:FullyShardedDataParallelPlugin").__dataclass_fields__)
    source = inspect.getsource(find("transformers:Trainer"))
    assert source.count("self.is_fsdp_enabled = ") == 1
    for branch in ("elif self.is_fsdp_enabled:", "if self.is_fsdp_enabled:"):
        assert branch in source


@pytest.mark.parametrize(
    ("ours", "path", "methods"),
    [
        (
            RecurrentCache,
            "transformers.cache_utils:LinearAttentionLayer",
            ["update_conv_state", "update_recurrent_state"],
        ),
    ],
)
def test_layers_of_a_cache_are_called_as_ours_take_it(ours, path, methods):
    theirs = find(path)
    assert issubclass(ours, theirs)
    for name in methods:
        taken = inspect.signature(getattr(ours, name)).parameters
        open_ended = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in taken.values())
        assert open_ended or not name.startswith("update")
        own = [key for key in taken if key not in ("self", "args", "kwargs")]
        assert parameters(getattr(theirs, name))[: len(own)] == own, name
    fields = vars(RecurrentCache())
    assert {"conv_states", "recurrent_states", "has_previous_state", "record_past"} <= set(fields)
    assert {"conv_states", "recurrent_states", "has_previous_state", "record_past"} <= set(
        vars(find("transformers.cache_utils:LinearAttentionLayer")())
    )


@pytest.mark.parametrize(
    "path",
    [
        "transformers.modeling_outputs:MoeModelOutputWithPast",
        *(f"transformers:{kind}.forward" for kind in ("LlamaModel", "Qwen3VLModel", "Qwen3_5TextModel")),
    ],
)
def test_a_cache_is_called_the_same_in_outputs_and_as_an_argument(path):
    assert {cache_name()} == {"cache", "past_key_values"} & set(parameters(find(path)))


@pytest.mark.parametrize("family", FAMILIES)
def test_backbones_take_features_of_pictures_and_have_the_parts_that_are_named(family):
    """Without weights: on the meta device."""
    mapping = importlib.import_module("transformers").AutoModelForImageTextToText._model_mapping
    config = importlib.import_module("transformers").AutoConfig.for_model(family)
    config.get_text_config().pad_token_id = None
    backbone = type(_on_meta(mapping[type(config)], config).base_model)
    record = FAMILIES[family]
    assert "mm_encoder_outputs" in inspect.signature(backbone.forward).parameters or any(
        one.kind is inspect.Parameter.VAR_KEYWORD
        for one in inspect.signature(backbone.forward).parameters.values()
    )
    assert "pixel_values" in inspect.signature(backbone.get_image_features).parameters
    assert hasattr(importlib.import_module("transformers"), record.image_processor)


def _on_meta(kind: type, config: Any) -> Any:
    with torch.device("meta"):
        return kind(config)
