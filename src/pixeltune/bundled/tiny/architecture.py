"""What the bundled model is before training (tokenizer, processor, random weights), and how it is kept."""

from __future__ import annotations

import json
import random
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import (
    GenerationConfig,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from pixeltune.bundled.tiny import curriculum

TEMPLATE = Path(__file__).parent / "chat_template.jinja"
SPECIAL = (
    "<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|> <|box_start|> <|box_end|> "
    "<|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|> <|image_pad|> <|video_pad|>"
).split()
MARKS = "<tool_call> </tool_call> <tool_response> </tool_response> <think> </think>".split()
VOCABULARY = 1536
SEED = 2606

# How transformers and TRL read a reply back into content and calls (`tokenizer.parse_response`).
REPLY = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {
        "tool_calls": {
            "open": "<tool_call>",
            "close_pattern": r"</tool_call>\s*",
            "repeats": True,
            "content": "json",
            "transform": {"type": "function", "function": "{content}"},
        },
        "content": {"close_pattern": r"<\|im_end\|>\s*", "content": "text"},
    },
}


def build_tokenizer() -> Qwen2Tokenizer:
    """Byte-level BPE with Qwen's pre-tokenizer (digits stand alone) and special tokens, on 8,000 rows."""
    template = TEMPLATE.read_text()
    draft = Qwen2Tokenizer(chat_template=template)
    rng = random.Random(f"{SEED} tokenizer")
    gallery = curriculum.Gallery(rng, draw=False)
    rows = (curriculum.row(rng, gallery, curriculum.LEARN) for _ in range(8_000))
    corpus = (draft.apply_chat_template(m, tools=tools, tokenize=False) for m, tools, _ in rows)
    bpe = Tokenizer(BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL) - len(MARKS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[],
        show_progress=False,
    )
    bpe.train_from_iterator(corpus, trainer)
    learned = json.loads(bpe.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=learned["vocab"],
        merges=[tuple(pair) for pair in learned["merges"]],
        chat_template=template,
        eos_token="<|im_end|>",
        extra_special_tokens=SPECIAL,
        model_max_length=4096,
    )
    tokenizer.add_tokens(MARKS)
    tokenizer.response_template = REPLY
    return tokenizer


def build_processor(tokenizer: Qwen2Tokenizer) -> Qwen3VLProcessor:
    """The real family's picture geometry: 256 x 256 is the smallest picture that is not resized."""
    geometry = {
        "patch_size": 16,
        "merge_size": 2,
        "temporal_patch_size": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(
            **geometry, size={"shortest_edge": 65_536, "longest_edge": 16_777_216}
        ),
        video_processor=Qwen3VLVideoProcessor(
            **geometry, size={"shortest_edge": 4_096, "longest_edge": 25_165_824}
        ),
        tokenizer=tokenizer,
        chat_template=tokenizer.chat_template,
    )


def build_model(tokenizer: Qwen2Tokenizer) -> Qwen3VLForConditionalGeneration:
    """Random weights, float32, about 3.7 M parameters."""
    hidden = 192
    ids = tokenizer.convert_tokens_to_ids
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": hidden,
            "intermediate_size": 512,
            "num_hidden_layers": 6,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 64,
            "max_position_embeddings": 4096,
            "tie_word_embeddings": True,
            "initializer_range": 0.04,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10_000.0,
                "mrope_section": [12, 10, 10],
                "mrope_interleaved": True,
            },
            "eos_token_id": ids("<|im_end|>"),
            "pad_token_id": ids("<|endoftext|>"),
        },
        vision_config={
            "depth": 2,
            "hidden_size": 96,
            "intermediate_size": 192,
            "num_heads": 3,
            "out_hidden_size": hidden,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "num_position_embeddings": 256,
            "deepstack_visual_indexes": [0],
            "initializer_range": 0.04,
        },
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    model = Qwen3VLForConditionalGeneration(config)
    # At 0.04, where a patch drowns them, nothing past the tower could tell the places of a picture apart.
    torch.nn.init.normal_(model.model.visual.pos_embed.weight, std=1.0)
    model.generation_config = GenerationConfig(
        eos_token_id=ids("<|im_end|>"), pad_token_id=ids("<|endoftext|>"), do_sample=False
    )
    return model


def export(model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor, out: Path) -> None:
    """Write weights, configuration, tokenizer, template and processor.

    The weights are stored in bfloat16, which halves the wheel, and loaded in float32 (``dtype`` in the
    configuration), in which two engines agree to six digits on a CPU.
    """
    model.eval().to(torch.bfloat16).save_pretrained(out)
    processor.save_pretrained(out)
    config = json.loads((out / "config.json").read_text())
    for part in (config, config["text_config"], config["vision_config"]):
        part["dtype"] = "float32"
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
