"""Real callbacks of transformers; TensorBoard for real, stand-ins with the signatures of the others, and those for
real too where they are installed.
"""

import io
import json
import os
import subprocess
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import DefaultFlowCallback, TrainingArguments
from transformers.integrations import (
    MLflowCallback,
    TensorBoardCallback,
    TrackioCallback,
    WandbCallback,
)

from pixeltune.training.trackers import log_picture

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)


@pytest.fixture
def install(monkeypatch):
    """Puts a stand-in of a package where `import` finds it."""

    def put(name: str, **content) -> ModuleType:
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
        return module

    return put


def test_tensorboard_shows_the_very_pixels(tmp_path, monkeypatch):
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path))
    callback = TensorBoardCallback()
    log_picture([callback], PIXELS, 0)  # nothing is open yet: nothing to log to
    state = SimpleNamespace(is_world_process_zero=True, is_hyper_param_search=False)
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, bf16=False)
    callback.on_train_begin(args, state, None)
    log_picture([callback], PIXELS, 25)
    log_picture([callback], PIXELS[::-1], 50)
    callback.on_train_end(args, state, None)
    events = EventAccumulator(str(tmp_path)).Reload().Images("artwork")
    assert [event.step for event in events] == [25, 50]
    for event, pixels in zip(events, (PIXELS, PIXELS[::-1]), strict=True):
        assert np.array_equal(decoded(event.encoded_image_string), pixels)


def decoded(png: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(png)).convert("RGB"))


def test_wandb(install):
    """As in wandb 0.31: `Image.__init__` and `log`."""
    logged = []

    class Picture:
        def __init__(
            self,
            data_or_path,
            mode=None,
            caption=None,
            grouping=None,
            classes=None,
            boxes=None,
            masks=None,
            file_type=None,
            normalize=True,
        ):
            assert isinstance(data_or_path, Image.Image)  # arrays it would perhaps rescale
            assert file_type in (None, "png")  # what it keeps lossless
            self.image = data_or_path

    def log(data, step=None, commit=None):
        assert step is None  # the callback counts no steps, and a lower one than wandb's own is dropped
        logged.append(data)

    install("wandb", run=None, Image=Picture, log=log)
    log_picture([WandbCallback()], PIXELS, 25)
    assert logged[0]["train/global_step"] == 25
    assert np.array_equal(np.array(logged[0]["artwork"].image), PIXELS)


def test_trackio(install):
    """As in trackio 0.43: `Image.__init__`, which takes uint8 only, and `log`."""
    logged = []

    class Picture:
        def __init__(self, value, caption=None):
            assert isinstance(value, str | Path | np.ndarray | Image.Image)
            assert not isinstance(value, np.ndarray) or value.dtype == np.uint8
            self.value = value

    def log(metrics, step=None):
        assert step is None
        logged.append(metrics)

    install("trackio", Image=Picture, log=log)
    log_picture([TrackioCallback()], PIXELS, 25)
    assert logged[0]["train/global_step"] == 25
    assert np.array_equal(np.array(logged[0]["artwork"].value), PIXELS)


def test_mlflow(install):
    """As in mlflow 3.17: `log_image` with a key and a step, or with a file."""
    logged = []

    def log_image(image, artifact_file=None, key=None, step=None, timestamp=None, synchronous=False):
        if (artifact_file is None) == (key is None):
            raise TypeError("give either artifact_file or key")
        logged.append((key, step, np.array(image)))

    limits = SimpleNamespace(MAX_PARAM_VAL_LENGTH=6000, MAX_PARAMS_TAGS_PER_BATCH=100)
    utils = SimpleNamespace(validation=limits)
    install("mlflow", log_image=log_image, utils=utils, active_run=lambda: None, __version__="3.17.2")
    log_picture([MLflowCallback()], PIXELS, 25)
    [(key, step, image)] = logged
    assert (key, step) == ("artwork", 25)
    assert np.array_equal(image, PIXELS)


def test_packages_of_trackers_that_are_not_there_are_not_imported(monkeypatch):
    for name in ("wandb", "trackio", "mlflow"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it raises
    log_picture([DefaultFlowCallback()], PIXELS, 1)


PAINT = """
import sys
from pixeltune import paint

paint(
    report_to=[sys.argv[1]], output_dir="run", task="sums", held_out_rows=4, train_rows=20, quiet=True,
    max_steps=2, score_steps=1, snapshot_steps=1, logging_steps=1, per_device_train_batch_size=4, learning_rate=0.06,
)
"""


@pytest.mark.parametrize("name", ["tensorboard", "trackio", "wandb", "mlflow"])
def test_a_painting_shows_its_pictures_its_score_and_its_loss(name, bundled, tmp_path):
    """In a process of its own, so that the packages find nothing but their folder, and nobody to send it to."""
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    place = tmp_path / "tracker"
    place.mkdir()
    folders = {"TENSORBOARD_LOGGING_DIR": place, "TRACKIO_DIR": place, "WANDB_DIR": place}
    folders |= {"MLFLOW_TRACKING_URI": f"sqlite:///{place}/mlflow.db"}
    env = os.environ | {key: str(folder) for key, folder in folders.items()}
    env |= {"WANDB_MODE": "offline", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PAINT, name], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    snapshots = [np.array(Image.open(path)) for path in sorted((tmp_path / "run/snapshots").glob("*.png"))]
    assert len(snapshots) == 3
    if name == "tensorboard":
        events = EventAccumulator(str(place)).Reload()
        shown = [decoded(event.encoded_image_string) for event in events.Images("artwork")]
        log = json.loads((tmp_path / "run/log_history.json").read_text())
        for key, steps in (("held_out_score", [0, 1, 2]), ("loss", [1, 2])):
            curve = [(entry["step"], pytest.approx(entry[key])) for entry in log if key in entry]
            assert [(event.step, event.value) for event in events.Scalars(f"train/{key}")] == curve
            assert [step for step, _ in curve] == steps
    else:
        outside = [path for path in tmp_path.rglob("*.png") if not path.is_relative_to(tmp_path / "run")]
        shown = [np.array(Image.open(path).convert("RGB")) for path in outside]
        kept = b"".join(path.read_bytes() for path in place.rglob("*") if path.is_file())
        assert b"held_out_score" in kept
        assert b"loss" in kept.replace(b"train_loss", b"")
    assert {pixels.tobytes() for pixels in shown} == {pixels.tobytes() for pixels in snapshots}
