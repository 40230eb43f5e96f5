from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from pixeltune.adapter import ArtConfig
from pixeltune.callbacks import PixelProgress, SnapshotCallback
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
