"""Train the tower of `smol` from nothing. ``make smol-tower`` runs this.

    python -m pixeltune.bundled.smol.recipe [--out FOLDER] [--resume]

Two stages: a cell's token becomes the embedding of what stands there (`naming.py`), then the frozen language model
answers questions about pictures (`reading.py`), naming going on beside. Every step's pictures are a
function of the seed and the step's number, and a snapshot is left every so often: a training that was broken off
and resumed ends in the same bytes on the same machine.
"""

from __future__ import annotations

import argparse
import copy
import random
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save as to_bytes
from tqdm import tqdm

from pixeltune.bundled import snapshot
from pixeltune.bundled.smol import TOWER, naming, reading
from pixeltune.bundled.smol.architecture import build_processor, extend, graft
from pixeltune.bundled.smol.language import load_language
from pixeltune.writing import write_atomically

SEED = 0
NAMING, READING = 1800, 900
"""Steps of the two stages."""
MUON, ADAMW = 2e-3, 1e-3  # learning rates; Muon's is in AdamW's units (match_rms_adamw)
# Share of them by step, linear in between.
SHARES = {
    **{-1: 0.0, 19: 1.0, 1200: 1.0, 1549: 0.37, 1570: 0.6, NAMING - 1: 0.15},
    **{NAMING + 20: 0.3, NAMING + 100: 0.16, NAMING + 110: 0.3, NAMING + 700: 0.3, NAMING + READING: 0.0},
}
ROWS, MICRO_BATCHES = 4, 2
"""Conversations of a micro-batch, and micro-batches of a step of the second stage."""
BESIDE = 2, 1, 1
"""Pictures of words, of shapes and of textures that are named beside in the second stage,"""
FINE, FINER = 2, 1550
"""and textures whose fine parts are compared, from this step on."""
SNAPSHOT = 50


def train(out: Path, resume: bool = False, naming_steps: int = NAMING, reading_steps: int = READING) -> None:
    """Train and write the tower to ``out``, as bfloat16; a snapshot beside it lets ``resume`` go on.

    Args:
        out: a file, `.safetensors`.
        resume: go on from the snapshot, if there is one.
        naming_steps: of the first stage.
        reading_steps: of the second.

    Raises:
        UserError: the language model's weights are not installed.
    """
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing reads it, and filling takes time
    language, tokenizer = load_language()
    processor = build_processor(extend(tokenizer))
    model = graft(language, tokenizer).requires_grad_(False)
    tower = model.model.visual
    names = naming.Names(model, tokenizer)
    textures = naming.Textures(copy.deepcopy(tower), processor, names.size)
    tower.requires_grad_(True).train()
    matrices = [part.weight for part in tower.modules() if isinstance(part, torch.nn.Linear)]
    others = [p for p in tower.parameters() if not any(p is matrix for matrix in matrices)]
    # With AdamW alone not one word in a hundred was named after 250 steps, with Muon eight.
    optimisers = [
        torch.optim.Muon(matrices, lr=MUON, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=ADAMW, weight_decay=0.0),
    ]
    schedules = [torch.optim.lr_scheduler.LambdaLR(one, share) for one in optimisers]
    kept, first = out.with_suffix(".snapshot"), 0
    if resume and kept.exists():
        first = snapshot.restore(kept, tower, optimisers + schedules)
    out.parent.mkdir(parents=True, exist_ok=True)
    print(f"{sum(p.numel() for p in tower.parameters()):,} parameters, {torch.get_num_threads()} threads")

    started, running, last = time.perf_counter(), {}, naming_steps + reading_steps
    bar = tqdm(range(first, last), initial=first, total=last, mininterval=5)
    for step in bar:
        rng, found = random.Random(f"{SEED} step {step}"), {}

        def learn(name: str, loss: torch.Tensor, found: dict[str, float] = found) -> None:
            loss.backward()
            found[name] = found.get(name, 0.0) + loss.item()

        if step < naming_steps:
            learn("naming", naming.loss(tower, processor, names, textures, rng))
        else:
            for _ in range(MICRO_BATCHES):
                learn("reading", reading.loss(model, processor, rng, ROWS) / MICRO_BATCHES)
            learn("naming", naming.loss(tower, processor, names, textures, rng, BESIDE))
        if step >= FINER:
            learn("fine", naming.fine_loss(tower, processor, textures, rng, FINE))
        torch.nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        for part in optimisers + schedules:
            part.step()
        tower.zero_grad()
        running = {name: 0.95 * running.get(name, value) + 0.05 * value for name, value in found.items()}
        losses = ", ".join(f"{name} {value:.4f}" for name, value in running.items())
        bar.set_postfix_str(losses, refresh=False)
        if (step + 1) % SNAPSHOT == 0:
            snapshot.save(kept, tower, optimisers + schedules, step + 1)
            seconds = time.perf_counter() - started
            print(f"step {step + 1}: {losses}; {seconds:.0f} s", flush=True)
            if (step + 1) % (4 * SNAPSHOT) == 0:
                print(look(model, processor, names), flush=True)
    save(tower, out)
    kept.unlink(missing_ok=True)


def share(step: int) -> float:
    """Share of the full learning rate at a step."""
    return float(np.interp(step, list(SHARES), list(SHARES.values())))


def look(model, processor, names: naming.Names) -> dict[str, float]:
    """Share of cells that are named rightly, in pictures that training does not show."""
    model.model.visual.eval()
    found = naming.right(model.model.visual, processor, names, random.Random("look"), 6)
    model.model.visual.train()
    return found


def save(tower: torch.nn.Module, out: Path) -> None:
    """Write a tower as bfloat16, at once or not at all."""
    state = {name: weight.to(torch.bfloat16).contiguous() for name, weight in tower.state_dict().items()}
    write_atomically(out, to_bytes(state))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=TOWER, help="file to write")
    parser.add_argument("--resume", action="store_true", help="go on from the snapshot beside the file")
    arguments = parser.parse_args()
    train(arguments.out, arguments.resume)
