"""Train the bundled model from nothing: tokenizer, model, rows, loop, export. ``make tiny`` runs this.

    python -m pixeltune.bundled.tiny.recipe [--steps N] [--rounds N] [--out FOLDER] [--resume]

Notable: stock Qwen3-VL classes throughout; rows are made up as training goes, so there is no epoch and
no overfitting; rows of a step are sorted by length and cut into micro-batches to waste little padding;
the loss falls on replies only; everything random comes from one seed and the step number. Machines round
differently, and the last skill, to call a tool by its own name, comes sooner on one than on another: while a
goal is missed on held-out rows (`goals.py`), further rounds of steps follow. Last, the vision tower is exchanged for
one that sees the same and spans more (`widening.py`).
"""

from __future__ import annotations

import argparse
import random
import re
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm
from transformers import Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from pixeltune.bundled import snapshot
from pixeltune.bundled.tiny import PATH, curriculum, goals
from pixeltune.bundled.tiny.architecture import (
    SEED,
    build_model,
    build_processor,
    build_tokenizer,
    export,
)
from pixeltune.bundled.tiny.widening import STEPS as WIDENING
from pixeltune.bundled.tiny.widening import widen

STEPS, BATCH, MICRO_BATCHES = 3200, 24, 6
# From which step on.
STAGES = {0: curriculum.LEARN, 800: curriculum.DECIDE, 1250: curriculum.MATCH, 2000: curriculum.COPY}
MUON, ADAMW = 4e-3, 3e-3  # learning rates; Muon's is in AdamW's units (match_rms_adamw)
# Share of them by step, linear in between.
RATES = {-1: 0.0, 99: 1.0, 800: 1.0, 1250: 500 / 950, 2000: 500 / 950, STEPS: 0.0}
# Further rounds: at most so many, of so many steps; in each the rate falls to zero from this share.
ROUNDS, ROUND, AGAIN = 2, 250, 0.25
SNAPSHOT = 250  # steps between snapshots


def encode(
    rows: list[curriculum.Row],
    processor: Qwen3VLProcessor,
    decision: float | None = None,
    name: float | None = None,
) -> dict[str, torch.Tensor]:
    """A right-padded micro-batch for the backbone, with ``labels`` and ``weights`` of the same shape.

    Only replies are learned; elsewhere labels are -100. A token of a reply of n tokens weighs 1 / sqrt(n):
    otherwise the long sums would drown the one token that names a colour. ``decision`` replaces the weight of
    the first token of replies where there are tools, which decides between a call and a refusal; ``name``
    that of the tokens from a called tool's name to its closing quote, which tell it from its synonyms.
    """
    tokenizer = processor.tokenizer
    inputs, labels, weights = [], [], []
    for messages, tools, _ in rows:
        text = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False)
        text = text.replace("<|image_pad|>", "<|image_pad|>" * 64)
        replies = [message for message in messages if message["role"] == "assistant"]
        ids, wanted, weight = [], [], []
        for turn, part in enumerate(text.split("<|im_start|>assistant\n")):
            context = part
            if turn > 0:
                reply, end, context = part.partition("<|im_end|>\n")
                encoded = tokenizer(reply + end, return_offsets_mapping=True)
                said, spans = encoded["input_ids"], encoded["offset_mapping"]
                ids += said
                wanted += [-100] * len(said) if replies[turn - 1].get("given") else said
                weight += [len(said) ** -0.5] * len(said)
                if decision is not None and tools:
                    weight[-len(said)] = decision
                if name is not None and (called := re.search(r'<tool_call>\n{"name": "([^"]*")', reply)):
                    for place, (begin, stop) in enumerate(spans, start=len(weight) - len(said)):
                        if begin < called.end(1) and stop > called.start(1):  # "play" or "play_music" too
                            weight[place] = name
            if turn < len(replies):
                context += "<|im_start|>assistant\n"
            heard = tokenizer(context)["input_ids"]
            ids += heard
            wanted += [-100] * len(heard)
            weight += [0.0] * len(heard)
        inputs.append(torch.tensor(ids))
        labels.append(torch.tensor(wanted))
        weights.append(torch.tensor(weight))
    pad = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    input_ids = torch.nn.utils.rnn.pad_sequence(inputs, batch_first=True, padding_value=pad)
    image_token = tokenizer.convert_tokens_to_ids("<|image_pad|>")
    return {
        "input_ids": input_ids,
        "attention_mask": torch.nn.utils.rnn.pad_sequence([torch.ones_like(i) for i in inputs], True),
        "mm_token_type_ids": (input_ids == image_token).long(),
        "labels": torch.nn.utils.rnn.pad_sequence(labels, True, padding_value=-100),
        "weights": torch.nn.utils.rnn.pad_sequence(weights, True),
    }


