"""What is saved comes back: under any name, in either format, never as the start picture without a word."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel, get_peft_model
from PIL import Image
from safetensors.torch import load_file, save_file

import families
from pixeltune.adapter import ArtConfig
from pixeltune.adapter.guard import art_layer

NAMES = ("default", "poem", "my_default", "default2", "visual", "model", "paint", "start", "art_canvas", "1")
SPECS = ("pixels", "fourier", "low-rank:4", "grid:16", "subspace:500")


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    return families.save("qwen3_vl", tmp_path_factory.mktemp("base"))


def painted(base: str, name: str = "default", seed: int = 0, **settings) -> PeftModel:
    model = get_peft_model(families.load(base)[0], ArtConfig(start="noise", **settings), adapter_name=name)
    repaint(model, seed)
    return model


def repaint(model: PeftModel, seed: int) -> np.ndarray:
    generator = torch.Generator().manual_seed(seed)
    for parameter in art_layer(model).canvas().parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model.get_artwork_image()


def changed(folder: Path, change) -> None:
    file = folder / "adapter_model.safetensors"
    state = load_file(file)
    save_file(change(state), file)


@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "torch"])
@pytest.mark.parametrize("name", NAMES)
def test_an_artwork_comes_back_under_every_name(name, safe, base, tmp_path):
    model = painted(base)
    expected = model.get_artwork_image()
    model.save_pretrained(tmp_path, safe_serialization=safe)
    again = PeftModel.from_pretrained(families.load(base)[0], tmp_path, adapter_name=name)
    assert np.array_equal(again.get_artwork_image(), expected)
    assert not np.array_equal(art_layer(again).canvas().start.numpy(), expected.transpose(2, 0, 1))


@pytest.mark.parametrize("name", NAMES)
def test_an_artwork_is_saved_from_under_every_name(name, base, tmp_path):
    """Also beside another adapter, whose entries PEFT takes out by their name."""
    model = painted(base, name)
    first, other = model.get_artwork_image(), "poem" if name != "poem" else "default"
    model.add_adapter(other, ArtConfig(start="grey", image_tokens=70))
    model.set_adapter(other)
    second = repaint(model, 1)
    model.save_pretrained(tmp_path)
    for saved, expected in ((name, first), (other, second)):
        folder = tmp_path if saved == "default" else tmp_path / saved
        assert {
            key.rpartition("art_canvas.")[2] for key in load_file(folder / "adapter_model.safetensors")
        } == {
            "paint.pixels",
            "start",
        }
        again = PeftModel.from_pretrained(families.load(base)[0], folder, adapter_name="third")
        assert np.array_equal(again.get_artwork_image(), expected)


def test_a_second_artwork_is_loaded_beside_the_first(base, tmp_path):
    one, two = painted(base, seed=1), painted(base, seed=2, bound=60)
    one.save_pretrained(tmp_path / "one")
    two.save_pretrained(tmp_path / "two")
    model = PeftModel.from_pretrained(families.load(base)[0], tmp_path / "one", adapter_name="first")
    model.load_adapter(tmp_path / "two", adapter_name="second")
    assert np.array_equal(model.get_artwork_image(), one.get_artwork_image())
    model.set_adapter("second")
    assert np.array_equal(model.get_artwork_image(), two.get_artwork_image())
    model.load_adapter(tmp_path / "one", adapter_name="second")  # onto what is there, as a trainer resumes
    expected = np.clip(
        one.get_artwork_image().astype(int),
        art_layer(model).canvas().start.permute(1, 2, 0).numpy().astype(int) - 60,
        art_layer(model).canvas().start.permute(1, 2, 0).numpy().astype(int) + 60,
    )
    assert np.array_equal(model.get_artwork_image(), expected)


@pytest.mark.parametrize("lean", [False, True], ids=["plain", "low_cpu_mem_usage"])
@pytest.mark.parametrize("spec", SPECS)
def test_every_parametrisation_comes_back_with_its_bound_and_mask(spec, lean, base, tmp_path):
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 64, 32))
    mask.save(tmp_path / "mask.png")
    settings = {"parametrisation": spec, "bound": 20, "mask": str(tmp_path / "mask.png"), "seed": 3}
    model = painted(base, "poem", **settings)
    model.save_pretrained(tmp_path)
    (tmp_path / "mask.png").unlink()
    again = PeftModel.from_pretrained(
        families.load(base)[0], tmp_path / "poem", adapter_name="ode", low_cpu_mem_usage=lean
    )
    assert np.array_equal(again.get_artwork_image(), model.get_artwork_image())
    ours, theirs = art_layer(model).canvas(), art_layer(again).canvas()
    assert theirs.bound_levels == ours.bound_levels == 20
    assert torch.equal(theirs.mask, ours.mask)
    assert (ours.to_uint8() != ours.start.permute(1, 2, 0).numpy()).any()


BROKEN = {
    "nothing": (lambda state: {"base_model.model.other": torch.zeros(1)}, "no paint.pixels, start of an"),
    "no pixels": (
        lambda state: {key: state[key] for key in state if not key.endswith("pixels")},
        "no paint.pixels of an artwork, it holds start",
    ),
    "another size": (
        lambda state: {key: state[key][:, ::2].contiguous() for key in state},
        r"is of shape \(3, 128, 256\), its settings .* say \(3, 256, 256\)",
    ),
    "another parametrisation": (
        lambda state: {key.replace("pixels", "values"): state[key] for key in state},
        "no paint.pixels of an artwork, it holds paint.values",
    ),
    "a mask too many": (
        lambda state: {**state, "x.art_canvas.mask": torch.ones(256, 256, dtype=torch.bool)},
        "holds mask, for which the settings .* have no place",
    ),
}


@pytest.mark.filterwarnings("error:.*missing adapter keys")
@pytest.mark.parametrize("options", [{}, {"ignore_mismatched_sizes": True}], ids=["plain", "ignoring"])
@pytest.mark.parametrize("kind", BROKEN)
def test_a_checkpoint_without_its_canvas_is_an_error(kind, options, base, tmp_path):
    change, message = BROKEN[kind]
    model = painted(base)
    model.save_pretrained(tmp_path)
    changed(tmp_path, change)
    with pytest.raises(ValueError, match=message):
        PeftModel.from_pretrained(families.load(base)[0], tmp_path, adapter_name="poem", **options)
    with pytest.raises(ValueError, match=message):
        model.load_adapter(tmp_path, adapter_name="default", **options)


def test_settings_that_do_not_fit_the_canvas_are_an_error(base, tmp_path):
    painted(base).save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "adapter_config.json").read_text())
    for change in ({"parametrisation": "fourier"}, {"height": 128, "image_tokens": None, "width": 512}):
        (tmp_path / "adapter_config.json").write_text(json.dumps(settings | change))
        with pytest.raises(ValueError, match="the checkpoint"):
            PeftModel.from_pretrained(families.load(base)[0], tmp_path)


@pytest.mark.parametrize("name", ["", "a.b", "default.v2", "train", "keys"])
def test_names_that_peft_cannot_hold_are_refused_and_leave_the_model_alone(name, base):
    model = families.load(base)[0]
    with pytest.raises(ValueError, match="an adapter cannot be called"):
        get_peft_model(model, ArtConfig(), adapter_name=name)
    assert not any("art_canvas" in key for key in model.state_dict())
    assert "generate" not in vars(model)
    art = get_peft_model(model, ArtConfig())
    with pytest.raises(ValueError, match="an adapter cannot be called"):
        art.add_adapter(name, ArtConfig())
    assert list(art.peft_config) == ["default"]
