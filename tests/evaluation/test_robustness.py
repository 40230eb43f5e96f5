"""An artwork after JPEG, resizing, noise, ...: the distortions, and `pixeltune check --robust`."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pixeltune.artwork.artwork import Artwork
from pixeltune.cli.main import main
from pixeltune.evaluation.robustness import DISTORTIONS, psnr


@pytest.fixture
def picture() -> Image.Image:
    y, x = np.mgrid[:96, :128]
    channels = [128 + 70 * np.sin(x / 5) * np.cos(y / 4), x * 1.5 + 20, 220 - y * 2]
    return Image.fromarray(np.stack(channels, -1).round().astype(np.uint8))


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("name", DISTORTIONS)
def test_distortions_give_rgb_of_the_same_size_and_are_reproducible(name, picture):
    out = DISTORTIONS[name](picture)
    assert (out.mode, out.size) == ("RGB", picture.size)
    assert np.array_equal(pixels(out), pixels(DISTORTIONS[name](picture)))
    assert np.array_equal(pixels(out), pixels(picture)) == (name == "none")
    assert np.abs(pixels(out) - pixels(picture)).mean() < 25


def test_the_issue_s_list_is_complete():
    kinds = [name.split()[0].rstrip(",") for name in DISTORTIONS]
    counts = {kind: kinds.count(kind) for kind in kinds}
    assert counts == {"none": 1, "JPEG": 10, "WebP": 2, "resized": 4, "noise": 3, "shifted": 1, "16": 1}


def test_psnr_falls_with_the_strength(picture):
    ratio = {name: psnr(picture, distort(picture)) for name, distort in DISTORTIONS.items()}
    assert ratio["none"] is None
    for subsampling in ("4:4:4", "4:2:0"):
        jpegs = [ratio[f"JPEG {quality}, {subsampling}"] for quality in (95, 85, 75, 50, 30)]
        assert jpegs == sorted(jpegs, reverse=True)
    noises = [ratio[f"noise, sigma {sigma}"] for sigma in (2, 4, 8)]
    # Of Gaussian noise without clipping it is 20 log10(255 / sigma).
    assert np.allclose(noises, 20 * np.log10(255 / np.array([2, 4, 8])), atol=0.2)
    sizes = [ratio[f"resized to {factor} and back"] for factor in (0.9, 0.75, 0.5)]
    assert sizes == sorted(sizes, reverse=True)


def test_what_the_distortions_do(picture):
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=75)  # Pillow's default subsampling is 4:2:0
    assert np.array_equal(pixels(DISTORTIONS["JPEG 75, 4:2:0"](picture)), pixels(Image.open(jpeg)))
    moved = pixels(DISTORTIONS["shifted by one pixel"](picture))
    assert np.array_equal(moved[1:, 1:], pixels(picture)[:-1, :-1])
    assert np.array_equal(moved[0, 1:], pixels(picture)[0, :-1])
    assert len(np.unique(pixels(DISTORTIONS["16 colours"](picture)).reshape(-1, 3), axis=0)) == 16


def test_check_robust_scores_every_distortion(painted, tmp_path, capsys, monkeypatch):
    kept = ("none", "JPEG 85, 4:2:0", "noise, sigma 8")
    monkeypatch.setattr(
        "pixeltune.evaluation.robustness.DISTORTIONS", {name: DISTORTIONS[name] for name in kept}
    )  # as each costs an evaluation
    png, out = painted["calls"].save(tmp_path / "a.png"), tmp_path / "robust.json"
    assert main(["check", str(png), "--model", "tiny", "--robust", "--rows", "20", "--output", str(out)]) == 0
    report = json.loads(out.read_text())
    assert (report["task"], report["rows"]) == ("calls", 20)
    assert report["artwork_sha256"] == painted["calls"].sha256
    assert tuple(report["distortions"]) == kept
    clean = report["distortions"]["none"]
    assert clean["psnr_db"] is None
    assert clean["score"] > 0.7
    assert clean["n"] == 20
    assert clean["ci95"][0] < clean["score"] <= clean["ci95"][1]
    assert 25 < report["distortions"]["noise, sigma 8"]["psnr_db"] < 35
    printed = capsys.readouterr().out
    assert " rows" in printed
    assert all(name in printed for name in kept)


def test_the_task_is_named_or_known(painted, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "pixeltune.evaluation.check.load_model", lambda *_: pytest.fail("the model was loaded")
    )
    made = replace(painted["calls"].provenance, data="rows.jsonl")
    png = str(Artwork(painted["calls"].pixels, made).save(tmp_path / "a.png"))
    for flags, message in (
        (["--robust"], "--data rows.jsonl"),
        (["--robust", "--task", "chess"], "no task 'chess'"),
        (["--robust", "--task", "calls", "--rows", "0"], "rows must be at least 1"),
        (["--task", "calls"], "go with --robust"),
    ):
        assert main(["check", png, "--model", "tiny", *flags]) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert message in error
