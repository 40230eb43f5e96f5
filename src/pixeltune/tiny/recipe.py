"""Train the bundled model from nothing: tokenizer, model, rows, loop, export. ``make tiny`` runs this.

    python -m pixeltune.tiny.recipe [--steps N] [--out FOLDER] [--resume]

Notable: stock Qwen3-VL classes throughout; rows are made up as training goes, so there is no epoch and
no overfitting; rows of a step are sorted by length and cut into micro-batches to waste little padding;
the loss falls on replies only; everything random comes from one seed and the step number.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from pathlib import Path

from pixeltune import torchvision_cpu

torchvision_cpu.declare_operators()

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from tokenizers import Regex, Tokenizer, pre_tokenizers, trainers  # noqa: E402
from tokenizers.models import BPE  # noqa: E402
from tqdm import tqdm  # noqa: E402
from transformers import (  # noqa: E402
    GenerationConfig,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX  # noqa: E402

from pixeltune.tiny import curriculum  # noqa: E402

HERE = Path(__file__).parent
SPECIAL = (
    "<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|> <|box_start|> <|box_end|> "
    "<|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|> <|image_pad|> <|video_pad|>"
).split()
MARKS = "<tool_call> </tool_call> <tool_response> </tool_response> <think> </think>".split()

SEED = 2606
VOCABULARY = 1536
# From which step on: kinds of rows, sides of boards, learning rate at the beginning and at the end.
STAGES = [
    (0, curriculum.FIRST, (2, 4), (2.222e-3, 1.111e-3)),
    (1000, curriculum.THEN, (2, 4), (1.5e-3, 1.0833e-3)),
    (1250, curriculum.LATER, (2,), (1.1e-3, 0.571e-3)),
]
STEPS, WARM_UP = 1500, 2e-3 / 200  # warm-up: rise of the rate per step
BATCH, MICRO_BATCHES = 32, 4


def build_tokenizer() -> Qwen2Tokenizer:
    """Byte-level BPE with Qwen's pre-tokenizer (digits stand alone) and special tokens, on 20,000 rows."""
    template = (HERE / "chat_template.jinja").read_text()
    draft = Qwen2Tokenizer(chat_template=template)
    rng = random.Random(f"{SEED} tokenizer")
    gallery = curriculum.Gallery(rng, draw=False)
    rows = (curriculum.row(rng, gallery, curriculum.FIRST) for _ in range(20_000))
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
    model.generation_config = GenerationConfig(
        eos_token_id=ids("<|im_end|>"), pad_token_id=ids("<|endoftext|>"), do_sample=False
    )
    return model


def encode(rows: list[curriculum.Row], processor: Qwen3VLProcessor) -> dict[str, torch.Tensor]:
    """A right-padded micro-batch for the backbone, and ``labels``: -100 everywhere but on the replies."""
    tokenizer = processor.tokenizer
    inputs, labels = [], []
    for messages, tools, _ in rows:
        text = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False)
        text = text.replace("<|image_pad|>", "<|image_pad|>" * 64)
        replies = [message for message in messages if message["role"] == "assistant"]
        ids, wanted = [], []
        for turn, part in enumerate(text.split("<|im_start|>assistant\n")):
            context = part
            if turn > 0:
                reply, end, context = part.partition("<|im_end|>\n")
                said = tokenizer(reply + end)["input_ids"]
                ids += said
                wanted += [-100] * len(said) if replies[turn - 1].get("given") else said
            if turn < len(replies):
                context += "<|im_start|>assistant\n"
            heard = tokenizer(context)["input_ids"]
            ids += heard
            wanted += [-100] * len(heard)
        inputs.append(torch.tensor(ids))
        labels.append(torch.tensor(wanted))
    pad = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    input_ids = torch.nn.utils.rnn.pad_sequence(inputs, batch_first=True, padding_value=pad)
    image_token = tokenizer.convert_tokens_to_ids("<|image_pad|>")
    return {
        "input_ids": input_ids,
        "attention_mask": torch.nn.utils.rnn.pad_sequence([torch.ones_like(i) for i in inputs], True),
        "mm_token_type_ids": (input_ids == image_token).long(),
        "labels": torch.nn.utils.rnn.pad_sequence(labels, True, padding_value=-100),
    }


