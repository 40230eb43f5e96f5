"""Names of what is compared, and where a run's folder stands for its artwork."""

from __future__ import annotations

from pathlib import Path

import pytest

from pixeltune.artwork.artwork import Artwork
from pixeltune.errors import UserError
from pixeltune.evaluation.candidates import candidates, reference

ARTWORK = Artwork.load(Path(__file__).parents[2] / "docs/images/calls.png")


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ("runs/a", "runs/b", "other/a"):
        (tmp_path / name).mkdir(parents=True)
        ARTWORK.save(tmp_path / name / "artwork.png")
        (tmp_path / name / "p.txt").write_text(f"Be good in {name}.")
    return tmp_path


def names(folder: Path, *specs: str) -> list[str]:
    return [one.name for one in candidates([spec.format(folder) for spec in specs], False)]


def test_a_run_s_folder_is_its_artwork(folder):
    assert names(folder, "{}/runs/a", "{}/runs/b/") == ["a", "b"]
    assert names(folder, "{}/runs/a", "{}/other/a/artwork.png") == ["a", "artwork.png"]
    assert Artwork.load(folder / "runs/a") == ARTWORK


def test_files_of_one_name_are_told_apart_by_as_much_of_their_path_as_it_takes(folder):
    assert names(folder, "{}/runs/a/artwork.png", "off") == ["artwork.png", "off"]
    assert names(folder, "{}/runs/a/artwork.png", "{}/runs/b/artwork.png") == [
        "a/artwork.png",
        "b/artwork.png",
    ]
    assert names(folder, "{}/runs/a", "{}/other/a") == ["runs/a", "other/a"]
    assert names(folder, "prompt:{}/runs/a/p.txt", "prompt:{}/runs/b/p.txt") == [
        "prompt:a/p.txt",
        "prompt:b/p.txt",
    ]


def test_the_first_artwork_is_what_others_are_compared_with(folder):
    field = candidates(["off", "start", f"{folder}/runs/a", f"{folder}/runs/b/artwork.png"], False)
    assert reference(field) == "a"
    assert reference(field[:2][::-1]) == "start"


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "a.webp", "a.gif"])
def test_another_picture_is_told_why_it_is_no_artwork(name, folder):
    kind = "JPEG" if name.lower().endswith("g") else name.rpartition(".")[2].upper()
    ARTWORK.image.save(folder / name, kind)
    with pytest.raises(UserError, match=rf"{name}: a (JPEG|WebP|GIF), not a PNG file.*pixeltune export"):
        names(folder, "off", f"{{}}/{name}")
    with pytest.raises(UserError, match=rf"none-{name}: cannot read it"):
        names(folder, "off", f"{{}}/none-{name}")


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        (["off", "off"], "off is there twice"),
        (["{}/runs/a", "{}/runs/a/artwork.png"], "artwork.png is there twice"),
        (["{}/runs"], "holds no artwork.png"),
    ],
)
def test_what_is_there_twice_or_holds_no_artwork_is_refused(specs, message, folder):
    with pytest.raises(UserError, match=message):
        names(folder, *specs)
