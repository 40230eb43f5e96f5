"""``pixeltune sft`` on the bundled model: it learns, it resumes, it refuses."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from transformers import TrainerState

from pixeltune.adapter.guard import PixelWarning
from pixeltune.artwork.artwork import Artwork
from pixeltune.cli.main import main
from pixeltune.cli.train import settings
from pixeltune.errors import RunError, UserError
from pixeltune.evaluation.candidates import candidates
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.scoring import score_rows
from pixeltune.model.loading import load_model, load_processor, weights_sha256
from pixeltune.picture.canvas import Canvas, start_picture
from pixeltune.tasks.base import find_task
from pixeltune.tasks.synthetic import calls
from pixeltune.training.arguments import read_settings
from pixeltune.training.callbacks import PixelProgress, StopSignal
from pixeltune.training.export import export
from pixeltune.training.paint import Painting, paint

SHORT = "--task calls --score_steps 0 --snapshot_steps 0 --train_rows 24 --per_device_train_batch_size 4"


@pytest.mark.parametrize("name", ["calls", "sums"])
def test_an_artwork_lifts_the_held_out_score_and_nothing_else_changes(painted, name):
    """Pixels moved, base weights did not, and the PNG's score is far outside what the start picture gets."""
    task = find_task(name)
    artwork: Artwork = painted[name]
    model, processor = load_model("tiny"), load_processor("tiny")
    assert weights_sha256(model) == artwork.provenance.base_sha256
    made = artwork.provenance
    start = Canvas(start_picture(made.start, *artwork.size, made.seed)).to_uint8()
    assert np.abs(artwork.pixels.astype(int) - start).mean() > 1

    rows = task.rows("test", 80, seed=5)
    before = score_rows(task, rows, InProcess(model, processor, Image.fromarray(start)))
    after = score_rows(task, rows, InProcess(model, processor, artwork.image))
    told = score_rows(task, rows, InProcess(model, processor), task.instruction)
    assert after.ci95[0] > before.ci95[1]
    assert after.score >= 0.9 * told.score
    assert after.ci95[1] >= told.ci95[0]  # not significantly below the best instruction


def test_the_live_adapter_and_its_png_say_the_same(painted_calls_model, painted):
    """The held-out score during training is that of the PNG: same prompts, same greedy completions."""
    live, processor = painted_calls_model, load_processor("tiny")
    rows = calls.rows("test", 30, seed=6)
    png = InProcess(load_model("tiny"), processor, painted["calls"].image)
    worn, sent = (
        score_rows(calls.TASK, rows, backend).records for backend in (InProcess(live, processor), png)
    )
    assert [record["completions"] for record in worn] == [record["completions"] for record in sent]


def test_progress_is_logged_and_snapshots_are_kept(painted, painted_folder):
    history = json.loads(next(painted_folder.glob("calls/checkpoint-*/trainer_state.json")).read_text())
    scores = [entry["held_out_score"] for entry in history["log_history"] if "held_out_score" in entry]
    losses = [entry["loss"] for entry in history["log_history"] if "loss" in entry]
    assert scores[-1] > 0.5
    assert losses[-1] < losses[0]
    whole = log(painted_folder / "calls")
    checkpoint = history["log_history"]  # saved before the summary of the whole training
    assert whole[: len(checkpoint)] == checkpoint
    assert [entry["step"] for entry in whole if "loss" in entry] == [5, 10, 15]
    seconds = [entry["seconds"] for entry in whole]
    assert seconds == sorted(seconds)
    assert seconds[-1] > 0
    snapshots = sorted((painted_folder / "calls" / "snapshots").glob("*.png"))
    assert [s.name for s in snapshots][:2] == ["step-000000.png", "step-000009.png"]


