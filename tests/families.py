"""Tiny random models of every supported family, with processor and tokenizer, made on the spot."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from pixeltune.torchvision_cpu import declare_operators

declare_operators()

from tokenizers.pre_tokenizers import ByteLevel  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForImageTextToText,
    AutoProcessor,
    PreTrainedModel,
    ProcessorMixin,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor  # noqa: E402

FAMILIES = ("qwen2_5_vl", "qwen3_vl", "qwen3_5")

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
SPECIAL += ["<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]

TEMPLATE = """{%- macro parts(content) -%}
{%- if content is string -%}{{ content }}
{%- else -%}{%- for part in content -%}
{%- if part.type == "image" -%}<|vision_start|><|image_pad|><|vision_end|>{%- else -%}{{ part.text }}{%- endif
-%} {%- endfor -%}{%- endif -%} {%- endmacro -%} {%- if tools -%}{{ "<|im_start|>system\\n" }} {%- if
messages[0].role == "system" -%}{{ parts(messages[0].content) + "\\n\\n" }}{%- endif -%} {{ "# Tools\\n" }}{%-
for tool in tools -%}{{ tool | tojson + "\\n" }}{%- endfor -%}{{ "<|im_end|>\\n" }} {%- endif -%} {%- for
message in messages -%} {%- if not (tools and loop.first and message.role == "system") -%} {{ "<|im_start|>" +
message.role + "\\n" + parts(message.content) }} {%- for call in message.tool_calls or [] -%}{{ "<tool_call>"
+ call.function | tojson + "</tool_call>" }}{%- endfor -%} {{ "<|im_end|>\\n" }} {%- endif -%} {%- endfor -%}
{%- if add_generation_prompt -%}{{ "<|im_start|>assistant\\n" }}{%- endif -%}
"""


def make_tokenizer() -> Qwen2Tokenizer:
    """Bytes plus Qwen's special tokens; every byte is a token, so nothing can be out of vocabulary."""
    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *sorted(ByteLevel.alphabet())])}
    return Qwen2Tokenizer(
        vocab=vocabulary,
        merges=[],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=SPECIAL,
        chat_template=TEMPLATE,
    )


def make_processor(family: str) -> ProcessorMixin:
    """The stock processor with the constants of the released checkpoints of this family."""
    tokenizer = make_tokenizer()
    if family == "qwen2_5_vl":
        images = Qwen2VLImageProcessor(patch_size=14, size={"shortest_edge": 3136, "longest_edge": 12845056})
        return Qwen2_5_VLProcessor(images, tokenizer, Qwen2VLVideoProcessor(), chat_template=TEMPLATE)
    size = {"shortest_edge": 65536, "longest_edge": 16777216}
    images = Qwen2VLImageProcessor(patch_size=16, size=size, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    return Qwen3VLProcessor(images, tokenizer, Qwen3VLVideoProcessor(), chat_template=TEMPLATE)


def make_model(family: str) -> PreTrainedModel:
    """A model of a few thousand weights, whose weights are large enough for the picture to matter."""
    tokens = make_tokenizer().get_vocab()
    text = {
        "vocab_size": 272,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 2048,
        "initializer_range": 0.1,
        "pad_token_id": tokens["<|endoftext|>"],
        "head_dim": 16,
    }
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "out_hidden_size": 32,
        "initializer_range": 0.1,
    }
    ids = {f"{name}_token_id": tokens[f"<|{name}_pad|>"] for name in ("image", "video")}
    ids |= {f"vision_{name}_token_id": tokens[f"<|vision_{name}|>"] for name in ("start", "end")}
    torch.manual_seed(0)
    if family == "qwen2_5_vl":
        text.pop("head_dim")
        text |= {"bos_token_id": None, "eos_token_id": tokens["<|im_end|>"]}
        text["rope_parameters"] = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
        vision |= {"fullatt_block_indexes": [1], "patch_size": 14, "window_size": 112}
        model = Qwen2_5_VLForConditionalGeneration(
            Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids)
        )
    elif family == "qwen3_vl":
        text["rope_parameters"] = {
            "rope_type": "default",
            "mrope_section": [2, 3, 3],
            "mrope_interleaved": True,
            "rope_theta": 10000.0,
        }
        vision |= {"deepstack_visual_indexes": [0], "num_position_embeddings": 64}
        model = Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision, **ids))
    else:
        text["rope_parameters"] = {
            "rope_type": "default",
            "mrope_section": [2, 1, 1],
            "mrope_interleaved": True,
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5,
        }
        text |= {
            "layer_types": ["linear_attention", "full_attention"],
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 2,
        }
        vision |= {"num_position_embeddings": 64}
        model = Qwen3_5ForConditionalGeneration(Qwen3_5Config(text_config=text, vision_config=vision, **ids))
    model.generation_config.eos_token_id = tokens["<|im_end|>"]
    model.generation_config.pad_token_id = tokens["<|endoftext|>"]
    return model.eval()


def save(family: str, folder: Path) -> str:
    """Model and processor in one folder, as a hub checkpoint would be."""
    make_model(family).save_pretrained(folder)
    make_processor(family).save_pretrained(folder)
    return str(folder)


def load(folder: str) -> tuple[PreTrainedModel, ProcessorMixin]:
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), AutoProcessor.from_pretrained(folder)


def rows(count: int = 8) -> list[dict]:
    """Conversational prompt-completion rows of different lengths."""
    return [
        {
            "prompt": [{"role": "user", "content": f"What is {n} and {'very ' * (n % 3)}{n}?"}],
            "completion": [{"role": "assistant", "content": json.dumps({"sum": 2 * n})}],
        }
        for n in range(count)
    ]
