"""Larger models for clocks and memory: what they say does not matter.

python -m benchmarks.common.random_model 0.8B FOLDER
"""

from __future__ import annotations

import pixeltune  # noqa: F401  first: it makes torchvision importable beside a CPU torch

# isort: split
import sys

import torch
from transformers import AutoModelForImageTextToText, Qwen3_5Config, Qwen3VLForConditionalGeneration

from pixeltune.model.loading import load_model, load_processor

SEED = 42
# Of Qwen3.5: width, layers, attention heads, key-value heads, width between, heads of the recurrent layers' values;
# the tower's depth, width, heads, width between.
QWEN3_5 = {
    "0.8B": ((1024, 24, 8, 2, 3584, 16), (12, 768, 12, 3072)),
    "2B": ((2048, 24, 8, 2, 6144, 16), (24, 1024, 16, 4096)),
    "4B": ((2560, 32, 16, 4, 9216, 32), (24, 1024, 16, 4096)),
}


def save_random_model(folder: str) -> int:
    """The bundled model's architecture, wider and deeper, with random weights; its number of parameters."""
    torch.manual_seed(SEED)
    config = load_model("tiny").config
    text, vision = config.text_config, config.vision_config
    text.hidden_size = vision.out_hidden_size = 768
    text.intermediate_size, text.num_hidden_layers = 3072, 12
    text.num_attention_heads, text.num_key_value_heads = 12, 12
    model = Qwen3VLForConditionalGeneration(config)
    model.save_pretrained(folder)
    load_processor("tiny").save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


def qwen3_5_config(size: str) -> Qwen3_5Config:
    """The released shapes of a size, one of `QWEN3_5`, with the special tokens of the bundled model's tokenizer."""
    (width, layers, heads, shared, between, values), (depth, tower, tower_heads, tower_between) = QWEN3_5[
        size
    ]
    known = load_model("tiny").config
    text = {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": shared,
        "intermediate_size": between,
        "linear_num_value_heads": values,
        "tie_word_embeddings": True,
        "pad_token_id": known.text_config.pad_token_id,
        "eos_token_id": known.text_config.eos_token_id,
    }  # all else is the config's default: vocabulary, head sizes, three recurrent layers in four
    vision = {"depth": depth, "hidden_size": tower, "num_heads": tower_heads, "out_hidden_size": width}
    vision |= {"intermediate_size": tower_between}
    ids = {name: getattr(known, name) for name in vars(known) if name.endswith("_token_id")}
    ids = {name: value for name, value in ids.items() if name.split("_")[0] in ("image", "video", "vision")}
    return Qwen3_5Config(text_config=text, vision_config=vision, tie_word_embeddings=True, **ids)


def save_qwen3_5(size: str, folder: str) -> int:
    """Qwen3.5 of a size with random weights in bfloat16, and the bundled model's processor; its parameters."""
    torch.manual_seed(SEED)
    model = AutoModelForImageTextToText.from_config(qwen3_5_config(size), dtype=torch.bfloat16)
    model.save_pretrained(folder)
    load_processor("tiny").save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


if __name__ == "__main__":
    print(f"{save_qwen3_5(*sys.argv[1:3]):,} parameters")
