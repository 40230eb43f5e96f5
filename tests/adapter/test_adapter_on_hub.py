"""An adapter on the hub is one that PEFT finds: from a pulled folder, and by the repository's name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import get_peft_model

from hub_server import OWNER, StandInHub
from pixeltune import ArtConfig, load_model
from pixeltune.artwork.artwork import Artwork
from pixeltune.cli.main import main
from pixeltune.training.export import export

LOAD = """
import hashlib
from pixeltune import ArtConfig, load_model
from peft import PeftConfig, PeftModel

for place in ("calls", "me/calls"):  # the folder; then the hub, by PEFT's own way
    assert isinstance(PeftConfig.from_pretrained(place), ArtConfig)
    model = PeftModel.from_pretrained(load_model("tiny"), place)
    print(hashlib.sha256(model.get_artwork_image().tobytes()).hexdigest())
"""


@pytest.fixture
def run(tmp_path, monkeypatch) -> Path:
    """A folder with an adapter for the bundled model that was changed, as a run leaves it, and its PNG."""
    monkeypatch.chdir(tmp_path)
    model = get_peft_model(load_model("tiny"), ArtConfig(image_tokens=64, start="grey"))
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith(".paint.pixels"):
                value[0, 3, 4] += 9 / 255
    model.save_pretrained(tmp_path / "run")
    export(tmp_path / "run").save(tmp_path / "run" / "artwork.png")
    return tmp_path / "run"


def test_a_pushed_run_is_a_peft_adapter_again(run, tmp_path, monkeypatch, capsys):
    with StandInHub().running() as hub:
        hub.used_here(monkeypatch, tmp_path / "home", OWNER)
        assert main(["push", "run", "me/calls"]) == 0
        assert main(["pull", "me/calls"]) == 0
        for name in ("artwork.png", "adapter_model.safetensors"):
            assert (tmp_path / "calls" / name).read_bytes() == (run / name).read_bytes()
        config = json.loads((tmp_path / "calls" / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == "tiny"
        done = subprocess.run(
            [sys.executable, "-c", LOAD], capture_output=True, text=True
        )  # which reads HF_ENDPOINT
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == [Artwork.load("calls").sha256] * 2


def test_a_png_of_another_step_is_not_pushed_beside_the_adapter(run, monkeypatch, tmp_path, capsys):
    artwork = Artwork.load(run)
    pixels = artwork.pixels.copy()
    pixels[0, 0, 0] ^= 1
    Artwork(pixels, artwork.provenance).save(run / "artwork.png")
    with StandInHub().running() as hub:
        hub.used_here(monkeypatch, tmp_path / "home", OWNER)
        assert main(["push", "run", "me/calls"]) == 1
        assert hub.asked == []
    assert (
        "run holds a PNG and an adapter that show different pictures: push the PNG alone"
        in capsys.readouterr().err
    )
