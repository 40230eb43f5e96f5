from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pixeltune.artwork.artwork import Artwork
from pixeltune.cli.main import main
from pixeltune.errors import UserError
from pixeltune.evaluation.check import Check, check, differences
from pixeltune.model.loading import load_processor
from pixeltune.model.preprocessing import Preprocessor


@pytest.fixture
def png(painted, tmp_path):
    return painted["calls"].save(tmp_path / "a.png")


def test_a_good_artwork_has_no_differences_and_check_says_so(painted, png, capsys):
    assert differences(painted["calls"], Preprocessor(load_processor("tiny"))) == []
    assert main(["check", str(png), "--model", "tiny"]) == 0
    assert "bit for bit" in capsys.readouterr().out


def test_another_processor_template_or_placement_is_found(painted, png, tmp_path, capsys):
    art = painted["calls"]
    processor = load_processor("tiny")
    processor.image_processor.image_mean = [0.4, 0.5, 0.5]
    processor.chat_template += " "
    other = Artwork(art.pixels, replace(art.provenance, placement="at the end"))
    found = " | ".join(differences(other, Preprocessor(processor)))
    assert "mean" in found
    assert "chat template" in found
    assert "placement 'at the end' is unknown here" in found
    other.save(tmp_path / "other.png")
    assert main(["check", str(tmp_path / "other.png"), "--model", "tiny"]) == 1
    assert "DIFFERS" in capsys.readouterr().out


def test_a_size_that_would_be_resized_is_named(painted):
    art = Artwork(np.zeros((250, 256, 3), np.uint8), painted["calls"].provenance)
    (problem,) = differences(art, Preprocessor(load_processor("tiny")))
    assert "256x256" in problem


@pytest.mark.parametrize("name", ["prompts", "rows"])
def test_numbers_below_one_are_named_as_python_has_them(name, painted):
    with pytest.raises(UserError, match=f"^{name} must be at least 1"):
        check(painted["calls"], model="tiny", **{name: 0})


@pytest.mark.parametrize("verb", [["show"], ["check", "--model", "tiny"]])
@pytest.mark.parametrize("damage", ["missing", "foreign", "truncated", "text"])
def test_bad_files_get_one_line_and_status_1(verb, damage, png, tmp_path, capsys):
    bad = tmp_path / "bad.png"
    if damage == "foreign":
        Image.new("RGB", (256, 256)).save(bad)
    elif damage == "truncated":
        bad.write_bytes(png.read_bytes()[:5000])
    elif damage == "text":
        bad.write_text("hello")
    assert main([verb[0], str(bad), *verb[1:]]) == 1
    output = capsys.readouterr()
    assert output.err.count("\n") == 1
    assert "bad.png" in output.err


def test_show_prints_where_it_comes_from(png, capsys):
    assert main(["show", str(png)]) == 0
    out = capsys.readouterr().out
    for word in ("tiny", "calls", "sft", "CC0-1.0", "64"):
        assert word in out


def test_show_imports_neither_torch_nor_transformers(png):
    code = "import sys; from pixeltune.cli.main import main; main(['show', sys.argv[1]]); "
    code += "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code, str(png)], capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("argv", "status"),
    [([], 2), (["--help"], 0), (["--version"], 0), (["paint"], 2), (["eval", "--task", "chess"], 1)],
)
def test_verbs_and_exit_statuses(argv, status, capsys):
    assert main(argv) == status


def test_an_unreachable_engine_is_one_line(png, capsys):
    flags = ["--engine", "http://127.0.0.1:9/v1"]
    assert main(["check", str(png), "--model", "tiny", *flags]) == 1
    assert main(["eval", "--task", "calls", *flags]) == 1
    assert capsys.readouterr().err.count("\n") == 2


def test_a_notebook_shows_a_check_in_a_line():
    found = Check(("pixels      8 x 8", "DIFFERS     image_tokens: 1"), passed=False)
    assert repr(found) == "Check(passed=False: pixels 8 x 8; DIFFERS image_tokens: 1)"
    assert str(found) == "pixels      8 x 8\nDIFFERS     image_tokens: 1"
