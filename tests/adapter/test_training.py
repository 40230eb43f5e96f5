"""The adapter in an unmodified TRL trainer."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

import families
from pixeltune.adapter import ArtConfig, ArtLayer
from training import make_trainer

CONFIG = {"start": "noise", "image_tokens": 64}


def layer_of(trainer) -> ArtLayer:
    return next(module for module in trainer.model.modules() if isinstance(module, ArtLayer))


def fingerprint(model) -> str:
    """SHA-256 over the names and values of everything but the adapter."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if ".art_canvas." not in name:
            digest.update(name.split("base_model.model.")[-1].replace(".base_layer.", ".").encode())
            digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def losses(trainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_pixels_learn_and_weights_stay(checkpoint, tmp_path):
    trainer = make_trainer(checkpoint, str(tmp_path), ArtConfig(**CONFIG), max_steps=6, learning_rate=5e-2)
    before, start = fingerprint(trainer.model), trainer.model.get_artwork_image()
    assert before == fingerprint(families.load(checkpoint)[0])
    calls = []
    layer_of(trainer).base_layer.register_forward_hook(lambda *_: calls.append(1))
    trainer.train()
    assert len(calls) == 6  # once per step, for four rows each
    assert fingerprint(trainer.model) == before
    assert np.abs(trainer.model.get_artwork_image().astype(int) - start).mean() > 2
    assert losses(trainer)[-1] < losses(trainer)[0] - 0.01
    trainable = [name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad]
    assert len(trainable) == 1
    assert trainable[0].endswith("visual.art_canvas.default.paint.pixels")


def test_the_bound_holds_without_any_callback(checkpoints, tmp_path):
    trainer = make_trainer(
        checkpoints["qwen3_vl"], str(tmp_path), ArtConfig(**CONFIG, bound=3), learning_rate=0.05
    )
    start = trainer.model.get_artwork_image().astype(int)
    trainer.train()
    assert np.abs(trainer.model.get_artwork_image() - start).max() == 3
    trainer.model.save_pretrained(tmp_path / "saved")
    canvas = layer_of(trainer).canvas()
    assert (canvas.pixels - canvas.start_image()).abs().max() <= 3 / 255 + 1e-6


@pytest.mark.parametrize("spec", ["fourier", "low-rank:8", "grid:16", "subspace:3000"])
def test_every_parametrisation_learns_within_its_bound_and_resumes(spec, checkpoints, tmp_path):
    config = {**CONFIG, "bound": 40, "parametrisation": spec, "seed": 3}
    settings = {"learning_rate": 0.05, "save_strategy": "steps", "save_steps": 3}
    trainer = make_trainer(
        checkpoints["qwen3_vl"], str(tmp_path), ArtConfig(**config), max_steps=6, **settings
    )
    before, start = fingerprint(trainer.model), trainer.model.get_artwork_image().astype(int)
    trainer.train()
    change = np.abs(trainer.model.get_artwork_image() - start)
    assert fingerprint(trainer.model) == before
    assert change.mean() > 2
    assert change.max() <= 40
    assert losses(trainer)[-1] < losses(trainer)[0] - 0.01

    half = tmp_path / "checkpoint-3"
    again = make_trainer(
        checkpoints["qwen3_vl"], str(tmp_path), ArtConfig.from_pretrained(half), max_steps=6, **settings
    )
    again.train(resume_from_checkpoint=str(half))
    assert np.array_equal(again.model.get_artwork_image(), trainer.model.get_artwork_image())


def test_rows_without_the_artwork_stop_the_training(checkpoints, tmp_path):
    for part, message in [
        (slice(-10, None), "place_dataset"),
        (slice(40), "max_length that does not cut it"),
    ]:
        trainer = make_trainer(checkpoints["qwen3_vl"], str(tmp_path), ArtConfig(**CONFIG))
        trainer.train_dataset = trainer.train_dataset.map(
            lambda row, part: {name: row[name][part] for name in ("input_ids", "labels")},
            fn_kwargs={"part": part},
        )
        with pytest.raises(ValueError, match=message):
            trainer.train()


def test_resuming_after_a_kill_equals_the_uninterrupted_run(checkpoints, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)).save(
        tmp_path / "s.png"
    )
    config, saving = (
        {"start": str(tmp_path / "s.png"), "bound": 8},
        {"save_strategy": "steps", "save_steps": 2},
    )
    whole = make_trainer(checkpoints["qwen3_vl"], str(tmp_path / "whole"), ArtConfig(**config), **saving)
    whole.train()

    script = str(Path(__file__).with_name("training.py"))
    killed = subprocess.run(
        [sys.executable, script, checkpoints["qwen3_vl"], str(tmp_path / "killed"), config["start"]],
        capture_output=True,
    )
    assert killed.returncode == -9, killed.stderr.decode()[-2000:]
    checkpoint = tmp_path / "killed" / "checkpoint-2"
    with safe_open(checkpoint / "adapter_model.safetensors", "pt") as file:  # kilobytes, and only the canvas
        assert {name.split(".")[-1] for name in file.keys()} == {"pixels", "start"}  # noqa: SIM118
    assert (checkpoint / "adapter_model.safetensors").stat().st_size < 1_000_000

    (tmp_path / "s.png").unlink()
    resumed = make_trainer(
        checkpoints["qwen3_vl"], str(tmp_path / "killed"), ArtConfig.from_pretrained(checkpoint), **saving
    )
    resumed.train(resume_from_checkpoint=str(checkpoint))
    assert resumed.state.global_step == whole.state.global_step == 4
    ours, theirs = layer_of(resumed).canvas().state_dict(), layer_of(whole).canvas().state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert losses(resumed) == losses(whole)
