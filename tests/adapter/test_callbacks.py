import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import TrainerCallback

from pixeltune.adapter import ArtConfig
from pixeltune.training.callbacks import Clock, HeldOutScore, PixelProgress, SnapshotCallback
from training import make_trainer


def test_snapshots_show_the_picture_at_each_step(checkpoints, tmp_path):
    callback = SnapshotCallback(2, tmp_path / "film")
    trainer = make_trainer(checkpoints["qwen3_vl"], str(tmp_path), ArtConfig(start="noise"), [callback])
    start = trainer.model.get_artwork_image()
    trainer.train()
    names = sorted(path.name for path in (tmp_path / "film").iterdir())
    assert names == ["step-000000.png", "step-000002.png", "step-000004.png"]
    pictures = [np.array(Image.open(tmp_path / "film" / name)) for name in names]
    assert np.array_equal(pictures[0], start)
    assert not np.array_equal(pictures[1], pictures[2])
    assert np.array_equal(pictures[2], trainer.model.get_artwork_image())


def test_trackers_show_the_live_picture(checkpoints, tmp_path, monkeypatch):
    """While the model looks at the start, as a reference policy does, what is logged is the artwork."""
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "events"))

    class LookAway(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            model.base_model.disable_adapter_layers()

        def on_step_begin(self, args, state, control, model=None, **kwargs):
            model.base_model.enable_adapter_layers()

    config = ArtConfig(start="letters")
    trainer = make_trainer(
        checkpoints["qwen3_vl"], str(tmp_path), config, [LookAway()], report_to="tensorboard", max_steps=3
    )
    trainer.add_callback(SnapshotCallback(2, tmp_path / "film", trainer))
    start = trainer.model.get_artwork_image()
    trainer.train()
    trainer.model.base_model.enable_adapter_layers()
    events = EventAccumulator(str(tmp_path / "events")).Reload().Images("artwork")
    assert [event.step for event in events] == [0, 2, 3]  # the last one is shown, whatever the interval
    shown = [np.array(Image.open(io.BytesIO(event.encoded_image_string))) for event in events]
    assert np.array_equal(shown[0], start)
    assert np.array_equal(shown[2], trainer.model.get_artwork_image())
    for event, picture in zip(events, shown, strict=True):
        assert event.step == 0 or not np.array_equal(picture, start)
        saved = Image.open(tmp_path / "film" / f"step-{event.step:06d}.png")
        assert np.array_equal(picture, np.array(saved))


def test_snapshots_need_a_positive_interval(tmp_path):
    with pytest.raises(ValueError, match="1 or more"):
        SnapshotCallback(0, tmp_path)


def test_models_without_an_artwork_are_an_error(tmp_path):
    state = SimpleNamespace(is_world_process_zero=True, global_step=0)
    with pytest.raises(ValueError, match="peft_config=ArtConfig"):
        SnapshotCallback(1, tmp_path).on_train_begin(None, state, None, model=torch.nn.Linear(2, 2))


def test_the_bar_stands_a_step_without_a_reward():
    """As GRPO logs it where the reward function left every completion of a step out."""
    bar, state = PixelProgress(), SimpleNamespace(is_world_process_zero=False, max_steps=2, global_step=0)
    bar.on_train_begin(None, state, None)
    bar.on_log(None, state, None, logs={"loss": 0.5, "reward": 1.0})
    bar.on_log(None, state, None, logs={"loss": 0.25, "reward": None})
    bar.on_log(None, state, None)
    assert bar.shown == {"loss": "0.250", "reward": "1.000"}
    bar.on_train_end(None, state, None)


def test_the_clock_goes_on_where_a_checkpoint_stopped(monkeypatch):
    now = 100.0
    monkeypatch.setattr("pixeltune.training.callbacks.time.monotonic", lambda: now)
    first = Clock()
    state = SimpleNamespace(stateful_callbacks={"Clock": first.state()}, log_history=[{"step": 1}])
    first.on_train_begin(None, state, None)
    now += 7
    first.on_log(None, state, None)
    assert state.log_history == [{"step": 1, "seconds": 7.0}]
    now += 3  # the checkpoint is saved now, and what happens until the next session is not counted
    state.stateful_callbacks["Clock"] = first.state()
    now += 1000
    second = Clock()
    second.on_train_begin(None, state, None)
    now += 2
    assert second.seconds() == 12.0


def test_a_score_does_not_take_the_place_of_its_steps_loss(monkeypatch, tmp_path):
    """Transformers takes a step as logged once anything was logged in it."""
    control = SimpleNamespace(should_log=True)

    def log(entry):
        control.should_log = False

    score = HeldOutScore([], {"": None}, 2, log, tmp_path)
    state = SimpleNamespace(is_world_process_zero=True, global_step=2, max_steps=9)
    score.on_step_end(None, state, control)
    assert control.should_log
    assert (tmp_path / "step-000002.json").read_text() == "[]\n"
