"""A run is resumed as itself: another picture, other rows or another rate are refused, another batch size is said."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import TrainerState, get_scheduler

from pixeltune.adapter.guard import PixelWarning
from pixeltune.data.contexts import Context
from pixeltune.errors import UserError
from pixeltune.training.arguments import read_settings
from pixeltune.training.paint import paint
from pixeltune.training.resumption import RunRecord, check_resumed, check_whole, record_of

ROWS = [{"prompt": f"What is {i} + {i}?", "completion": f"{2 * i}"} for i in range(6)]


def record(
    rows: list[dict] = ROWS,
    own: bool = False,
    held_out: int = 0,
    told: tuple[Context, ...] = (),
    **settings: Any,
) -> dict:
    """Of a run with these settings, as it would be kept."""
    given = {"data": "rows.jsonl"} if own else {"task": "calls"}
    arguments, config = read_settings("sft", given | {"report_to": "none"} | settings)
    art = arguments.artwork(config.seed)
    art.height, art.width, art.image_tokens = art.height or 256, art.width or 256, art.image_tokens or 64
    ready = SimpleNamespace(
        objective="sft",
        own=own,
        train_rows=rows[held_out:],
        held_out=rows[:held_out],
        style=None,
        instruction=[],
        contexts=told,
    )
    return record_of(ready, arguments, config, art)


def checkpoint(folder: Path, held: dict | None) -> Path:
    """One that holds a record, as transformers writes it."""
    state = {"RunRecord": RunRecord(held).state()} if held else {}
    folder.mkdir(exist_ok=True)
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 2, "stateful_callbacks": state}))
    return folder


@pytest.fixture
def before(tmp_path) -> Path:
    return checkpoint(tmp_path / "checkpoint-2", record())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": "noise"}, "--start was grey and is now noise"),
        ({"seed": 7}, "--seed was 42 and is now 7"),
        ({"bound": 8}, "--bound was not given and is now 8"),
        ({"image_tokens": 16}, "--image_tokens was 64 and is now 16"),
        ({"parametrisation": "fourier"}, "--parametrisation was pixels and is now fourier"),
        ({"cells": 4}, "--cells"),
        ({"robust": "light"}, "--robust"),
        ({"model": "other/model"}, "--model was tiny and is now other/model"),
        ({"also": ["a", "b"]}, "--also was not given and is now a, b"),
        ({"task": "sums"}, "--task was calls and is now sums"),
        ({"task": ["calls", "sums:0.5"]}, "--task was calls and is now calls, sums:0.5"),
        ({"task": ["calls", "sums"], "balance": True}, "--balance was not given and is now True"),
        ({"reward": "mine:reward"}, "--reward"),
        ({"skip_spikes": 10.0}, "--skip_spikes was not given and is now 10.0"),
        ({"contexts": "own"}, "--contexts was not given and is now own"),
        ({"contexts": "own", "context_share": 0.3}, "--context_share was not given and is now 0.3"),
        ({"learning_rate": 0.5}, "--learning_rate was 0.02 and is now 0.5"),
        ({"adam_epsilon": 1e-8, "weight_decay": 0.1}, "--adam_epsilon was 1e-16 .*; --weight_decay was 0.0"),
    ],
)
def test_another_picture_or_task_is_refused_with_old_and_new_value(before, settings, message):
    with pytest.raises(UserError, match=message) as caught:
        check_resumed(before, record(**settings))
    assert "--start" in str(caught.value).rpartition("Give those")[2]  # the remedy
    assert "\n" not in str(caught.value)


def test_files_are_told_by_their_contents_wherever_they_lie(tmp_path):
    for folder, level in (("a", 0), ("b", 0), ("c", 9)):
        (tmp_path / folder).mkdir()
        Image.new("L", (8, 8), level).save(tmp_path / folder / "mine.png")
    a, b, c = (
        record(
            start=str(tmp_path / folder / "mine.png"),
            licence="CC0-1.0",
            mask=str(tmp_path / folder / "mine.png"),
        )
        for folder in "abc"
    )
    assert a == b
    with pytest.raises(
        UserError, match=r"--start was mine.png \(sha256 .*\) and is now mine.png.*; --mask was"
    ):
        check_resumed(checkpoint(tmp_path / "checkpoint-2", a), c)


def test_other_rows_are_refused(before, tmp_path):
    other = [*ROWS[:-1], {**ROWS[-1], "completion": "11"}]
    with pytest.raises(UserError, match=r"hash of the 6 rows to train on was .* and is now"):
        check_resumed(before, record(other))
    own = checkpoint(tmp_path / "own", record(own=True))
    for rows in (other, ROWS[1:], [*ROWS, ROWS[0]]):
        with pytest.raises(UserError, match="rows to train on"):
            check_resumed(own, record(rows, own=True))
    with pytest.raises(UserError, match="--held_out_rows was 0 and is now 2"):  # they were trained on
        check_resumed(own, record(own=True, held_out=2))
    with pytest.raises(UserError, match="--score was not given and is now exact"):
        check_resumed(own, record(own=True, score="exact"))
    with pytest.raises(UserError, match="--task was calls and is now not given"):
        check_resumed(before, record(own=True))


@pytest.mark.parametrize("own", [True, False])
def test_scores_before_and_after_are_of_the_same_held_out_rows(own, tmp_path):
    held = checkpoint(tmp_path / "held", record(own=own, held_out=2))
    with pytest.raises(UserError, match=r"hash of the 2 held-out rows was .* and is now"):
        check_resumed(held, record([{**ROWS[0], "completion": "11"}, *ROWS[1:]], own=own, held_out=2))
    with pytest.raises(UserError, match="--held_out_rows was 2 and is now 1"):
        check_resumed(held, record(own=own, held_out=1))


def test_other_contexts_are_refused(tmp_path):
    said, other = (Context([{"role": "assistant", "content": text}], "chat", "here") for text in "ab")
    held = checkpoint(tmp_path / "held", record(told=(said,), contexts="own"))
    check_resumed(held, record(told=(Context(said.messages, "chat", "there"),), contexts="own"))
    for told, message in (((other,), r"own \(sha256"), ((), "is now own")):
        with pytest.raises(
            UserError,
            match=rf"--contexts was own \(sha256 \w+\) and is now {message.removeprefix('is now ')}",
        ):
            check_resumed(held, record(told=told, contexts="own"))
    with pytest.raises(UserError, match=r"--contexts was own \(sha256 \w+\) and is now talks.jsonl"):
        check_resumed(held, record(told=(said,), contexts="folder/talks.jsonl"))


def test_a_file_of_rows_may_be_renamed(tmp_path):
    own = checkpoint(tmp_path / "own", record(own=True, held_out=2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_resumed(own, record(own=True, held_out=2, data="other.jsonl"))


def test_pictures_of_rows_count_and_their_places_do_not(tmp_path):
    for name, level in (("a.png", 0), ("b.png", 0), ("c.png", 9)):
        Image.new("L", (8, 8), level).save(tmp_path / name)
    a, b, c, d = (
        record([{**ROWS[0], "images": [image], "reader": object()}])
        for image in (
            *(str(tmp_path / name) for name in ("a.png", "b.png", "c.png")),
            Image.new("L", (8, 8), 9),
        )
    )
    assert a == b
    assert c not in (a, d)


def test_what_may_change_is_said_in_a_line(before):
    with pytest.warns(PixelWarning) as said:
        check_resumed(before, record(ROWS[1:], lr_scheduler_type="linear", per_device_train_batch_size=2))
    (line,) = (str(one.message) for one in said)
    assert "--lr_scheduler_type was cosine and is now linear" in line
    assert "the batch size was 32 and is now 2" in line
    assert "rows to train on was 6 and is now 5" in line


def test_a_longer_run_is_the_same_one(before):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_resumed(before, record(max_steps=500, save_steps=7, output_dir="elsewhere"))


def test_another_kind_of_schedule_takes_effect_and_another_rate_would_not():
    """What is said in a warning, and what is refused, because of how torch brings states back."""

    def made(rate: float, kind: str) -> tuple[Any, Any]:
        optimiser = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=rate)
        return optimiser, get_scheduler(kind, optimiser, 0, 10)

    def stepped(optimiser: Any, schedule: Any) -> float:
        optimiser.step()
        schedule.step()
        return optimiser.param_groups[0]["lr"]

    old, wave = made(0.1, "cosine")
    stepped(old, wave)
    states = old.state_dict(), wave.state_dict()
    rates = []
    for rate, kind in ((0.1, "cosine"), (0.5, "cosine"), (0.1, "constant")):
        parts = made(rate, kind)
        for one, state in zip(parts, states, strict=True):
            one.load_state_dict(copy.deepcopy(state))
        rates.append(stepped(*parts))
    assert rates[0] == rates[1] < rates[2] == 0.1


def test_steps_between_logs_and_saves_are_those_asked_for_now():
    config = read_settings("sft", {"task": "calls", "logging_steps": 1, "save_steps": 3})[1]
    state = TrainerState(logging_steps=5, save_steps=50, max_steps=10)
    RunRecord({}).on_train_begin(config, state, None)
    assert (state.logging_steps, state.save_steps) == (1, 3)


@pytest.fixture
def whole(tmp_path) -> Path:
    """A checkpoint with every file that going on needs."""
    folder = checkpoint(tmp_path / "checkpoint-2", record())
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({}, folder / name)
    save_file({"pixels": torch.zeros(9)}, folder / "adapter_model.safetensors")
    return folder


def config(**settings: Any) -> Any:
    return read_settings("sft", {"task": "calls", **settings})[1]


def test_a_run_that_has_its_steps_is_not_given_one_more(whole):
    for steps in (1, 2):
        with pytest.raises(
            UserError, match=r"checkpoint-2 has 2 steps already: give --max_steps above that, or .*export"
        ):
            check_whole(whole, config(max_steps=steps))
    check_whole(whole, config(max_steps=3))
    check_whole(whole, config(num_train_epochs=1))


@pytest.mark.parametrize(
    "name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "adapter_model.safetensors"]
)
def test_a_checkpoint_that_lacks_something_is_refused_in_a_line(name, whole):
    data = (whole / name).read_bytes()
    (whole / name).write_bytes(data[:-9])
    with pytest.raises(UserError, match=rf"checkpoint-2/{name} cannot be read") as cut:
        check_whole(whole, config())
    (whole / name).unlink()
    with pytest.raises(UserError, match=rf"checkpoint-2 has no {name}, .*another checkpoint") as missing:
        check_whole(whole, config())
    assert "\n" not in f"{cut.value}{missing.value}"


def test_checkpoints_that_say_nothing_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"does not say which settings and rows .* the trainer that wrote it"):
        check_resumed(checkpoint(tmp_path / "checkpoint-2", None), record())


def test_by_command(bundled, tmp_path, monkeypatch):
    """A real run keeps it, and so does the one that goes on with it."""
    small = {
        "task": "calls",
        "train_rows": 8,
        "held_out_rows": 0,
        "per_device_train_batch_size": 4,
        "save_steps": 1,
        "snapshot_steps": 0,
        "learning_rate": 0.06,
        "report_to": "none",
        "quiet": True,
        "output_dir": tmp_path / "run",
    }
    paint("sft", max_steps=1, **small)
    first = tmp_path / "run" / "checkpoint-1"
    more = small | {"output_dir": tmp_path / "on", "logging_steps": 1}
    on = paint("sft", max_steps=2, resume_from_checkpoint=first, **more)
    assert [entry["step"] for entry in on.history if "loss" in entry] == [2]  # of 5 there would be none
    monkeypatch.setattr("pixeltune.training.paint.load_model", lambda *_: pytest.fail("the model was loaded"))
    small["output_dir"] = tmp_path / "new"
    for checkpoint in (first, tmp_path / "on" / "checkpoint-2"):
        with pytest.raises(UserError, match="--seed was 42 and is now 3; --start was grey and is now noise"):
            paint("sft", max_steps=3, seed=3, start="noise", resume_from_checkpoint=checkpoint, **small)