def test_samples_show_what_the_start_picture_and_the_artwork_made_of_the_same_rows(painted, painted_folder):
    files = sorted((painted_folder / "calls" / "samples").iterdir())
    assert [file.name for file in files] == [f"step-{step:06d}.json" for step in (0, 9, 18)]
    before, _, after = (json.loads(file.read_text()) for file in files)
    assert len(before) == 6
    assert [one["prompt"] for one in before] == [one["prompt"] for one in after]
    assert sum(one["score"] for one in after) > sum(one["score"] for one in before)


FORKS = multiprocessing.get_context("forkserver")  # which imports once, not once for each process below
FORKS.set_forkserver_preload(["pixeltune.training.paint"])


def command(words: list[str], log: Path) -> None:
    with log.open("a") as output, redirect_stdout(output):
        code = main(words)
    sys.exit(code)


def start(verb: str, folder: Path, *more: str) -> multiprocessing.Process:
    """``pixeltune VERB ...`` in a process of its own; what it prints goes to ``folder.log``."""
    if verb == "grpo":
        more = (*more, "--num_generations", "2", "--max_completion_length", "40")
    if verb == "sft":  # what is random in a training has to be taken up again, too
        more = (*more, "--robust", "heavy")
    words = f"{verb} {SHORT} --output_dir {folder} --max_steps 14 --save_steps 2".split()
    process = FORKS.Process(target=command, args=([*words, *more], folder.with_suffix(".log")))
    process.start()
    return process


def checkpoints(folder: Path) -> list[int]:
    """Steps of the checkpoints that are whole; what is being written has no trainer_state.json yet."""
    return sorted(int(p.parent.name.split("-")[1]) for p in folder.glob("checkpoint-*/trainer_state.json"))


def wait_for(step: int, folder: Path, process: multiprocessing.Process) -> None:
    """Until a checkpoint of that step or a later one is begun."""
    end = time.monotonic() + 900
    while not any(int(p.name.split("-")[1]) >= step for p in folder.glob("checkpoint-*")):
        assert process.is_alive(), folder.with_suffix(".log").read_text()
        assert time.monotonic() < end, f"no checkpoint of step {step}"
        time.sleep(0.005)


def finish(process: multiprocessing.Process) -> int:
    process.join(900)
    return process.exitcode


def log(folder: Path) -> list[dict]:
    return json.loads((folder / "log_history.json").read_text())


def equal_logs(one: Path, two: Path) -> bool:
    """The same entries, none lost or doubled; a loss since a resumption is a mean over fewer steps."""
    for entries in (log(one), log(two)):
        seconds = [entry["seconds"] for entry in entries]
        assert seconds == sorted(seconds)
    return [(e["step"], e.keys()) for e in log(one)] == [(e["step"], e.keys()) for e in log(two)]


def equal(one: Path, two: Path) -> bool:
    a, b = (Artwork.load(folder / "artwork.png") for folder in (one, two))
    return np.array_equal(a.pixels, b.pixels) and a.provenance == b.provenance


@pytest.mark.parametrize(("verb", "kills"), [("sft", (1, 2, 3, 4, 5)), ("dpo", (2, 4)), ("grpo", (2, 4))])
def test_killed_and_resumed_again_and_again_equals_uninterrupted(tmp_path, verb, kills):
    whole, broken, rng = tmp_path / "whole", tmp_path / "broken", random.Random(verb)
    assert finish(start(verb, whole)) == 0
    resume: tuple = ()
    for kill in kills:
        process = start(verb, broken, *resume)
        wait_for(2 * kill, broken, process)
        time.sleep(rng.uniform(0, 0.5))  # in the middle of a save, of a step, or between them
        process.kill()
        assert finish(process) == -signal.SIGKILL
        assert not (broken / "artwork.png").exists()
        resume = ("--resume_from_checkpoint", "true") if checkpoints(broken) else ()
    assert checkpoints(broken)[-1] >= 6
    assert finish(start(verb, broken, *resume)) == 0
    assert equal(whole, broken)
    assert equal_logs(whole, broken)


