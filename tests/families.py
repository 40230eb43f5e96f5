"""Tiny random models of every supported family, with processor and tokenizer, made on the spot."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import torch
import transformers
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    PreTrainedModel,
    ProcessorMixin,
    Qwen2Tokenizer,
)
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

FAMILIES = ("qwen2_5_vl", "qwen3_vl", "qwen3_5")
"""Those for which every test of the adapter runs."""

GRIDS = ("qwen2_vl", "qwen3_vl_moe", "qwen3_5_moe", "glm4v", "glm4v_moe", "glm46v")
"""More families whose pictures have grid positions."""

OTHERS = ("gemma3", "gemma4", "internvl", "mistral3", "idefics3", "smolvlm", "llava_onevision", "minicpmv4_6")

ALL = FAMILIES + GRIDS + OTHERS


def missing(family: str) -> str | None:
    """A package that this family's stock processor wants and that is not installed."""
    needed = "num2words" if family == "smolvlm" else None
    return needed if needed and importlib.util.find_spec(needed) is None else None


SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
SPECIAL += ["<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]

QWEN = "<|vision_start|><|image_pad|><|vision_end|>"
GLM = "<|begin_of_image|><|image|><|end_of_image|>"
MARKS = {
    **dict.fromkeys(("glm4v", "glm4v_moe", "glm46v"), GLM),
    "gemma3": "<start_of_image>",
    "gemma4": "<|image|>",
    "internvl": "<IMG_CONTEXT>\n",
    "mistral3": "[IMG]",
    "idefics3": "<image>",
    "smolvlm": "<image>",
    "llava_onevision": "<image>\n",
    "minicpmv4_6": "<|image_pad|>\n",
}
"""What a family's chat template writes for a picture; Qwen's where none is named."""

TOKENS = {
    "gemma3": {
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>",
    },
    "gemma4": {
        "boi_token": "<|image>",
        "eoi_token": "<image|>",
        "image_token": "<|image|>",
        "boa_token": "<|audio>",
        "eoa_token": "<audio|>",
        "audio_token": "<|audio|>",
        "video": "<|video|>",
    },
    "internvl": {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    },
    "mistral3": {"image": "[IMG]", "break": "[IMG_BREAK]", "end": "[IMG_END]"},
    "idefics3": {
        "fake": "<fake_token_around_image>",
        "image": "<image>",
        "utterance": "<end_of_utterance>",
        "global": "<global-img>",
    },
    "llava_onevision": {"image_token": "<image>", "video_token": "<video>"},
    "minicpmv4_6": {
        "image_token": "<|image_pad|>",
        "video_token": "<|video_pad|>",
        "image_start_token": "<image>",
        "image_end_token": "</image>",
        "slice_start_token": "<slice>",
        "slice_end_token": "</slice>",
        "image_id_start_token": "<image_id>",
        "image_id_end_token": "</image_id>",
    },
}
TOKENS["smolvlm"] = {**TOKENS["idefics3"], "image_token": "<image>"}
for _family in ("glm4v", "glm4v_moe", "glm46v"):
    _edges = [f"<|{edge}_of_{kind}|>" for kind in ("image", "video") for edge in ("begin", "end")]
    TOKENS[_family] = {token: token for token in ("<|image|>", "<|video|>", *_edges)}
"""Special tokens of a family beside those of chats; names that end in _token become its tokenizer's."""

TEMPLATE = """{%- macro parts(content) -%}
{%- if content is string -%}{{ content }}
{%- else -%}{%- for part in content -%}
{%- if part.type == "image" -%}{{ MARK }}{%- else -%}{{ part.text }}{%- endif
-%} {%- endfor -%}{%- endif -%} {%- endmacro -%} {%- if tools -%}{{ "<|im_start|>system\\n" }} {%- if
messages[0].role == "system" -%}{{ parts(messages[0].content) + "\\n\\n" }}{%- endif -%} {{ "# Tools\\n" }}{%-
for tool in tools -%}{{ tool | tojson + "\\n" }}{%- endfor -%}{{ "<|im_end|>\\n" }} {%- endif -%} {%- for
message in messages -%} {%- if not (tools and loop.first and message.role == "system") -%} {{ "<|im_start|>" +
message.role + "\\n" + parts(message.content) }} {%- for call in message.tool_calls or [] -%}{{ "<tool_call>"
+ call.function | tojson + "</tool_call>" }}{%- endfor -%} {{ "<|im_end|>\\n" }} {%- endif -%} {%- endfor -%}
{%- if add_generation_prompt -%}{{ "<|im_start|>assistant\\n" }}{%- endif -%}
"""


def template(family: str = "qwen3_vl") -> str:
    """One chat template for all families, with what each writes for a picture."""
    return TEMPLATE.replace("{{ MARK }}", "{{ " + json.dumps(MARKS.get(family, QWEN)) + " }}")


def make_tokenizer(family: str = "qwen3_vl") -> Qwen2Tokenizer:
    """Bytes plus the family's special tokens; every byte is a token, so nothing can be out of vocabulary.

    Line breaks merge into longer tokens, as they do in Gemma's vocabulary and others.
    """
    own = TOKENS.get(family)
    special = SPECIAL if own is None else [*SPECIAL[:3], *own.values()]
    special = list(dict.fromkeys(special))
    breaks = [] if own is None else ["\u010a\u010a", "\u010a\u010a\u010a"]
    vocabulary = [*special, *sorted(ByteLevel.alphabet()), *breaks]
    named = {name: token for name, token in (own or {}).items() if name.endswith("_token")}
    return Qwen2Tokenizer(
        vocab={token: index for index, token in enumerate(vocabulary)},
        merges=[("\u010a", "\u010a"), ("\u010a\u010a", "\u010a")][: len(breaks)],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=special,
        model_specific_special_tokens=named,
        chat_template=template(family),
    )


def make_processor(family: str) -> ProcessorMixin:
    """The stock processor with the constants of the released checkpoints of this family.

    Of SmolVLM and Idefics3 with the one setting without which they split every picture.
    """
    tokenizer, chat = make_tokenizer(family), {"chat_template": template(family)}
    t = transformers
    half = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    if family in ("qwen2_vl", "qwen2_5_vl"):
        images = t.Qwen2VLImageProcessor(
            patch_size=14, size={"shortest_edge": 3136, "longest_edge": 12845056}
        )
        make = t.Qwen2VLProcessor if family == "qwen2_vl" else t.Qwen2_5_VLProcessor
        return make(images, tokenizer, Qwen2VLVideoProcessor(), **chat)
    if family.startswith("qwen3"):
        size = {"shortest_edge": 65536, "longest_edge": 16777216}
        images = t.Qwen2VLImageProcessor(patch_size=16, size=size, **half)
        return t.Qwen3VLProcessor(images, tokenizer, t.Qwen3VLVideoProcessor(), **chat)
    if family in ("glm4v", "glm4v_moe"):
        images = t.Glm4vImageProcessor(size={"shortest_edge": 12544, "longest_edge": 9633792})
        return t.Glm4vProcessor(images, tokenizer, t.Glm4vVideoProcessor(), **chat)
    if family == "glm46v":
        images = t.Glm46VImageProcessor(size={"shortest_edge": 12544, "longest_edge": 9633792})
        return t.Glm46VProcessor(images, tokenizer, t.Glm46VVideoProcessor(), **chat)
    if family == "gemma3":
        images = t.Gemma3ImageProcessor(size={"height": 896, "width": 896}, **half)
        return t.Gemma3Processor(images, tokenizer, image_seq_length=256, **chat)
    if family == "gemma4":
        return t.Gemma4Processor(
            t.Gemma4AudioFeatureExtractor(),
            t.Gemma4ImageProcessor(),
            tokenizer,
            t.Gemma4VideoProcessor(),
            **chat,
        )
    if family == "internvl":
        images = t.GotOcr2ImageProcessor(
            size={"height": 448, "width": 448}, crop_to_patches=True, max_patches=12
        )
        return t.InternVLProcessor(
            images, tokenizer, t.InternVLVideoProcessor(), image_seq_length=256, **chat
        )
    if family == "mistral3":
        images = t.PixtralImageProcessor(patch_size=14, size={"longest_edge": 1540})
        return t.PixtralProcessor(images, tokenizer, patch_size=14, spatial_merge_size=2, **chat)
    if family == "idefics3":
        images = t.Idefics3ImageProcessor(size={"longest_edge": 364})
        return t.Idefics3Processor(images, tokenizer, image_seq_len=169, **chat)
    if family == "smolvlm":
        images = t.SmolVLMImageProcessor(size={"longest_edge": 512}, max_image_size={"longest_edge": 512})
        return t.SmolVLMProcessor(images, tokenizer, t.SmolVLMVideoProcessor(), image_seq_len=64, **chat)
    if family == "llava_onevision":
        sides = [384 * n for n in range(1, 7)]
        images = t.LlavaOnevisionImageProcessor(image_grid_pinpoints=[[h, w] for h in sides for w in sides])
        return t.LlavaOnevisionProcessor(
            images, tokenizer, t.LlavaOnevisionVideoProcessor(), num_image_tokens=729,
            vision_feature_select_strategy="full", **chat,
        )  # fmt: skip
    return t.MiniCPMV4_6Processor(
        t.MiniCPMV4_6ImageProcessor(), t.MiniCPMV4_6VideoProcessor(), tokenizer, **chat
    )


def make_model(family: str) -> PreTrainedModel:
    """A model of a few thousand weights, whose weights are large enough for the picture to matter."""
    tokenizer = make_tokenizer(family)
    tokens = tokenizer.get_vocab()
    text = {
        "vocab_size": 272 if family not in TOKENS else 288,
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
    torch.manual_seed(0)
    make = _grid_model if family in FAMILIES + GRIDS else _other_model
    model = make(family, tokens, text)
    model.generation_config.eos_token_id = tokens["<|im_end|>"]
    model.generation_config.pad_token_id = tokens["<|endoftext|>"]
    return model.eval()


def _grid_model(family: str, tokens: dict[str, int], text: dict) -> PreTrainedModel:
    t = transformers
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "out_hidden_size": 32,
        "initializer_range": 0.1,
    }
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
    if family.startswith("glm"):
        ids = {f"{name}_token_id": tokens[f"<|{name}|>"] for name in ("image", "video")}
        ids |= {
            f"{name}_{edge}_token_id": tokens[f"<|{word}_of_{name}|>"]
            for name in ("image", "video")
            for edge, word in (("start", "begin"), ("end", "end"))
        }
        vision |= {"image_size": 336, "patch_size": 14}
        text["rope_parameters"] = rope | {"partial_rotary_factor": 1.0, "mrope_section": [2, 3, 3]}
        text |= {"bos_token_id": None, "eos_token_id": tokens["<|im_end|>"]}
        if family == "glm4v_moe":
            text |= {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
            text |= {"n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "n_shared_experts": 1}
            config = t.Glm4vMoeConfig(text_config=text, vision_config=vision, **ids)
            return t.Glm4vMoeForConditionalGeneration(config)
        text.pop("head_dim")
        if family == "glm46v":
            text, vision = {"model_type": "glm4v_text", **text}, {"model_type": "glm4v_vision", **vision}
            return t.Glm46VForConditionalGeneration(
                t.Glm46VConfig(text_config=text, vision_config=vision, **ids)
            )
        return t.Glm4vForConditionalGeneration(t.Glm4vConfig(text_config=text, vision_config=vision, **ids))

    ids = {f"{name}_token_id": tokens[f"<|{name}_pad|>"] for name in ("image", "video")}
    ids |= {f"vision_{name}_token_id": tokens[f"<|vision_{name}|>"] for name in ("start", "end")}
    if family in ("qwen2_vl", "qwen2_5_vl"):
        text.pop("head_dim")
        text |= {"bos_token_id": None, "eos_token_id": tokens["<|im_end|>"], "rope_parameters": rope}
        if family == "qwen2_vl":
            vision = {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2}
            vision["initializer_range"] = 0.1
            config = t.Qwen2VLConfig(text_config=text, vision_config=vision, **ids)
            return t.Qwen2VLForConditionalGeneration(config)
        vision |= {"fullatt_block_indexes": [1], "patch_size": 14, "window_size": 112}
        config = t.Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids)
        return t.Qwen2_5_VLForConditionalGeneration(config)
    rope["mrope_interleaved"] = True
    vision["num_position_embeddings"] = 64
    if family in ("qwen3_vl", "qwen3_vl_moe"):
        text["rope_parameters"] = rope
        vision["deepstack_visual_indexes"] = [0]
        if family == "qwen3_vl":
            config = t.Qwen3VLConfig(text_config=text, vision_config=vision, **ids)
            return t.Qwen3VLForConditionalGeneration(config)
        config = t.Qwen3VLMoeConfig(text_config=text | experts, vision_config=vision, **ids)
        return t.Qwen3VLMoeForConditionalGeneration(config)
    text["rope_parameters"] = rope | {"mrope_section": [2, 1, 1], "partial_rotary_factor": 0.5}
    text |= LINEAR
    if family == "qwen3_5":
        config = t.Qwen3_5Config(text_config=text, vision_config=vision, **ids)
        return t.Qwen3_5ForConditionalGeneration(config)
    text |= experts | {"shared_expert_intermediate_size": 24}
    config = t.Qwen3_5MoeConfig(text_config=text, vision_config=vision, **ids)
    return t.Qwen3_5MoeForConditionalGeneration(config)


LINEAR = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
}


def _other_model(family: str, tokens: dict[str, int], text: dict) -> PreTrainedModel:
    t = transformers
    special = TOKENS[family]
    text |= {"bos_token_id": None, "eos_token_id": tokens["<|im_end|>"]}
    vision = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "initializer_range": 0.1,
    }
    if family == "gemma3":
        text |= {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 64}
        text |= {"query_pre_attn_scalar": 16}
        config = t.Gemma3Config(
            text_config=text,
            vision_config=vision | {"image_size": 896, "patch_size": 14},
            mm_tokens_per_image=256,
            image_token_index=tokens[special["image_token"]],
            boi_token_index=tokens[special["boi_token"]],
            eoi_token_index=tokens[special["eoi_token"]],
        )
        model = t.Gemma3ForConditionalGeneration(config)
        # Zero when new: the picture would not matter.
        torch.nn.init.normal_(model.base_model.multi_modal_projector.mm_input_projection_weight, std=0.1)
        return model
    if family == "gemma4":
        text |= {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 64}
        text |= {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": text["vocab_size"]}
        text |= {"use_bidirectional_attention": "vision", "global_head_dim": 16}
        config = t.Gemma4Config(
            text_config=text,
            vision_config=vision
            | {"num_key_value_heads": 2, "head_dim": 16, "position_embedding_size": 128, "patch_size": 16},
            audio_config=None,
            image_token_id=tokens[special["image_token"]],
            video_token_id=tokens[special["video"]],
            audio_token_id=tokens[special["audio_token"]],
            boi_token_id=tokens[special["boi_token"]],
            eoi_token_id=tokens[special["eoi_token"]],
        )
        return t.Gemma4ForConditionalGeneration(config)
    if family == "internvl":
        text.pop("head_dim")
        config = t.InternVLConfig(
            text_config={"model_type": "qwen2", **text},
            vision_config=vision | {"image_size": [448, 448], "patch_size": [14, 14]},
            image_token_id=tokens[special["context_image_token"]],
        )
        return t.InternVLForConditionalGeneration(config)
    if family == "mistral3":
        config = t.Mistral3Config(
            text_config={"model_type": "mistral", "sliding_window": None, **text},
            vision_config={
                "model_type": "pixtral",
                "image_size": 1540,
                "patch_size": 14,
                "head_dim": 16,
                **vision,
            },
            image_token_index=tokens["[IMG]"],
            spatial_merge_size=2,
            vision_feature_layer=-1,
        )
        return t.Mistral3ForConditionalGeneration(config)
    if family in ("idefics3", "smolvlm"):
        side = 364 if family == "idefics3" else 512
        kind = t.Idefics3Config if family == "idefics3" else t.SmolVLMConfig
        config = kind(
            text_config={"model_type": "llama", **text},
            vision_config=vision | {"image_size": side, "patch_size": 14 if side == 364 else 16},
            scale_factor=2 if side == 364 else 4,
            image_token_id=tokens["<image>"],
            pad_token_id=text["pad_token_id"],
        )
        make = t.Idefics3ForConditionalGeneration if side == 364 else t.SmolVLMForConditionalGeneration
        return make(config)
    if family == "llava_onevision":
        text.pop("head_dim")
        sides = [384 * n for n in range(1, 7)]
        config = t.LlavaOnevisionConfig(
            text_config={"model_type": "qwen2", **text},
            vision_config={
                "model_type": "siglip_vision_model",
                "image_size": 384,
                "patch_size": 14,
                "vision_use_head": False,
                **vision,
            },
            vision_feature_layer=-1,
            image_grid_pinpoints=[[h, w] for h in sides for w in sides],
            image_token_index=tokens["<image>"],
            video_token_index=tokens["<video>"],
        )
        return t.LlavaOnevisionForConditionalGeneration(config)
    text["rope_parameters"] = {
        "rope_type": "default",
        "mrope_section": [2, 1, 1],
        "mrope_interleaved": True,
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.5,
    }
    config = t.MiniCPMV4_6Config(
        text_config={"model_type": "qwen3_5_text", **text, **LINEAR},
        vision_config=vision | {"image_size": 448, "patch_size": 14},
        insert_layer_id=0,
        image_token_id=tokens[special["image_token"]],
        video_token_id=tokens[special["video_token"]],
    )
    return t.MiniCPMV4_6ForConditionalGeneration(config)


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
