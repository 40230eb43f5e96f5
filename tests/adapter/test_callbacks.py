from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from training import make_trainer

from pixeltune.adapter import ArtConfig
from pixeltune.callbacks import SnapshotCallback


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
