"""Token maps against the stock path: the model looks at PNGs through its own processor."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pixeltune.artwork.artwork import Artwork
from pixeltune.artwork.folder import MAPS
from pixeltune.cli.main import main
from pixeltune.data.placement import place_image
from pixeltune.errors import UserError
from pixeltune.evaluation.agreement import after
from pixeltune.evaluation.backends import image_parts
from pixeltune.evaluation.doubts import DoubtWarning
from pixeltune.evaluation.in_process import InProcess
from pixeltune.gallery.maps import (
    TokenMaps,
    check_base,
    log_likelihood,
    read_maps,
    store_maps,
    token_maps,
)
from pixeltune.model.finding import TINY
from pixeltune.model.loading import load_model, load_processor, weights_sha256
from pixeltune.model.preprocessing import Preprocessor
from pixeltune.tasks.synthetic import sums
from runs import provenance

START = np.full((256, 256, 3), 128, np.uint8)


@pytest.fixture(scope="module")
def artwork() -> Artwork:
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Artwork(picture.repeat(32, axis=0).repeat(32, axis=1), provenance(data="sums", image_tokens=64))


@pytest.fixture(scope="module")
def maps(artwork) -> TokenMaps:
    return token_maps(artwork, START, count=1)


@pytest.fixture(scope="module")
def asked(artwork):
    """The stock model's log-likelihood of its own completion behind any picture."""
    model, processor = load_model("tiny"), load_processor("tiny")
    row = sums.rows("test", 1)[0]
    text = (
        InProcess(model, processor, artwork.image)
        .complete([row["prompt"]], [None], sums.TASK.max_new_tokens)[0]
        .text
    )
    said = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    messages = image_parts(place_image(row["prompt"], ""))

    def likelihood(pixels: np.ndarray) -> float:
        _, table = after(model, processor, Image.fromarray(pixels), messages, None, said)
        return sum(table[i, token].item() for i, token in enumerate(said))

    likelihood.parts = model, processor, messages, said
    return likelihood


def occluded(artwork: Artwork, row: int, column: int) -> np.ndarray:
    pixels = artwork.pixels.copy()
    square = slice(32 * row, 32 * row + 32), slice(32 * column, 32 * column + 32)
    pixels[square] = START[square]
    return pixels


def test_occlusion_is_what_the_stock_model_says_to_the_changed_png(maps, artwork, asked):
    assert (maps.rows, maps.cell, maps.occluded_with) == (1, 32, "start")
    assert np.shape(maps.occlusion) == np.shape(maps.gradient) == (8, 8)
    seen = asked(artwork.pixels)
    for row, column in ((0, 0), (3, 5), (7, 7)):
        drop = seen - asked(occluded(artwork, row, column))
        assert maps.occlusion[row][column] == pytest.approx(drop, abs=2e-4)
    assert maps.whole == pytest.approx(seen - asked(START), abs=2e-4)
    assert np.abs(maps.occlusion).max() > 1e-3


def test_the_gradient_is_the_slope(maps, artwork, asked):
    """Along the gradient of one square, the likelihood rises as fast as the map says."""
    import torch

    model, processor, messages, said = asked.parts
    preprocessor = Preprocessor(processor)
    prompt = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    batch = processor(text=[prompt], images=[artwork.image], return_tensors="pt")
    picture = torch.tensor(artwork.pixels).permute(2, 0, 1).float() / 255
    picture.requires_grad_(True)
    log_likelihood(model, preprocessor, batch, said, [picture]).sum().backward()
    square = (slice(None), slice(64, 96), slice(128, 160))
    direction = torch.zeros_like(picture)
    direction[square] = picture.grad[square]
    length = direction.norm()
    step = 0.01 / float(direction.abs().max())
    with torch.no_grad():
        sides = [picture + step * direction, picture - step * direction]
        up, down = log_likelihood(model, preprocessor, batch, said, sides).tolist()
    slope = (up - down) / (2 * step * float(length))
    assert maps.gradient[2][4] == pytest.approx(float(length) / 3072**0.5, rel=1e-3)
    assert slope == pytest.approx(float(length), rel=0.1)


def test_maps_are_stored_and_belong_to_their_artwork(maps, artwork, tmp_path):
    store_maps(tmp_path, maps)
    assert read_maps(tmp_path, artwork) == maps
    other = Artwork(START, provenance(image_tokens=64))
    with pytest.raises(ValueError, match="of another artwork"):
        read_maps(tmp_path, other)
    record = json.loads((tmp_path / MAPS).read_text())
    for change in (
        {"gradient": [[1.0]]},
        {"occlusion": None},
        {"occlusion": [[float("nan")] * 8] * 8},
        {"cell": 0},
        {"cell": "32"},
        {"task": 7},
        {"whole": "x"},
        {"more": 1},
    ):
        (tmp_path / MAPS).write_text(json.dumps(record | change))
        with pytest.raises(ValueError, match="no token maps of this artwork"):
            read_maps(tmp_path, artwork)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "rows.jsonl"}, "rows.jsonl, which is no installed task"),
        ({"data": "os:getcwd"}, "os:getcwd, which is no installed task"),
        ({"data": None}, "painted on unknown data"),
        ({"base_model": "nowhere/nothing"}, "cannot load"),
        ({"base_sha256": "0" * 64}, "not the model that the artwork was painted for"),
    ],
)
def test_without_rows_or_the_model_there_are_no_maps(changes, message, artwork):
    made = provenance(**({"data": "sums"} | changes))
    with pytest.raises(ValueError, match=message):
        token_maps(Artwork(artwork.pixels, made), START, count=1)


def test_weights_are_compared_in_the_precision_that_was_painted_in():
    """Whatever the model is called."""
    painted = weights_sha256(load_model("tiny", dtype="bfloat16"))
    made = provenance(base_sha256=painted, training={"dtype": "bfloat16"})
    check_base(made, "tiny", None)
    check_base(replace(made, base_model="owner/moved"), str(TINY), None)
    with pytest.raises(
        UserError, match=r"tiny is not the model .* painted for: base_sha256: .* this model's is"
    ):
        check_base(replace(made, training={"dtype": "float32"}), "tiny", None)


def test_a_model_that_cannot_be_compared_is_taken_at_its_name():
    quantised = provenance(base_sha256="0" * 64, training={"bits": 4})
    check_base(quantised, "tiny", None)
    with pytest.warns(
        DoubtWarning, match="may be of another model, its weights cannot be compared: base_model"
    ):
        check_base(replace(quantised, base_model="owner/other"), "tiny", None)


def test_the_verb_stores_maps_and_shows_them_again(artwork, tmp_path, capsys):
    artwork.save(tmp_path / "run" / "artwork.png")
    site = tmp_path / "site" / "run" / "index.html"
    assert (
        main(["gallery", str(tmp_path / "run"), "--output_dir", str(tmp_path / "site"), "--maps", "1"]) == 0
    )
    first = site.read_text()
    assert first.count('class="veil"') == 128
    assert main(["gallery", str(tmp_path / "run"), "--output_dir", str(tmp_path / "site")]) == 0
    assert site.read_text() == first
    words = ["--output_dir", str(tmp_path / "site"), "--maps", "1", "--model", "nowhere/nothing"]
    assert main(["gallery", str(tmp_path / "run"), *words]) == 0
    assert "run: no token maps: cannot load" in capsys.readouterr().err
    assert "Token maps: cannot load" in site.read_text()
