"""``--output`` writes over nothing but artworks, and over none that the verb reads."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pixeltune.artwork.artwork import Artwork
from pixeltune.artwork.provenance import Provenance
from pixeltune.cli.main import main
from pixeltune.cli.output import check_output
from pixeltune.errors import UserError


def artwork(path) -> None:
    given = {"base_model": "tiny", "image_tokens": 64, "placement": "p", "processor": {}, "objective": "sft"}
    Artwork(np.full((8, 6, 3), 100, np.uint8), Provenance(**given, start="grey", seed=0)).save(path)


def test_what_is_no_artwork_stays(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "jpeg.png", format="JPEG")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    for name, message in (
        ("notes.txt", "must end in .png"),
        ("new", "must end in .png"),
        ("photo.png", "no artwork of pixeltune: give another name"),
        ("jpeg.png", "no artwork of pixeltune"),
        ("empty.png", "no artwork of pixeltune"),
        ("folder.png", "is a folder"),
    ):
        with pytest.raises(UserError, match=message):
            check_output(tmp_path / name)
    artwork(tmp_path / "a.PNG")
    check_output(tmp_path / "a.PNG")
    check_output(tmp_path / "new" / "b.png")


def test_where_nothing_can_be_written_is_said_before_the_work(tmp_path):
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    outputs = [tmp_path / "file" / "a.png"]
    if os.path.isdir("/proc"):  # where even root cannot
        outputs += ["/proc/a.png", "/proc/new/a.png"]
    for output in outputs:
        with pytest.raises(UserError, match=r"a\.png cannot be written, .*Give another name"):
            check_output(output)
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_read_is_not_written(tmp_path):
    (tmp_path / "run").mkdir()
    artwork(tmp_path / "run" / "artwork.png")
    (tmp_path / "soft.png").symlink_to(tmp_path / "run" / "artwork.png")
    os.link(tmp_path / "run" / "artwork.png", tmp_path / "hard.png")
    artwork(tmp_path / "other.png")
    for read in ("run", "run/artwork.png", "soft.png", "hard.png"):
        for output in ("run/artwork.png", "soft.png", "hard.png", "run/../soft.png"):
            with pytest.raises(UserError, match="which is read"):
                check_output(tmp_path / output, [tmp_path / "missing.png", tmp_path / read])
    check_output(tmp_path / "other.png", [tmp_path / "run"])


def test_by_command(tmp_path, capsys):
    artwork(tmp_path / "a.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    a, photo = str(tmp_path / "a.png"), str(tmp_path / "photo.png")
    for words, message in (
        (["mix", a, "--strength", "0.5", "--output", a], "which is read"),
        (["mix", a, "--strength", "0.5", "--output", photo], "no artwork"),
        (["export", str(tmp_path), "--output", photo], "no artwork"),
    ):
        assert main(words) == 1
        assert message in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_without_an_adapter_is_refused_before_torch_is_imported(tmp_path):
    words = ["export", str(tmp_path), "--output", str(tmp_path / "a.png")]
    code = f"import sys; from pixeltune.cli.main import main; print(main({words}), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "1 False\n"
    assert "has no adapter_config.json: give the folder of a checkpoint" in done.stderr
