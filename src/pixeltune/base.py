"""The frozen base model: loading it, and telling whether it is still the same."""

from __future__ import annotations

import hashlib
from typing import Any

from pixeltune import tiny
from pixeltune.torchvision_cpu import declare_operators

declare_operators()

import torch  # noqa: E402
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor  # noqa: E402


def load_processor(name: str, revision: str | None = None) -> Any:
    """The processor of a hub name or folder; "tiny" is the bundled model.

    Raises:
        ValueError: there is no such model, or no image processor in it.
    """
    return _load(AutoProcessor, name, revision)


def load_model(name: str, revision: str | None = None) -> Any:
    """The model of a hub name or folder, in evaluation mode; "tiny" is the bundled one.

    Raises:
        ValueError: there is no such model.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return _load(AutoModelForImageTextToText, name, revision).eval().to(device)


def context_length(name: str, revision: str | None = None) -> int | None:
    """How many tokens the model was made for, None where its config does not say.

    Raises:
        ValueError: there is no such model.
    """
    config = _load(AutoConfig, name, revision).get_text_config()
    return getattr(config, "max_position_embeddings", None)


def _load(auto: Any, name: str, revision: str | None) -> Any:
    try:
        return auto.from_pretrained(str(tiny.PATH) if name == "tiny" else name, revision=revision)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot load {name!r}: {str(error).splitlines()[0]}") from error


def weights_sha256(model: torch.nn.Module) -> str:
    """SHA-256 over names, dtypes and bytes of a model's parameters and buffers, without artwork or LoRA."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if ".art_canvas." in name or ".lora_" in name:
            continue
        digest.update(f"{name.replace('.base_layer.', '.')} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def template_sha256(processor: Any) -> str:
    """SHA-256 of the chat template's text."""
    return hashlib.sha256((processor.chat_template or processor.tokenizer.chat_template).encode()).hexdigest()