def test_interrupted_and_resumed_equals_uninterrupted(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert finish(start("sft", whole)) == 0
    process = start("sft", broken)
    wait_for(2, broken, process)
    os.kill(process.pid, signal.SIGINT)
    assert finish(process) == 130
    assert "--resume_from_checkpoint true" in broken.with_suffix(".log").read_text()
    assert not (broken / "artwork.png").exists()
    assert finish(start("sft", broken, "--resume_from_checkpoint", "true")) == 0
    assert equal(whole, broken)
    assert equal_logs(whole, broken)


ROW = {"prompt": "Call Emma.", "completion": "No tool fits."}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "give --task"),
        ("--task calls --data x.jsonl", "reads no folder"),
        ("--task chess", "no task 'chess'; there are calls"),
        ("--data missing.jsonl", "no file missing.jsonl"),
        ("--task calls --start {picture}", "--licence"),
        ("--task calls --start missing.png", "'missing.png' is not a file"),
        ("--task calls --start missing.png --licence CC0-1.0", "missing.png"),
        ("--task calls --mask missing.png", "missing.png"),
        ("--task calls --height 250 --width 256", "256x256"),
        ("--task calls --height 256", "both height and width"),
        ("--task calls --bound 300", "1 to 255"),
        ("--task calls --image_tokens 0", "at least one image token"),
        ("--task calls --robust jpeg,blur", "no transform 'blur'"),
        ("--task calls --fit squeeze", "fit is one of crop, pad, stretch"),
        ("--task calls --backdrop greyish", "no opaque colour"),
        ("--task calls --train_rows 0", "--train_rows"),
        ("--task calls --resume_from_checkpoint true", "no checkpoint in"),
        ("--task calls --model nowhere/nothing", "cannot load 'nowhere/nothing'"),
    ],
)
def test_bad_arguments_are_refused_before_the_model_loads(arguments, message, tmp_path, monkeypatch):
    monkeypatch.setattr("pixeltune.training.paint.load_model", lambda *_: pytest.fail("the model was loaded"))
    Image.new("RGB", (256, 256)).save(picture := tmp_path / "mine.png")
    words = [word.format(picture=picture) for word in arguments.split()]
    with pytest.raises(ValueError, match=message):
        paint("sft", **settings("sft", [*words, "--output_dir", str(tmp_path / "out")]))
    assert list(tmp_path.rglob("*")) == [picture]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--start film.gif", "several frames"),
        ("--start film.gif --mask black.png", "several frames"),
        ("--start cut.png", "cannot read the start picture"),
        ("--start wide.png", r"20x40 \(height x width\), the canvas 256x256: say how"),
        ("--start wide.png --fit squeeze", "fit is one of"),
        ("--mask black.png", "leaves no pixel to paint"),
        ("--mask black.png --fit pad", "leaves no pixel to paint"),
        ("--mask film.gif", "several frames"),
        ("--mask wide.png", "20x40"),
    ],
)
def test_unusable_pictures_are_refused_before_the_model_loads(flags, message, tmp_path, monkeypatch):
    monkeypatch.setattr("pixeltune.training.paint.load_model", lambda *_: pytest.fail("the model was loaded"))
    monkeypatch.chdir(tmp_path)
    Image.effect_noise((40, 20), 64).save("wide.png")
    Image.new("L", (20, 20)).save("black.png")
    Image.new("L", (20, 20)).save("film.gif", save_all=True, append_images=[Image.new("L", (20, 20), 255)])
    Path("cut.png").write_bytes(Path("wide.png").read_bytes()[:300])
    words = ["--task", "calls", "--licence", "CC0-1.0", "--output_dir", "out", *flags.split()]
    with pytest.raises(ValueError, match=message) as caught:
        paint("sft", **settings("sft", words))
    assert "\n" not in str(caught.value)
    assert not Path("out").exists()


