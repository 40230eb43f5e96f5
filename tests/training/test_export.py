"""What is exported was painted."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from pixeltune.adapter import ArtConfig
from pixeltune.errors import UserError
from pixeltune.model.finding import TINY
from pixeltune.training import provenance
from pixeltune.training.export import export


@pytest.mark.parametrize("start", ["grey", "noise"])
def test_a_picture_that_no_training_changed_is_no_artwork(bundled, start, tmp_path):
    config = ArtConfig(height=256, width=256, image_tokens=64, start=start, base_model_name_or_path=str(TINY))
    canvas = config.canvas()
    config.save_pretrained(str(tmp_path))

    def save() -> None:
        state = {f"base.visual.art_canvas.{name}": value for name, value in canvas.state_dict().items()}
        save_file(state, tmp_path / "adapter_model.safetensors")

    save()
    with pytest.raises(UserError, match="not one pixel changed"):
        export(tmp_path)
    with torch.no_grad():
        canvas.paint.pixels[0, 3, 4] += 2 / 255 if canvas.paint.pixels[0, 3, 4] < 0.5 else -2 / 255
    save()
    artwork = export(tmp_path)
    assert (artwork.pixels == canvas.to_uint8()).all()
    assert artwork.provenance.licence == "CC0-1.0"
    assert export(tmp_path, "CC-BY-4.0").provenance.licence == "CC-BY-4.0"


@pytest.mark.parametrize(
    ("start", "said", "licence"),
    [
        ("grey", None, "CC0-1.0"),
        ("abacus", None, "CC0-1.0"),
        ("mine.png", None, None),
        ("mine.png", "CC-BY-4.0", "CC-BY-4.0"),
        ("noise", "MIT", "MIT"),
    ],
)
def test_only_what_began_with_nobodys_picture_has_a_licence_by_itself(start, said, licence):
    preprocessor = SimpleNamespace(constants=dict, processor=SimpleNamespace(chat_template="x"))
    art = ArtConfig(height=256, width=256, image_tokens=64, start=start)
    assert provenance.of_picture(art, preprocessor, said)["licence"] == licence
