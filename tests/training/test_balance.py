"""``--balance``: a step's gradient is that of the mean of the tasks' means, over all batches that it accumulates."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import TrainerCallback

from pixeltune.adapter.guard import art_layer
from pixeltune.model.loading import load_model, weights_sha256
from pixeltune.training.arguments import read_settings
from pixeltune.training.joint import COLUMN
from pixeltune.training.paint import Painting

BETA = 0.1  # of dpo
ROWS = {"long": 6, "short": 2}
"""All of a step: 2 batches of 4 rows, so that at least one holds more rows of one file than of the other."""


class Gradient(TrainerCallback):
    """Keeps the gradient of the pixels as the optimiser gets it."""

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.found = art_layer(model).canvas().pixels.grad.clone()


def file(folder: Path, name: str, pairs: bool) -> str:
    path, answer = folder / f"{name}.jsonl", "seven and eight and nine" if name == "long" else "7"
    with path.open("w") as out:
        for number in range(ROWS[name]):
            said = f"Answer: {answer} {number}"
            row = {"chosen": said, "rejected": f"No, {number}."} if pairs else {"completion": said}
            out.write(json.dumps({"prompt": f"{name}, {number} + 1 = ?", **row}) + "\n")
    return str(path)


def painting(verb: str, folder: Path, balance: bool, **more) -> Painting:
    made = Painting(verb, *read_settings(verb, {
        "data": [file(folder, name, verb == "dpo") for name in ROWS], "balance": balance, "held_out_rows": 0,
        "max_steps": 1, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "max_grad_norm": 0.0,
        "logging_steps": 1, "snapshot_steps": 0, "save_strategy": "no", "report_to": "none", "overwrite": True,
        "output_dir": str(folder / "run"), **more,
    }), quiet=True)  # fmt: skip
    made.prepare()
    made.build()
    return made


def log_probs(model, prompt: list[int], said: list[int]) -> torch.Tensor:
    """Of each token of an answer, by the plain logits of one row alone."""
    ids = torch.tensor([prompt + said])
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, len(prompt) - 1 : -1]
    return logits.float().log_softmax(-1)[torch.arange(len(said)), torch.tensor(said)]


def losses(made: Painting) -> dict[str, list[torch.Tensor]]:
    """By file the losses of which a step is the mean: of sft a token each, of dpo a pair each.

    A fresh picture is its own reference, so dpo's loss has the gradient of -beta / 2 times the difference.
    """
    out: dict[str, list[torch.Tensor]] = {name: [] for name in ROWS}
    for row in made.trainer.train_dataset:
        if made.objective == "dpo":
            chosen, rejected = (
                log_probs(made.model, row["prompt_ids"], row[name]).sum()
                for name in ("chosen_ids", "rejected_ids")
            )
            out[row[COLUMN]].append(BETA / 2 * (rejected - chosen))
        else:
            first = next(place for place, label in enumerate(row["labels"]) if label != -100)
            out[row[COLUMN]] += list(
                -log_probs(made.model, row["input_ids"][:first], row["input_ids"][first:])
            )
    return out


@pytest.mark.parametrize("verb", ["sft", "dpo"])
@pytest.mark.parametrize("balance", [True, False])
def test_a_step_is_the_mean_of_the_tasks_means(verb, balance, bundled, tmp_path):
    made = painting(verb, tmp_path, balance)
    made.trainer.add_callback(kept := Gradient())
    pixels = art_layer(made.model).canvas().pixels
    each = losses(made)
    means = torch.stack([torch.stack(values).mean() for values in each.values()]).mean()
    every = torch.stack([value for values in each.values() for value in values]).mean()
    wanted, other = (means, every) if balance else (every, means)
    wanted, other = (torch.autograd.grad(one, pixels, retain_graph=True)[0] for one in (wanted, other))
    made.train()
    assert (kept.found - wanted).norm() < 1e-3 * wanted.norm()
    assert (kept.found - other).norm() > 0.02 * other.norm()  # so the test tells them apart
    assert (pixels != 128 / 255).any()
    assert weights_sha256(load_model("tiny")) == made.hashes["tiny"]
    if balance and verb == "sft":
        (entry,) = (entry for entry in made.history if "loss/long" in entry)
        assert entry["loss/short"] == pytest.approx(
            float(torch.stack(each["short"]).mean().detach()), rel=0.3
        )
        (loss,) = (entry["loss"] for entry in made.history if "loss" in entry)
        assert loss == pytest.approx(float(means.detach()), rel=1e-3)


def test_several_models_are_balanced_each(bundled, tmp_path):
    """The copy has the same weights, so the sum of both is twice the gradient of one."""
    shutil.copytree(bundled, tmp_path / "copy")
    found = []
    for also in ([], [str(tmp_path / "copy")]):
        made = painting("sft", tmp_path, True, also=also)
        made.trainer.add_callback(kept := Gradient())
        made.train()
        found.append(kept.found)
    assert torch.allclose(2 * found[0], found[1], rtol=1e-3, atol=1e-3 * float(found[1].abs().max()))