def test_an_artwork_from_a_picture_file_says_how_it_began(tmp_path):
    """And `pixeltune eval --compare start:FILE` shows the model the picture that training began with."""
    Image.radial_gradient("L").resize((300, 200)).convert("RGB").save(tmp_path / "moon.png")
    flags = f"{SHORT} --max_steps 1 --save_strategy no --fit pad --backdrop #204060 --licence CC-BY-4.0"
    words = [*flags.split(), "--snapshot_steps", "1", "--start", str(tmp_path / "moon.png")]
    given = settings("sft", [*words, "--output_dir", str(tmp_path / "out")])
    artwork = paint("sft", quiet=True, **given).artwork
    made = artwork.provenance
    assert (made.start, made.licence) == ("moon.png", "CC-BY-4.0")
    assert made.training["backdrop"] == "#204060"
    assert made.training["fit"] == "pad"
    begun = np.array(Image.open(tmp_path / "out" / "snapshots" / "step-000000.png"))
    assert (begun[0] == (0x20, 0x40, 0x60)).all()
    path = str(tmp_path / "out" / "artwork.png")
    [_, start] = candidates([path, f"start:{tmp_path / 'moon.png'}"], engine=False)
    assert np.array_equal(np.array(start.picture), begun)


def test_yaml_and_flags(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("task: sums\nmax_steps: 7\nlearning_rate: 0.01\n")
    given = settings("sft", ["--config", str(recipe), "--max_steps", "9"])
    arguments, config = read_settings("sft", given)
    assert (arguments.task, config.max_steps, config.learning_rate) == (["sums"], 9, 0.01)
    assert (config.adam_epsilon, config.weight_decay, config.max_length) == (1e-16, 0.0, None)
    recipe.write_text("task: sums\nlearnign_rate: 0.01\n")
    with pytest.raises(ValueError, match="learnign_rate"):
        settings("sft", ["--config", str(recipe)])


def test_rows_of_the_users_own(tmp_path):
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(ROW) + "\n" for _ in range(16)))
    flags = f"--data {data} --max_steps 2 --per_device_train_batch_size 4 --save_strategy no"
    given = settings("sft", [*flags.split(), "--output_dir", str(tmp_path / "out")])
    painting = paint("sft", quiet=True, **given)
    assert painting.finished
    artwork = painting.artwork
    assert artwork.provenance.data == "rows.jsonl"
    assert Artwork.load(tmp_path / "out" / "artwork.png") == artwork


REWARDLESS = (
    "--task sums --per_device_train_batch_size 8 --num_generations 4 --max_completion_length 8 --score_steps 0 "
    "--snapshot_steps 0 --train_rows 16 --save_strategy no --logging_steps 5"
)


def nothing(completions: list, **_) -> list[float]:
    return [0.0] * len(completions)


@pytest.mark.parametrize("steps", [3, 12])  # the guard looks after 10
@pytest.mark.parametrize("verb", ["grpo", "rloo"])
def test_a_run_without_any_reward_is_not_told_to_raise_the_learning_rate(verb, steps, tmp_path):
    words = f"{REWARDLESS} --reward test_paint:nothing --max_steps {steps} --output_dir {tmp_path}".split()
    with pytest.raises(RunError, match=r"no completion was ever rewarded.*temperature.*sft first") as caught:
        paint(verb, quiet=True, **settings(verb, words))
    assert "learning_rate" not in str(caught.value)
    assert not (tmp_path / "artwork.png").exists()


def test_steps_that_are_too_small_to_show_are_told_to_be_larger(tmp_path):
    words = f"{SHORT} --max_steps 2 --learning_rate 1e-6 --save_strategy no --output_dir {tmp_path}".split()
    with (
        pytest.warns(PixelWarning, match="learning_rate=1e-06"),
        pytest.raises(RunError, match=r"not one pixel changed.*raise learning_rate \(0.005 to 0.1 works\)"),
    ):
        paint("sft", quiet=True, **settings("sft", words))