def step_loss(model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor, step: int) -> float:
    """Mean cross-entropy of one step's replies, backpropagated; a function of seed, step and weights alone.

    Every picture of the step goes through the vision tower once; the rows that look at it share its
    features (``mm_encoder_outputs``).
    """
    rng = random.Random(f"{SEED} step {step}")
    mix = STAGES[max(start for start in STAGES if start <= step)]
    gallery = curriculum.Gallery(rng)
    rows = [curriculum.row(rng, gallery, mix) for _ in range(BATCH)]
    rows.sort(key=lambda row: encode([row], processor)["input_ids"].numel())  # like with like: less padding

    canvases = [torch.from_numpy(picture).permute(2, 0, 1) for picture in gallery.pictures]
    seen = processor.image_processor(images=canvases, return_tensors="pt")
    features = model.model.get_image_features(**seen)
    tokens, deep = features.pooler_output, features.deepstack_features  # per picture (64, hidden)

    size, total, count = BATCH // MICRO_BATCHES, 0.0, 0.0
    for start in range(0, BATCH, size):
        micro = rows[start : start + size]
        batch = encode(micro, processor, mix.decision, mix.name)
        labels, weights = batch.pop("labels")[:, 1:], batch.pop("weights")[:, 1:]
        if looks := [number for row in micro for number in row[2]]:
            features.pooler_output = [tokens[number] for number in looks]
            features.deepstack_features = [[layer[number] for number in looks] for layer in deep]
            batch["mm_encoder_outputs"] = {"image": features}
            batch["image_grid_thw"] = seen["image_grid_thw"][looks]
        hidden = model.model(**batch, use_cache=False).last_hidden_state[:, :-1]
        wanted = labels != -100
        logits = model.lm_head(hidden[wanted])  # logits only where there is a label
        losses = F.cross_entropy(logits, labels[wanted], reduction="none")
        total = total + (losses * weights[wanted]).sum()
        count += weights[wanted].sum().item()
    loss = total / count
    loss.backward()
    return loss.item()


def rate(step: int) -> float:
    """Share of the full learning rate at a step."""
    if step >= STEPS:
        return AGAIN * (1 - (step - STEPS) % ROUND / ROUND)
    return float(np.interp(step, list(RATES), list(RATES.values())))


def train(
    steps: int, out: Path, resume: bool = False, rounds: int = ROUNDS, widening: int = WIDENING
) -> list[str]:
    """Train and export to ``out``; a snapshot every `SNAPSHOT` steps lets ``resume`` go on where it stopped.

    Args:
        steps: of the optimisers.
        out: a folder.
        resume: go on from the snapshot in it, if there is one.
        rounds: of `ROUND` further steps, at most so many, while a goal is missed; 0: goals are not looked at.
        widening: steps of the last stage, which gives the model a wider tower and changes nothing else.

    Returns:
        The tasks whose goals are missed at the end.
    """
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing reads it, and filling takes time
    processor = build_processor(build_tokenizer())
    model = build_model(processor.tokenizer).train()
    matrices = [m.weight for m in model.model.modules() if isinstance(m, torch.nn.Linear)]
    others = [p for p in model.parameters() if not any(p is matrix for matrix in matrices)]
    # Muon learned to call where AdamW had not, in trials not like for like (docs/lab-notebook.md).
    optimizers = [
        torch.optim.Muon(matrices, lr=MUON, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=ADAMW, weight_decay=0.0, betas=(0.9, 0.95), eps=1e-8),
    ]
    schedulers = [torch.optim.lr_scheduler.LambdaLR(o, rate) for o in optimizers]
    kept, first = out / "snapshot.pt", 0
    if resume and kept.exists():
        first = snapshot.restore(kept, model, optimizers + schedulers)
    out.mkdir(parents=True, exist_ok=True)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {torch.get_num_threads()} threads")

    started, running, missed = time.perf_counter(), None, []
    last = steps + rounds * ROUND
    bar = tqdm(range(first, last), initial=first, total=last, mininterval=5)
    for step in bar:
        if step >= steps and (step - steps) % ROUND == 0:
            missed = look(model, processor)
            if not missed:
                break
        loss = step_loss(model, processor, step)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for part in optimizers + schedulers:
            part.step()
        model.zero_grad()
        running = loss if running is None else 0.98 * running + 0.02 * loss
        bar.set_postfix(loss=f"{running:.4f}", refresh=False)
        if (step + 1) % SNAPSHOT == 0:
            seconds = time.perf_counter() - started
            print(f"step {step + 1} loss {running:.4f} {seconds:.0f} s", flush=True)
            snapshot.save(kept, model, optimizers + schedulers, step + 1)
    if missed:
        missed = look(model, processor)  # after the last round
    widen(model, processor, SEED, widening)
    export(model, processor, out)
    kept.unlink(missing_ok=True)
    return missed


def look(model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor) -> list[str]:
    """Print what the model can do; the tasks whose goals it misses."""
    found = goals.scores(model, processor)
    print("held-out rows right:", {name: f"{share:.1%}" for name, share in found.items()}, flush=True)
    return goals.missed(found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=STEPS, help=f"optimiser steps (default {STEPS})")
    parser.add_argument("--out", type=Path, default=PATH, help="folder to write to")
    parser.add_argument("--resume", action="store_true", help="go on from the snapshot in the folder")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="further ones while a goal is missed")
    arguments = parser.parse_args()
    if missed := train(arguments.steps, arguments.out, arguments.resume, arguments.rounds):
        raise SystemExit(f"the goals of {', '.join(missed)} are missed; the model is in {arguments.out}")
