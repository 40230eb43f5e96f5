"""``pixeltune sft`` on the bundled model: it learns, it resumes, it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixeltune.artwork import Artwork
from pixeltune.base import load_model, load_processor, weights_sha256
from pixeltune.canvas import Canvas, start_picture
from pixeltune.evaluate import Local, evaluate
from pixeltune.tasks import calls, sums
from pixeltune.train import paint, parse

SHORT = "--task calls --score_steps 0 --snapshot_steps 0 --train_rows 200 --per_device_train_batch_size 8"


@pytest.mark.parametrize("name", ["calls", "sums"])
def test_an_artwork_lifts_the_held_out_score_and_nothing_else_changes(painted, name):
    """Pixels moved, base weights did not, and the PNG's score is far outside what the start picture gets."""
    task = {"calls": calls, "sums": sums}[name]
    artwork: Artwork = painted[name]
    model, processor = load_model("tiny"), load_processor("tiny")
    assert weights_sha256(model) == artwork.provenance.base_sha256
    made = artwork.provenance
    start = Canvas(start_picture(made.start, *artwork.size, made.seed)).to_uint8()
    assert np.abs(artwork.pixels.astype(int) - start).mean() > 1

    rows = task.rows("test", 80, seed=5)
    before = evaluate(task, rows, Local(model, processor, Image.fromarray(start)))
    after = evaluate(task, rows, Local(model, processor, artwork.image))
    told = evaluate(task, rows, Local(model, processor), task.INSTRUCTION)
    assert after.ci95[0] > before.ci95[1]
    assert after.accuracy >= 0.9 * told.accuracy
    assert after.ci95[1] >= told.ci95[0]  # not significantly below the best instruction


def test_the_live_adapter_and_its_png_say_the_same(painted_calls_model, painted):
    """The held-out score during training is that of the PNG: same prompts, same greedy completions."""
    live, processor = painted_calls_model, load_processor("tiny")
    rows = calls.rows("test", 30, seed=6)
    png = Local(load_model("tiny"), processor, painted["calls"].image)
    worn, sent = (evaluate(calls, rows, system).records for system in (Local(live, processor), png))
    assert [record["completions"] for record in worn] == [record["completions"] for record in sent]


def test_progress_is_logged_and_snapshots_are_kept(painted, painted_folder):
    history = json.loads(next(painted_folder.glob("calls/checkpoint-*/trainer_state.json")).read_text())
    scores = [entry["held_out_score"] for entry in history["log_history"] if "held_out_score" in entry]
    losses = [entry["loss"] for entry in history["log_history"] if "loss" in entry]
    assert scores[-1] > 0.5
    assert losses[-1] < losses[0]
    snapshots = sorted((painted_folder / "calls" / "snapshots").glob("*.png"))
    assert [s.name for s in snapshots][:2] == ["step-000000.png", "step-000020.png"]


def run(verb: str, folder: Path, *more: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "pixeltune.cli", verb, *SHORT.split(), "--output_dir", str(folder)]
    if verb == "grpo":
        more = (*more, "--num_generations", "2", "--max_completion_length", "40")
    return subprocess.Popen(
        [*command, "--max_steps", "10", "--save_steps", "2", *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(path: Path, process: subprocess.Popen) -> None:
    end = time.monotonic() + 900
    while not path.exists():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < end, f"no {path}"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("verb", "how"),
    [
        ("sft", signal.SIGKILL),
        ("sft", signal.SIGINT),
        ("dpo", signal.SIGKILL),
        ("grpo", signal.SIGKILL),
    ],
)
def test_killed_or_interrupted_and_resumed_equals_uninterrupted(tmp_path, verb, how):
    whole = run(verb, tmp_path / "whole")
    broken = run(verb, tmp_path / "broken")
    wait_for(tmp_path / "broken" / "checkpoint-2" / "trainer_state.json", broken)
    os.kill(broken.pid, how)
    output, _ = broken.communicate(timeout=600)
    assert not (tmp_path / "broken" / "artwork.png").exists()
    if how == signal.SIGINT:
        assert broken.returncode == 130, output
        assert "--resume_from_checkpoint true" in output
    resumed = run(verb, tmp_path / "broken", "--resume_from_checkpoint", "true")
    assert resumed.wait(900) == 0, resumed.stdout.read()
    assert whole.wait(900) == 0, whole.stdout.read()
    a, b = (Artwork.load(tmp_path / name / "artwork.png") for name in ("whole", "broken"))
    assert np.array_equal(a.pixels, b.pixels)
    assert a.provenance == b.provenance


ROW = {"prompt": "Call Emma.", "completion": "No tool fits."}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "either --task"),
        ("--task calls --data x.jsonl", "either --task"),
        ("--task chess", "no task 'chess'; the bundled ones are"),
        ("--data missing.jsonl", "no file missing.jsonl"),
        ("--task calls --start missing.png", "--licence"),
        ("--task calls --start missing.png --licence CC0-1.0", "missing.png"),
        ("--task calls --mask missing.png", "missing.png"),
        ("--task calls --height 250 --width 256", "256x256"),
        ("--task calls --height 256", "both height and width"),
        ("--task calls --bound 300", "1 to 255"),
        ("--task calls --image_tokens 0", "at least one image token"),
        ("--task calls --train_rows 0", "--train_rows"),
        ("--task calls --resume_from_checkpoint true", "no checkpoint in"),
        ("--task calls --model nowhere/nothing", "cannot load 'nowhere/nothing'"),
    ],
)
def test_bad_arguments_are_refused_before_the_model_loads(arguments, message, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("pixeltune.train.load_model", lambda *_: pytest.fail("the model was loaded"))
    with pytest.raises(ValueError, match=message):
        paint("sft", *parse("sft", [*arguments.split(), "--output_dir", str(tmp_path / "out")]))
    assert not list(tmp_path.rglob("*.png"))


def test_yaml_and_flags(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("task: sums\nmax_steps: 7\nlearning_rate: 0.01\n")
    arguments, config = parse("sft", ["--config", str(recipe), "--max_steps", "9"])
    assert (arguments.task, config.max_steps, config.learning_rate) == ("sums", 9, 0.01)
    assert (config.adam_epsilon, config.weight_decay, config.max_length) == (1e-16, 0.0, None)
    recipe.write_text("task: sums\nlearnign_rate: 0.01\n")
    with pytest.raises(ValueError, match="learnign_rate"):
        parse("sft", ["--config", str(recipe)])


def test_rows_of_the_users_own(tmp_path):
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(ROW) + "\n" for _ in range(16)))
    flags = f"--data {data} --max_steps 2 --per_device_train_batch_size 4 --save_strategy no"
    artwork, _, finished = paint(
        "sft", *parse("sft", [*flags.split(), "--output_dir", str(tmp_path / "out")]), quiet=True
    )
    assert finished
    assert artwork.provenance.data == "rows.jsonl"
    assert Artwork.load(tmp_path / "out" / "artwork.png") == artwork
