"""Files that documents name are there, and every file of the package is named in the architecture."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from documents import ROOT

PACKAGE = ROOT / "src" / "pixeltune"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "benchmarks" / "README.md"])
ARCHITECTURE = (ROOT / "docs" / "design" / "architecture.md").read_text("utf-8")
QUOTED = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"(?<![\w./-])(?:src|tests|benchmarks|docs|recipes)/[\w./-]+")
SOURCE = re.compile(r"(?<![\w./-])[\w./-]+\.py$")
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.stem != "__init__")


def test_every_path_that_a_document_names_is_there():
    """A history that names a file that is gone says in the same line that it was removed."""
    gone = [
        f"{page.relative_to(ROOT)}: {path}"
        for page in PAGES
        for line in page.read_text("utf-8").splitlines()
        for quoted in QUOTED.findall(line)
        for path in PATH.findall(quoted)
        if not (ROOT / path.rstrip(".")).exists() and "NAME" not in path and "removed" not in line
    ]
    assert gone == []


def test_every_source_file_that_a_document_names_is_there():
    """Named by the end of its path, as `tiny/recipe.py`; `vowels.py` of the guide is the reader's own."""
    files = [f"/{path.relative_to(ROOT)}" for path in ROOT.rglob("*.py") if ".venv" not in str(path)]
    gone = [
        f"{page.relative_to(ROOT)}: {name}"
        for page in PAGES
        for line in page.read_text("utf-8").splitlines()
        for quoted in QUOTED.findall(line)
        for name in SOURCE.findall(quoted)
        if not name.startswith("trl/")  # TRL's own
        if not any(file.endswith(f"/{name}") for file in files)
        and "NAME" not in name
        and "removed" not in line
    ]
    assert gone == []


def row_of(room: str) -> str:
    """The row of a room in the table of rooms; that of the single files is the package's own."""
    (row,) = (line for line in ARCHITECTURE.splitlines() if re.match(rf"\| \*?`{room}/`", line))
    return row


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_architecture_names_every_file_in_the_row_of_its_room(module: Path):
    parts = module.relative_to(PACKAGE).parts
    room = parts[0] if len(parts) > 1 else PACKAGE.name
    assert f"`{module.stem}`" in row_of(room)


@pytest.mark.parametrize(
    "room", sorted({path.relative_to(PACKAGE).parts[0] for path in MODULES if path.parent != PACKAGE})
)
def test_the_architecture_names_no_file_that_is_not_in_the_room(room: str):
    files = row_of(room).split("|")[3]
    inside = {path.stem for path in (PACKAGE / room).rglob("*.py")}
    inside |= {f"{path.name}/" for path in (PACKAGE / room).iterdir() if path.is_dir()}
    assert set(QUOTED.findall(files)) <= inside
