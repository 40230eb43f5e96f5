"""Whether a model is the one that an artwork says it was painted for."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pixeltune.artwork.artwork import Artwork
from pixeltune.cli.main import main
from pixeltune.evaluation import bases
from pixeltune.evaluation.bases import is_as_painted, other_base, weights_as_painted
from pixeltune.evaluation.candidates import candidates
from pixeltune.evaluation.doubts import DoubtWarning
from pixeltune.evaluation.providers import ModelProvider
from pixeltune.model.loading import load_model, load_processor

ART = Artwork.load(Path(__file__).parents[2] / "docs/images/sums.png")
MADE = ART.provenance
EDITS = {"base_model": "other/tiny", "base_sha256": "0" * 64, "image_tokens": 65}


@pytest.mark.parametrize("field", EDITS)
def test_check_finds_each_edit(field, tmp_path, capsys):
    edited = replace(MADE, **{field: EDITS[field]})
    path = Artwork(ART.pixels, edited).save(tmp_path / "edited.png")
    assert main(["check", str(path), "--model", "tiny"]) == 1
    differs = [line for line in capsys.readouterr().out.splitlines() if line.startswith("DIFFERS")]
    assert len(differs) == 1
    assert f"DIFFERS     {field}: the artwork" in differs[0]
    assert ("weights are the same" in differs[0]) == (field == "base_model")


def test_check_says_that_the_weights_are_those(tmp_path, capsys):
    path = ART.save(tmp_path / "a.png")
    assert main(["check", str(path), "--model", "tiny"]) == 0
    assert f"tiny, weights SHA-256 {MADE.base_sha256[:16]}..., as recorded" in capsys.readouterr().out
    unknown = Artwork(ART.pixels, replace(MADE, base_sha256=None)).save(tmp_path / "unknown.png")
    assert main(["check", str(unknown), "--model", "tiny"]) == 0
    assert "tiny, whose weights were not compared" in capsys.readouterr().out


def test_an_evaluation_warns_of_all_of_them_in_one_line(tmp_path):
    good, bad = (
        ART.save(tmp_path / "a.png"),
        Artwork(ART.pixels, replace(MADE, **EDITS)).save(tmp_path / "b.png"),
    )
    field = candidates(["start", str(good), str(bad)], False)
    provider = ModelProvider(lambda: load_model("tiny"), "tiny", load_processor("tiny"), 1)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", DoubtWarning)
        for one in field:
            provider.of(one)
    (line,) = [str(one.message) for one in said if one.category is DoubtWarning]
    assert line.startswith("b.png may be for another model: base_model: ")
    assert all(field in line for field in EDITS)
    assert "\n" not in line


@pytest.mark.parametrize(
    ("model", "weights", "found"),
    [
        ("a/one", "1", []),
        ("b/two", "2", []),
        ("b/two", None, []),
        ("a/one", "2", ["base_sha256: the artwork was painted for 1..., this model's is 2..."]),
        ("two", "2", ["base_model: the artwork was painted for a/one and b/two, this is two, whose weights"]),
        ("c/three", "3", ["base_model: the artwork", "base_sha256: the artwork was painted for 1... and 2..."]),
    ],
)  # fmt: skip
def test_each_of_several_models_will_do(model, weights, found):
    made = replace(MADE, base_model="a/one", base_sha256="1", training={"also": {"b/two": "2"}})
    said = other_base(made, model, weights)
    assert len(said) == len(found)
    assert all(line.startswith(begin) for line, begin in zip(said, found, strict=True))


def test_a_folder_may_be_of_the_whole_name_or_its_last_part(tmp_path):
    for base, known in (("owner/model", True), ("model", True), ("owner/other", False)):
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        assert (other_base(replace(MADE, base_model=base), str(folder), None) == []) == known


def test_weights_are_compared_in_the_precision_that_was_painted_in(monkeypatch):
    asked = []
    monkeypatch.setattr(bases, "load_model", lambda *given: asked.append(given))
    monkeypatch.setattr(bases, "weights_sha256", lambda model: "hash")
    for training in ({"dtype": "bfloat16"}, {"dtype": "\x1b"}, {}):
        assert weights_as_painted(replace(MADE, training=training), "m", "r") == "hash"
    assert asked == [("m", "r", "bfloat16"), ("m", "r", "auto"), ("m", "r", "auto")]
    painted = replace(MADE, training={"dtype": "float32"})
    loaded = SimpleNamespace(dtype=torch.float32)
    assert is_as_painted(painted, loaded)
    assert not is_as_painted(painted, SimpleNamespace(dtype=torch.bfloat16))
    assert not is_as_painted(painted, SimpleNamespace(dtype=torch.float32, is_quantized=True))
    for unlike in (replace(MADE, training={"bits": 4}), replace(MADE, base_sha256=None)):
        assert weights_as_painted(unlike, "m", None) is None
        assert not is_as_painted(unlike, loaded)
    assert len(asked) == 3


def test_a_model_that_is_loaded_in_the_right_precision_is_not_loaded_once_more(monkeypatch):
    monkeypatch.setattr(bases, "load_model", lambda *_: pytest.fail("it was loaded again"))
    monkeypatch.setattr(bases, "weights_sha256", lambda model: f"of {model.name}")
    loaded = SimpleNamespace(name="it", dtype=torch.float32)
    assert weights_as_painted(replace(MADE, training={"dtype": "float32"}), "m", "r", loaded) == "of it"
    monkeypatch.setattr(bases, "load_model", lambda *given: SimpleNamespace(name=given[2]))
    assert (
        weights_as_painted(replace(MADE, training={"dtype": "bfloat16"}), "m", "r", loaded) == "of bfloat16"
    )
