"""What `smol` is made of: SmolLM2's weights in a stock Qwen2.5-VL, a small tower, the family's processor.

SmolLM2 is a Llama. Qwen2.5-VL's text model is one too, but for biases of its queries, keys and values, which are
zero here, and positions in three axes, which are equal in text: logits on text are SmolLM2's own, bit for bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import (
    GenerationConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from pixeltune.bundled.tiny.architecture import REPLY, TEMPLATE

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

MARKS = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
"""The four special tokens that SmolLM2 does not have."""


def extend(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """SmolLM2's tokenizer with the marks of pictures and the bundled model's chat template. In place."""
    tokenizer.add_special_tokens({"additional_special_tokens": MARKS}, replace_extra_special_tokens=False)
    tokenizer.chat_template = TEMPLATE.read_text()
    tokenizer.response_template = REPLY
    tokenizer.pad_token = "<|endoftext|>"  # SmolLM2's own is its end of turn, which trainers would mask
    return tokenizer


def build_processor(tokenizer: PreTrainedTokenizerFast) -> Qwen2_5_VLProcessor:
    """The family's processor with the constants of its released checkpoints; 224 x 224 is 64 tokens."""
    size = {"shortest_edge": 3_136, "longest_edge": 12_845_056}
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(patch_size=14, size=size),
        video_processor=Qwen2VLVideoProcessor(patch_size=14, size=size),
        tokenizer=tokenizer,
        chat_template=tokenizer.chat_template,
    )


def graft(
    language: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> Qwen2_5_VLForConditionalGeneration:
    """A Qwen2.5-VL in float32 with the language's weights and an untrained tower.

    The embeddings of the four new tokens, which are their outputs too, are the mean of all others: no answer
    prefers them to what the language knows.

    Args:
        language: SmolLM2.
        tokenizer: with the new tokens.
    """
    llama, ids = language.config, tokenizer.convert_tokens_to_ids
    theta = llama.rope_parameters["rope_theta"]
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": llama.hidden_size,
            "intermediate_size": llama.intermediate_size,
            "num_hidden_layers": llama.num_hidden_layers,
            "num_attention_heads": llama.num_attention_heads,
            "num_key_value_heads": llama.num_key_value_heads,
            "rms_norm_eps": llama.rms_norm_eps,
            "max_position_embeddings": llama.max_position_embeddings,
            "tie_word_embeddings": True,
            # A third of 32 pairs of dimensions for time, height and width each, as near as it goes.
            "rope_parameters": {"rope_type": "default", "rope_theta": theta, "mrope_section": [0, 0, 32]},
            "bos_token_id": llama.bos_token_id,
            "eos_token_id": ids("<|im_end|>"),
            "pad_token_id": ids("<|endoftext|>"),
        },
        vision_config={
            "depth": 8,
            "hidden_size": 256,
            "intermediate_size": 768,
            "num_heads": 4,
            "out_hidden_size": llama.hidden_size,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 112,
            "fullatt_block_indexes": [3, 7],
        },
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    model = Qwen2_5_VLForConditionalGeneration(config).float().eval()
    own = model.model.language_model.state_dict()
    state = {name.removeprefix("model."): tensor for name, tensor in language.state_dict().items()}
    words = state["embed_tokens.weight"]
    state["embed_tokens.weight"] = torch.cat([words, words.mean(0, keepdim=True).expand(len(MARKS), -1)])
    state |= {name: torch.zeros_like(own[name]) for name in own if name.endswith("_proj.bias")}
    state.pop("lm_head.weight", None)  # tied
    model.model.language_model.load_state_dict(state)
    model.tie_weights()
    model.generation_config = GenerationConfig(
        eos_token_id=ids("<|im_end|>"), pad_token_id=ids("<|endoftext|>"), do_sample=False
    )
    return model
