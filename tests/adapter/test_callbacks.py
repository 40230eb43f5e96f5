import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from training import make_trainer

from pixeltune.adapter import ArtConfig
from pixeltune.callbacks import PixelOptimizerCheck, SnapshotCallback


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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": 2e-5}, "learning_rate=2e-05"),
        ({"weight_decay": 0.01}, "fades the picture"),
        ({"adam_epsilon": 1e-8}, "adam_epsilon=1e-16"),
        ({"learning_rate": 5e-3, "warmup_steps": 2}, None),
    ],
)
def test_optimiser_settings_that_cannot_move_pixels_are_reported(checkpoints, tmp_path, settings, message):
    trainer = make_trainer(
        checkpoints["qwen3_vl"], str(tmp_path), ArtConfig(), [PixelOptimizerCheck()], max_steps=1, **settings
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.train()
    found = [
        str(warning.message) for warning in caught if "pixels will not train well" in str(warning.message)
    ]
    assert len(found) == (message is not None)
    assert all(message in text for text in found)


def test_models_without_an_artwork_are_an_error(tmp_path):
    with pytest.raises(ValueError, match="peft_config=ArtConfig"):
        PixelOptimizerCheck().on_train_begin(None, None, None, model=torch.nn.Linear(2, 2))