def step_loss(model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor, step: int) -> float:
    """Mean cross-entropy of one step's replies, backpropagated; a function of seed, step and weights alone.

    Every picture of the step goes through the vision tower once; the rows that look at it share its
    features (``mm_encoder_outputs``).
    """
    rng = random.Random(f"{SEED} step {step}")
    kinds, sides, _ = stage(step, STEPS)
    gallery = curriculum.Gallery(rng, sides)
    rows = [curriculum.row(rng, gallery, kinds) for _ in range(BATCH)]
    rows.sort(key=lambda row: 70 * len(row[2]) + len(str(row[:2])) // 4)  # short with short: less padding

    canvases = [torch.from_numpy(picture).permute(2, 0, 1) for picture in gallery.pictures]
    seen = processor.image_processor(images=canvases, return_tensors="pt")
    features = model.model.get_image_features(**seen)
    tokens, deep = features.pooler_output, features.deepstack_features  # per picture (64, hidden)

    size, total, count = BATCH // MICRO_BATCHES, 0.0, 0
    for start in range(0, BATCH, size):
        micro = rows[start : start + size]
        batch = encode(micro, processor)
        labels = batch.pop("labels")[:, 1:]
        if looks := [number for row in micro for number in row[2]]:
            features.pooler_output = [tokens[number] for number in looks]
            features.deepstack_features = [[layer[number] for number in looks] for layer in deep]
            batch["mm_encoder_outputs"] = {"image": features}
            batch["image_grid_thw"] = seen["image_grid_thw"][looks]
        hidden = model.model(**batch, use_cache=False).last_hidden_state[:, :-1]
        wanted = labels != -100
        logits = model.lm_head(hidden[wanted])  # logits only where there is a label
        total = total + F.cross_entropy(logits, labels[wanted], reduction="sum")
        count += int(wanted.sum())
    loss = total / count
    loss.backward()
    return loss.item()


def stage(step: int, steps: int) -> tuple[dict[str, int], tuple[int, ...], float]:
    """Kinds of rows, sides of boards and learning rate of a step: linear between a stage's two rates."""
    number = max(i for i, (start, *_) in enumerate(STAGES) if start <= step)
    start, kinds, sides, (high, low) = STAGES[number]
    end = STAGES[number + 1][0] if number + 1 < len(STAGES) else steps
    rate = high + (low - high) * (step - start) / max(1, end - start)
    return kinds, sides, min(rate, (step + 1) * WARM_UP)


def train(steps: int, out: Path, resume: bool = False) -> None:
    """Train and export to ``out``; a snapshot every 250 steps lets ``resume`` go on where it stopped."""
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    processor = build_processor(build_tokenizer())
    model = build_model(processor.tokenizer).train()
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        betas=(0.9, 0.95),
        eps=1e-8,
    )
    snapshot, first = out / "snapshot.pt", 0
    if resume and snapshot.exists():
        state = torch.load(snapshot, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    out.mkdir(parents=True, exist_ok=True)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {torch.get_num_threads()} threads")

    started, running = time.perf_counter(), None
    bar = tqdm(range(first, steps), initial=first, total=steps, mininterval=5)
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = stage(step, steps)[2]
        loss = step_loss(model, processor, step)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        running = loss if running is None else 0.98 * running + 0.02 * loss
        bar.set_postfix(loss=f"{running:.4f}", refresh=False)
        if (step + 1) % 250 == 0:
            seconds = time.perf_counter() - started
            print(f"step {step + 1} loss {running:.4f} {seconds:.0f} s", flush=True)
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            torch.save(state, snapshot.with_suffix(".tmp"))
            os.replace(snapshot.with_suffix(".tmp"), snapshot)
    export(model, processor, out)
    snapshot.unlink(missing_ok=True)


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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=STEPS, help=f"optimiser steps (default {STEPS})")
    parser.add_argument("--out", type=Path, default=HERE / "weights", help="folder to write to")
    parser.add_argument("--resume", action="store_true", help="go on from the snapshot in the folder")
    arguments = parser.parse_args()
    train(arguments.steps, arguments.out, arguments.resume)