def test_a_picture_that_never_changed_is_no_artwork_either_after_a_resumption(tmp_path):
    words = f"{SHORT} --learning_rate 1e-6 --save_steps 1 --output_dir {tmp_path} --max_steps".split()
    for more in (["1"], ["2", "--resume_from_checkpoint", "true"]):
        with pytest.warns(PixelWarning), pytest.raises(RunError, match="not one pixel changed"):
            paint("sft", quiet=True, **settings("sft", [*words, *more]))
    assert checkpoints(tmp_path) == [1, 2]
    assert not (tmp_path / "artwork.png").exists()
    with pytest.raises(UserError, match="not one pixel changed"):
        export(tmp_path / "checkpoint-2")


class Falls:
    """A trainer whose training ends in an error after its second step."""

    callback_handler = SimpleNamespace(callbacks=[])

    def __init__(self, error: Exception, step: int = 2) -> None:
        self.error, self.state, self.saved = error, TrainerState(global_step=step), 0

    def train(self, resume_from_checkpoint: str | None) -> None:
        raise self.error

    def is_world_process_zero(self) -> bool:
        return False

    def _save_checkpoint(self, model: object, trial: object) -> None:
        self.saved += 1

    model = None


@pytest.mark.parametrize(
    ("error", "step", "saved"),
    [
        (KeyError("wanted"), 2, 1),
        (KeyError("wanted"), 0, 0),
        (RunError("no pixel changed"), 2, 0),
        (MemoryError(), 2, 0),
    ],
)
def test_an_error_of_the_users_code_keeps_its_traceback_and_the_steps_are_saved(error, step, saved, tmp_path):
    given = {"task": "calls", "report_to": "none", "output_dir": tmp_path}
    painting = Painting("sft", *read_settings("sft", given))
    painting.ready = SimpleNamespace(checkpoint=None)
    painting.trainers = {"tiny": (trainer := Falls(error, step))}
    with pytest.raises(type(error)) as caught:
        painting.train()
    assert (caught.value is error, trainer.saved) == (True, saved)
    notes = [
        f"Step 2 is saved; go on with the same settings and --resume_from_checkpoint true --output_dir {tmp_path}"
    ]
    assert getattr(error, "__notes__", []) == notes * saved


def test_a_step_that_was_saved_at_its_end_is_not_saved_again_in_mid_step(tmp_path):
    given = {"task": "calls", "report_to": "none", "output_dir": tmp_path}
    painting = Painting("sft", *read_settings("sft", given))
    painting.ready = SimpleNamespace(checkpoint=None)
    painting.trainers = {"tiny": (trainer := Falls(KeyError("wanted")))}
    (tmp_path / "checkpoint-2").mkdir()
    (tmp_path / "checkpoint-2" / "trainer_state.json").write_text("{}")
    with pytest.raises(KeyError) as caught:
        painting.train()
    assert trainer.saved == 0
    assert "Step 2 is saved" in caught.value.__notes__[0]


def test_a_training_that_ends_in_an_error_leaves_terminal_and_ctrl_c_as_they_were(capfd):
    painting = Painting("sft", *read_settings("sft", {"task": "calls", "report_to": "none"}))
    stop, bar, before = StopSignal(), PixelProgress(), signal.getsignal(signal.SIGINT)

    def train(resume_from_checkpoint: str | None) -> None:
        for one in (stop, bar):
            one.on_train_begin(None, TrainerState(max_steps=2), None)
        assert signal.getsignal(signal.SIGINT) != before
        raise RunError("no pixel changed")

    painting.ready = SimpleNamespace(checkpoint=None)
    trainer = SimpleNamespace(train=train, callback_handler=SimpleNamespace(callbacks=[stop, bar]))
    trainer.is_world_process_zero = lambda: False
    painting.trainers = {"tiny": trainer}
    with pytest.raises(RunError):
        painting.train()
    assert signal.getsignal(signal.SIGINT) == before
    assert capfd.readouterr().err.endswith("\n")
