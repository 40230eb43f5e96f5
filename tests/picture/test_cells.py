"""``pixeltune sft --cells``: a few token cells are painted, and the rest stays the start picture."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixeltune.artwork.artwork import Artwork
from pixeltune.cli.train import settings
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.scoring import score_rows
from pixeltune.model.loading import load_model, load_processor, weights_sha256
from pixeltune.picture.canvas import cells_mask
from pixeltune.picture.drawings import draw
from pixeltune.tasks.synthetic import calls
from pixeltune.training.paint import paint

FLAGS = (
    "--task calls --start tools --cells 16 --max_steps 8 --save_steps 4 --per_device_train_batch_size 8 "
    "--train_rows 64 --learning_rate 0.06 --held_out_rows 0 --snapshot_steps 0"
)


def painted(folder: Path, *more: str) -> Artwork:
    given = settings("sft", [*FLAGS.split(), *more, "--output_dir", str(folder)])
    painting = paint("sft", quiet=True, **given)
    assert painting.finished
    return painting.artwork


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cells") / "run"


@pytest.fixture(scope="module")
def artwork(folder) -> Artwork:
    return painted(folder)


def test_only_the_cells_move_and_the_score_rises(artwork):
    start, free = draw("tools", 256, 256), cells_mask(16, 64, 256, 256, seed=42).numpy()
    assert (artwork.pixels == start)[~free].all()
    assert np.abs(artwork.pixels.astype(int) - start)[free].mean() > 2
    model, processor = load_model("tiny"), load_processor("tiny")
    assert artwork.provenance.base_sha256 == weights_sha256(model)
    assert artwork.provenance.training["cells"] == 16
    rows = calls.rows("test", 24, seed=5)
    before, after = (
        score_rows(calls.TASK, rows, InProcess(model, processor, Image.fromarray(pixels)))
        for pixels in (start, artwork.pixels)
    )
    assert after.ci95[0] > before.ci95[1]


def test_resumed_equals_uninterrupted(artwork, folder, tmp_path):
    shutil.copytree(folder / "checkpoint-4", tmp_path / "checkpoint-4")
    resumed = painted(tmp_path, "--resume_from_checkpoint", "true")
    assert (resumed.pixels == artwork.pixels).all()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--cells", "65"), "64 token cells: paint 1 to 64 of them, not 65"),
        (("--cells", "0"), "--cells must be at least 1"),
        (("--mask", "mask.png"), "give one"),
    ],
)
def test_what_cannot_be_painted_is_refused_before_the_model_loads(more, message, tmp_path, monkeypatch):
    monkeypatch.setattr("pixeltune.training.paint.load_model", lambda *_: pytest.fail("the model was loaded"))
    with pytest.raises(ValueError, match=message):
        painted(tmp_path, *more)
