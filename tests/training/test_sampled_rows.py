"""What `pixeltune sample` writes is what sft, dpo and kto read; and what is there under another name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from trl import SFTTrainer

import pixeltune
from pixeltune.artwork.artwork import Artwork
from pixeltune.data.instruction import read_instruction
from pixeltune.data.placement import place_dataset
from pixeltune.evaluation.sampling import sample
from pixeltune.model.loading import load_model, load_processor
from pixeltune.model.preprocessing import Preprocessor
from pixeltune.training.arguments import trainer_config
from pixeltune.training.distillation import teacher_rows
from pixeltune.training.paint import paint
from pixeltune.training.settings import PaintArguments

ROOT = Path(__file__).parents[2]
CALLS = ROOT / "docs" / "images" / "calls.png"


@pytest.mark.parametrize(("keep", "verb"), [("right", "sft"), ("pairs", "dpo"), ("labels", "kto")])
def test_a_training_verb_reads_the_rows_unchanged(keep, verb, bundled, tmp_path, recwarn):
    # Told nothing, the model is right now and then.
    given = {"task": "calls", "rows": 24, "samples": 4, "seed": 3, "keep": keep, "quiet": True}
    made = sample(**given, output=tmp_path / "rows.jsonl")
    assert made.counts["rows"] >= 2
    before = made.path.read_bytes()
    usual = {"held_out_rows": 0, "score_steps": 0, "snapshot_steps": 0, "report_to": "none"}
    batch = {"per_device_train_batch_size": 2, "max_steps": 2, "learning_rate": 0.06}
    painting = paint(verb, data=str(made.path), output_dir=str(tmp_path / "run"), **usual, **batch)
    assert painting.finished
    assert made.path.read_bytes() == before
    assert not [w for w in recwarn if type(w.message).__name__ == "UnusedDataWarning"]


def test_dft_is_the_expectation_of_one_token_rollouts_at_temperature_1(bundled, tmp_path):
    """Every token sampled by its own probability, rewarded 1 where it is the reference's and -0.1 elsewhere."""
    model, processor = load_model("tiny"), load_processor("tiny")
    rows = Dataset.from_list([{"prompt": f"{a} + 5 = ?", "completion": f"Answer: {a + 5}"} for a in range(4)])
    config = pixeltune.ArtConfig(image_tokens=64, start="grey")
    args = trainer_config(
        "sft", loss_type="dft", max_steps=1, per_device_train_batch_size=4, output_dir=str(tmp_path), bf16=False
    )  # fmt: skip
    trainer = SFTTrainer(
        model, args=args, train_dataset=place_dataset(rows, config.block(Preprocessor(processor))),
        processing_class=processor.tokenizer, peft_config=config,
    )  # fmt: skip
    batch = next(iter(trainer.get_train_dataloader()))
    pixels = [one for one in trainer.model.parameters() if one.requires_grad]
    (dft,) = torch.autograd.grad(trainer.compute_loss(trainer.model, dict(batch)), pixels)
    labels = batch["labels"][:, 1:]
    asked = {name: value for name, value in batch.items() if name != "labels"}
    said = trainer.model(**asked).logits[:, :-1].float().log_softmax(-1)[labels != -100]
    wanted = labels[labels != -100]
    reward = torch.full_like(said, -0.1).scatter(1, wanted[:, None], 1.0)
    loss = -(said.exp().detach() * reward * said).sum() / len(wanted)
    (rollouts,) = torch.autograd.grad(loss, pixels)
    assert dft.abs().max() > 0
    # A reward that all tokens share has no gradient, so 1.1 is between the two kinds of tokens.
    assert torch.allclose(1.1 * dft, rollouts, rtol=1e-3, atol=1e-3 * float(rollouts.abs().max()))


def test_distill_takes_many_examples_that_only_the_teacher_reads(bundled, tmp_path):
    examples = [
        {"role": role, "content": f"{number} + 1 = {'?' if role == 'user' else number + 1}"}
        for number in range(50)
        for role in ("user", "assistant")
    ]
    (tmp_path / "examples.json").write_text(json.dumps(examples))
    told = read_instruction(tmp_path / "examples.json")
    (row,) = teacher_rows(
        [{"prompt": [{"role": "user", "content": "99?"}]}], told, "<ART>", load_processor("tiny")
    )
    assert all(message["content"] in row["privileged_context"] for message in examples)
    assert "49 + 1" not in row["prompt"]


def test_a_painting_starts_from_an_old_artwork_pixel_by_pixel(bundled):
    old = Artwork.load(CALLS)
    height, width = old.size
    assert Preprocessor(load_processor("tiny")).tokens(height, width) == 64  # the size where nothing is said
    given = PaintArguments(task="sums", start=str(CALLS), licence="CC0-1.0", height=height, width=width)
    assert np.array_equal(given.artwork(0).canvas().to_uint8(), old.pixels)


def test_the_guide_names_them():
    text = (ROOT / "docs" / "guide" / "objectives.md").read_text("utf-8")
    for said in ("`sft --loss_type dft`", "One-token rollout", "many-shot", "`--start old.png`"):
        assert said in text
