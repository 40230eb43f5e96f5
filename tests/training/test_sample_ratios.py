"""The samples that a training keeps say of each token how much likelier the live picture makes it."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from peft import get_peft_model
from PIL import Image

from pixeltune.adapter import ArtConfig, use_processor
from pixeltune.adapter.guard import art_layer
from pixeltune.artwork.artwork import Artwork
from pixeltune.data.tools import tools_of
from pixeltune.evaluation.in_process import InProcess
from pixeltune.model.loading import load_model, load_processor
from pixeltune.tasks.synthetic import calls
from pixeltune.training.callbacks import HeldOutScore
from pixeltune.training.joint import Part


def test_they_are_of_the_live_picture_and_leave_it_trainable(tmp_path, bundled):
    model, processor, picture = (
        load_model("tiny"),
        load_processor("tiny"),
        Artwork.load("docs/images/calls.png").image,
    )
    use_processor(model, processor)
    worn = get_peft_model(model, ArtConfig())
    canvas = art_layer(worn).canvas()
    canvas.set_picture(np.asarray(picture))
    trained = [name for name, one in worn.named_parameters() if one.requires_grad]
    assert trained
    rows, logged = calls.rows("test", 3), []
    parts = [Part("calls", calls.TASK, [], rows)]
    score = HeldOutScore(parts, {"": InProcess(worn, processor)}, 1, logged.append, tmp_path)
    state = SimpleNamespace(is_world_process_zero=True, global_step=4, max_steps=4)
    score.on_step_end(None, state, SimpleNamespace(should_log=False))
    assert [name for name, one in worn.named_parameters() if one.requires_grad] == trained
    assert np.array_equal(worn.get_artwork_image(), np.asarray(picture))
    samples = json.loads((tmp_path / "step-000004.json").read_text())
    base = worn.unload()
    for sample, row in zip(samples, rows, strict=True):
        assert set(sample) == {"id", "prompt", "completions", "score", "ratios"}
        asked = [row["prompt"]], [tools_of(row)], sample["completions"]
        ((_, likely),) = InProcess(base, processor, Image.fromarray(np.asarray(picture))).log_probs(*asked)
        ((_, usual),) = InProcess(base, processor).log_probs(*asked)
        (pieces,) = sample["ratios"]
        assert [nats for _, nats in pieces] == pytest.approx(np.subtract(likely, usual), abs=2e-3)
    assert max(nats for sample in samples for _, nats in sample["ratios"][0]) > 1
