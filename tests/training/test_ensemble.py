"""One artwork for several models: their gradients add up, all of them learn, none of them changes."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pixeltune.artwork.artwork import Artwork
from pixeltune.cli.main import main
from pixeltune.cli.train import settings
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.scoring import score_rows
from pixeltune.model.loading import load_model, load_processor, weights_sha256
from pixeltune.tasks.synthetic import calls
from pixeltune.training.paint import paint

USUAL = "--score_steps 0 --snapshot_steps 0 --held_out_rows 0 --report_to none --save_strategy no"
SHORT = {
    "sft": "--train_rows 16 --per_device_train_batch_size 4 --max_steps 1",
    "dpo": "--train_rows 8 --per_device_train_batch_size 4 --max_steps 1",
    "grpo": "--train_rows 8 --per_device_train_batch_size 4 --num_generations 4 --max_completion_length 12 "
    "--reward test_ensemble:many_letters --max_steps 1",
    "distill": "--train_rows 8 --per_device_train_batch_size 2 --max_steps 1 --max_completion_length 12 "
    "--instruction best",
}


def many_letters(prompts, completions, **columns) -> list[float]:
    return [len(set(str(completion))) / 50 for completion in completions]


@pytest.fixture(scope="session")
def copy(bundled, tmp_path_factory) -> Path:
    """The bundled model with weights a tenth of the way to somewhere else, as a folder called `copy`."""
    model, folder = load_model("tiny"), tmp_path_factory.mktemp("models") / "copy"
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.1 * weight.std() * torch.randn_like(weight)
    model.save_pretrained(folder)
    load_processor("tiny").save_pretrained(folder)
    return folder


def gradient(monkeypatch, tmp_path: Path, verb: str, *flags: str) -> torch.Tensor:
    """Of the pixels, in the first step of a painting."""
    from pixeltune.adapter.guard import NoOpGuard

    seen = []
    monkeypatch.setattr(
        NoOpGuard,
        "on_pre_optimizer_step",
        lambda self, *_, **__: seen.extend(p.grad.clone() for p in self.layer.art_canvas.parameters()),
    )
    rows = f"--data {pairs(tmp_path)}" if verb == "dpo" else "--task calls"
    words = f"{rows} {USUAL} {SHORT[verb]} --seed 3 --max_grad_norm 0 --output_dir {tmp_path}"
    paint(verb, quiet=True, overwrite=True, **settings(verb, [*words.split(), *flags]))
    (found,) = seen
    return found


@pytest.mark.parametrize("verb", ["sft", "dpo"])
@pytest.mark.parametrize("batches", [1, 2])
def test_the_gradient_is_the_sum_of_what_each_model_alone_gives(verb, batches, copy, tmp_path, monkeypatch):
    """Also where a step accumulates batches, and where each model is its own reference."""
    flags = ["--gradient_accumulation_steps", str(batches)]
    names = "tiny", str(copy)
    first, second = (gradient(monkeypatch, tmp_path, verb, *flags, "--model", name) for name in names)
    both = gradient(monkeypatch, tmp_path, verb, *flags, "--also", str(copy))
    assert torch.nn.functional.cosine_similarity(first.flatten(), second.flatten(), dim=0) < 0.95
    assert (both - first - second).abs().max() < 1e-4 * both.abs().max()


def pairs(folder: Path) -> Path:
    """A file of rows for DPO; of a task they would be the first model's own answers."""
    rows = [
        {
            "prompt": row["prompt"],
            "chosen": [{"role": "assistant", "content": "Yes."}],
            "rejected": [{"role": "assistant", "content": f"No, {i}."}],
        }
        for i, row in enumerate(calls.rows("train", 8))
    ]
    (folder / "pairs.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return folder / "pairs.jsonl"


@pytest.mark.parametrize("verb", ["grpo", "distill"])
def test_every_model_writes_its_own_completions(verb, copy, tmp_path, monkeypatch):
    """The gradient has a part of either, and what the other one's trainer measures is logged by its name."""
    alone = gradient(monkeypatch, tmp_path / "alone", verb)
    both = gradient(monkeypatch, tmp_path / "both", verb, "--also", str(copy), "--logging_steps", "1")
    assert (alone != 0).any()
    assert (both - alone).abs().max() > 0.01 * alone.abs().max()
    logged = json.loads((tmp_path / "both" / "log_history.json").read_text())[0]
    own, other = (logged[f"completions/mean_length{name}"] for name in ("", "/copy"))
    assert own > 0
    assert other > 0
    if verb == "grpo":
        assert logged["reward"] != logged["reward/copy"]


def test_one_artwork_lifts_both_held_out_scores(copy, tmp_path, capsys):
    before = weights_sha256(load_model("tiny")), weights_sha256(load_model(str(copy)))
    out = tmp_path / "run"
    words = (
        f"sft --task calls --also {copy} --max_steps 16 --per_device_train_batch_size 16 --train_rows 400 "
        f"--held_out_rows 20 --score_steps 16 --snapshot_steps 0 --report_to none --seed 5 --output_dir {out}"
    )
    assert main(words.split()) == 0
    artwork = Artwork.load(out / "artwork.png")
    assert artwork.provenance.bases == ["tiny", "copy"]
    assert (artwork.provenance.base_sha256, artwork.provenance.training["also"]["copy"]) == before
    assert ("also painted for", "copy") in artwork.describe()
    logged = {
        key: value
        for entry in json.loads((out / "log_history.json").read_text())
        for key, value in entry.items()
    }
    assert (out / "samples" / "copy" / "step-000016.json").is_file()

    rows, processor = calls.rows("test", 60, seed=4), load_processor("tiny")
    grey = Image.fromarray(np.full_like(artwork.pixels, 128))
    for name, score in (("tiny", "held_out_score"), (str(copy), "held_out_score/copy")):
        model = load_model(name)
        start, painted = (
            score_rows(calls.TASK, rows, InProcess(model, processor, p)) for p in (grey, artwork.image)
        )
        assert painted.ci95[0] > start.ci95[1], name
        assert logged[score] > start.score


def test_resumed_equals_uninterrupted(copy, tmp_path):
    words = (
        f"--task calls --also {copy} --train_rows 16 --per_device_train_batch_size 4 --held_out_rows 0 "
        "--snapshot_steps 0 --save_steps 2 --max_steps 4 --report_to none --lr_scheduler_type constant"
    ).split()

    def painted(*more: str) -> Artwork:
        return paint("sft", quiet=True, **settings("sft", [*words, *more])).artwork

    whole = painted("--output_dir", str(tmp_path / "whole"))
    half = ["--output_dir", str(tmp_path / "half")]
    painted(*half, "--max_steps", "2")
    resumed = painted(*half, "--resume_from_checkpoint", "true")
    assert (resumed.pixels == whole.pixels).all()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--also", "tiny"], "name tiny more than once"),
        (["--also", "no/such-model"], "cannot load 'no/such-model'"),
        (["--also", "{copy}", "--rollouts", "http://127.0.0.1:1/v1"], "an engine serves one model"),
        (["--also", "{other}"], "has another chat template than tiny"),
        (["--also", "{half}"], "is in torch.bfloat16 and tiny in torch.float32: give a --dtype"),
    ],
)
def test_models_that_do_not_go_together_are_refused_in_one_line(flags, says, copy, tmp_path, capsys):
    other, half = tmp_path / "other", tmp_path / "half"
    for folder in (other, half):
        folder.mkdir()
        for file in copy.iterdir():
            (folder / file.name).symlink_to(file)
    template = (copy / "chat_template.jinja").read_text()
    (other / "chat_template.jinja").unlink()
    (other / "chat_template.jinja").write_text(template + " ")
    config = json.loads((copy / "config.json").read_text())
    (half / "config.json").unlink()
    parts = (config, config["text_config"], config["vision_config"])
    for part in parts:
        part["dtype"] = "bfloat16"
    (half / "config.json").write_text(json.dumps(config))
    words = (
        f"grpo --task calls --output_dir {tmp_path / 'run'} --per_device_train_batch_size 8 --use_cpu true"
    )
    given = [flag.format(copy=copy, other=other, half=half) for flag in flags]
    assert main([*words.split(), *given]) != 0
    lines = capsys.readouterr().err.strip().splitlines()
    assert says in lines[-1]
    assert not (tmp_path / "run" / "artwork.png").exists()


def test_several_processes_are_refused():
    from pixeltune.training.ensemble import join

    with pytest.raises(ValueError, match="in one process: leave out --also"):
        join(Namespace(accelerator=Namespace(num_processes=2)), {})
