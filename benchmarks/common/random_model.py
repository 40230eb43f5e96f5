"""A larger model for clocks and memory: what it says does not matter."""

from __future__ import annotations

import torch
from transformers import Qwen3VLForConditionalGeneration

from pixeltune.model.loading import load_model, load_processor

SEED = 42


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
