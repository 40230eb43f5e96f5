"""The frozen base model: loading it, in which precision, and telling whether it is still the same."""

from __future__ import annotations

import hashlib
import importlib.util
from typing import Any, Literal

from pixeltune.model.compat.versions import check_versions

check_versions()  # before what others would break is imported

import torch
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    BitsAndBytesConfig,
)

from pixeltune.errors import UserError, first_line
from pixeltune.model.compat.bars import without_bars
from pixeltune.model.compat.bitsandbytes_insides import keep_differentiable
from pixeltune.model.finding import find_model, place
from pixeltune.model.precision import DEVICE_MAPS, DTYPES
from pixeltune.model.sharding import asked_for, whole


def load_processor(name: str, revision: str | None = None) -> Any:
    """The processor of a hub name or folder; "tiny" and "smol" are bundled models.

    Raises:
        ValueError: there is no such model, or no image processor in it.
    """
    return _load(AutoProcessor, name, revision)


def load_model(
    name: str,
    revision: str | None = None,
    dtype: str = "auto",
    bits: Literal[4, 8] | None = None,
    device_map: str | None = None,
) -> Any:
    """The model of a hub name or folder, in evaluation mode; "tiny" and "smol" are bundled ones.

    Args:
        name: of the model.
        revision: commit or tag on the hub.
        dtype: of the weights, one of `DTYPES`; "auto": as the model's config says.
        bits: quantise the linear layers while loading, by bitsandbytes: 8 (LLM.int8) or 4 (nf4). `dtype` is
            then that of all other weights, and what a 4-bit layer computes in.
        device_map: how to share the layers out among this machine's devices, one of `DEVICE_MAPS` (see
            accelerate's `infer_auto_device_map`); None: all on the first.

    Raises:
        ValueError: there is no such model or dtype, the devices are too small for the model, or bitsandbytes
            is missing or does not know the device.
    """
    if dtype not in DTYPES:
        raise UserError(f"dtype is one of {', '.join(DTYPES)}, not {dtype!r}")
    if device_map not in (None, *DEVICE_MAPS):
        raise UserError(f"device_map is one of {', '.join(DEVICE_MAPS)}, not {device_map!r}")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if bits is None:
        if device_map is None:
            model = _load(AutoModelForImageTextToText, name, revision, dtype=dtype).eval()
            # One that is to be shared out among processes need not fit a device: each takes its part there.
            return model if asked_for() else model.to(device)
        model = _load(AutoModelForImageTextToText, name, revision, dtype=dtype, device_map=device_map)
        check_devices(model)
        return model.eval()
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(
            f"a {bits}-bit base needs bitsandbytes: pip install 'pixeltune[quantization]', or use "
            "--dtype bfloat16"
        )
    how: dict[str, Any] = {"load_in_8bit": True}
    if bits == 4:
        computed = _load(AutoConfig, name, revision).dtype if dtype == "auto" else dtype
        # In any other dtype than that of the model a 4-bit layer would cast its biases for good.
        how = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": computed}
    options = {"quantization_config": BitsAndBytesConfig(**how), "device_map": device_map or {"": device}}
    try:
        model = _load(AutoModelForImageTextToText, name, revision, dtype=dtype, **options)
    except (ImportError, RuntimeError) as error:  # too old, or no kernels for this device
        why = " ".join(str(error).split())
        raise UserError(f"bitsandbytes cannot quantise {name!r} here, use --dtype bfloat16: {why}") from error
    check_devices(model)
    keep_differentiable(model)
    return model.eval()


def check_devices(model: Any) -> None:
    """Refuse a model that did not fit its devices: accelerate would fetch the rest anew in every pass.

    Raises:
        ValueError: parts of it were put aside, into memory or onto the disk.
    """
    places = [str(place) for place in getattr(model, "hf_device_map", {}).values()]
    aside = places.count("disk") + (places.count("cpu") if set(places) - {"cpu", "disk"} else 0)
    if aside:
        raise UserError(
            f"the model does not fit this machine's devices, {aside} of its {len(places)} parts would "
            "lie elsewhere: use more or larger devices, --dtype bfloat16 or --load_in_4bit true"
        )


def context_length(name: str, revision: str | None = None) -> int | None:
    """How many tokens the model was made for, None where its config does not say.

    Raises:
        ValueError: there is no such model.
    """
    config = _load(AutoConfig, name, revision).get_text_config()
    return getattr(config, "max_position_embeddings", None)


def _load(auto: Any, name: str, revision: str | None, **options: Any) -> Any:
    options |= find_model(name, revision)
    try:
        with without_bars():
            return auto.from_pretrained(place(name), revision=revision, **options)
    except ImportError as error:
        if "quantization_config" in options:
            raise  # what quantising needs is said there
        why = " ".join(str(error).split())
        raise UserError(f"{name!r} needs a package that is not installed: {why:.200}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"cannot load {name!r}: {first_line(error)}") from error


def weights_sha256(model: torch.nn.Module) -> str:
    """SHA-256 over names, dtypes and bytes of a model's parameters and buffers, without artwork or LoRA.

    Where the model is shared out among processes all of them must ask; each fetches one tensor after the other.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if ".art_canvas." in name or ".lora_" in name:
            continue
        tensor = whole(tensor)
        digest.update(f"{name.replace('.base_layer.', '.')} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def template_sha256(processor: Any) -> str:
    """SHA-256 of the chat template's text."""
    return hashlib.sha256((processor.chat_template or processor.tokenizer.chat_template).encode()).hexdigest()
