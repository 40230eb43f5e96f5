"""What is released: what must and must not be in wheel and sdist, and that two builds are the same bytes."""

from __future__ import annotations

import io
import re
import shutil
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from packaging.metadata import Metadata

from documents import ROOT
from hatch_build import index_page
from scripts.build_release import build_in_two_ways

PACKAGE = "src/pixeltune"
STRAY = (  # what lies about in a checkout that somebody works in
    "build/lib/old.py",
    "dist/pixeltune-0.0.0.tar.gz",
    "runs/one/artwork.png",
    ".venv/bin/python",
    ".venv-vllm/bin/python",
    ".mypy_cache/one.json",
    ".coverage",
    f"{PACKAGE}/__pycache__/old.cpython-311.pyc",
    f"{PACKAGE}/bundled/smol/model/model.safetensors",
    f"{PACKAGE}/bundled/smol/model/config.json",
    f"{PACKAGE}/bundled/smol/tower.safetensors",
)
IN_BOTH = (
    "py.typed",
    "bundled/tiny/weights/model.safetensors",
    "bundled/tiny/weights/config.json",
    "bundled/tiny/weights/tokenizer.json",
    "bundled/tiny/weights/processor_config.json",
    "bundled/tiny/weights/chat_template.jinja",
    "bundled/tiny/chat_template.jinja",
    "bundled/smol/words.txt",
    "gallery/templates/run.html.j2",
    "gallery/templates/style.css",
    "gallery/templates/sort.js",
)
TOP_OF_SDIST = set(
    ".gitignore CHANGELOG.md CITATION.cff CONTRIBUTING.md LICENSE Makefile PKG-INFO README.md SECURITY.md benchmarks "
    "constraints deploy docs hatch_build.py mkdocs.yml notebooks pyproject.toml recipes scripts src tests".split()
)


def checkout(folder: Path) -> Path:
    """A copy of this checkout's sources with what may lie about in one, a link to a folder elsewhere among it."""

    def left_out(inside: str, names: list[str]) -> set[str]:
        unwanted = ["smol"] if Path(inside) == ROOT / PACKAGE / "bundled" else []
        if Path(inside) == ROOT:  # environments, caches, builds
            sources = TOP_OF_SDIST
            unwanted += [name for name in names if name not in sources]
        return {*unwanted, "__pycache__"}

    shutil.copytree(ROOT, folder, ignore=left_out)
    large = shutil.ignore_patterns("model", "tower.safetensors", "__pycache__")
    smol = f"{PACKAGE}/bundled/smol"
    shutil.copytree(ROOT / smol, folder / smol, ignore=large)
    for path in STRAY:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"stray")
    (folder / "shared").symlink_to(folder.parent)
    return folder


@pytest.fixture(scope="module")
def built(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """File name to content, built twice from two folders and once more from the sdist, and found equal."""
    at = tmp_path_factory.mktemp("release")
    first, second = checkout(at / "one"), at / "some" / "where" / "else"
    shutil.copytree(first, second, symlinks=True)
    for path in (second / "src").rglob("*.py"):
        path.chmod(0o600)
    return build_in_two_ways(first, second, at / "built")


@pytest.fixture(scope="module")
def wheel(built) -> zipfile.ZipFile:
    (name,) = (name for name in built if name.endswith(".whl"))
    assert re.fullmatch(r"pixeltune-[\d.]+-py3-none-any\.whl", name)
    assert len(built[name]) < 16e6
    return zipfile.ZipFile(io.BytesIO(built[name]))


@pytest.fixture(scope="module")
def sdist(built) -> list[tarfile.TarInfo]:
    (name,) = (name for name in built if name.endswith(".tar.gz"))
    with tarfile.open(fileobj=io.BytesIO(built[name])) as archive:
        return archive.getmembers()


def test_the_wheel_is_the_package_and_nothing_else(wheel):
    files = {path for path in wheel.namelist() if not path.partition("/")[0].endswith(".dist-info")}
    ours = {
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / PACKAGE).rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".pyo")
    }
    weights = {f for f in ours if f.startswith("pixeltune/bundled/smol/model/")} | {
        "pixeltune/bundled/smol/tower.safetensors"
    }
    assert files == ours - weights
    assert files >= {f"pixeltune/{path}" for path in IN_BOTH}


def test_the_wheel_s_own_pages(wheel):
    inside = {Path(path).name: wheel.read(path) for path in wheel.namelist() if ".dist-info/" in path}
    assert set(inside) == {"METADATA", "WHEEL", "RECORD", "LICENSE", "entry_points.txt"}
    assert inside["LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert b"pixeltune = pixeltune.cli.main:main" in inside["entry_points.txt"]
    Metadata.from_email(inside["METADATA"], validate=True)  # packaging's, as the index checks it
    said = message_from_bytes(inside["METADATA"])
    assert (said["License-Expression"], said["License-File"]) == ("Apache-2.0", "LICENSE")
    assert said["Requires-Python"] == ">=3.11"
    assert said["Description-Content-Type"] == "text/markdown"
    assert [line for line in said.get_all("Requires-Dist") if "extra ==" not in line] == [
        "numpy>=1.26",
        "pillow>=11",
        "rich>=13",
    ]


def test_the_page_on_the_index_has_no_link_that_leads_nowhere(wheel):
    (path,) = (path for path in wheel.namelist() if path.endswith("/METADATA"))
    page = message_from_bytes(wheel.read(path)).get_payload()
    assert re.findall(r"\]\((?!https://)[\w./#-]+\)", page) == []
    assert "## Results" in page
    assert page.count("```") == (ROOT / "README.md").read_text("utf-8").count("```")


def test_links_to_files_become_words_and_pictures_go():
    readme = "# a\n\n| p |\n|---|\n| ![x](docs/x.png) |\n\nsee [b](c.md#d), [e](https://f.org)\n\n```\n[g](h)\n```\n"
    assert index_page(readme) == "# a\n\nsee b, [e](https://f.org)\n\n```\n[g](h)\n```\n"


def test_the_list_of_what_is_in_the_sdist_is_that_of_the_project():
    """Which also copies what is built here."""
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"][
        "sdist"
    ]
    by_itself = {".gitignore", "LICENSE", "PKG-INFO", "pyproject.toml"}
    assert {f"/{name}" for name in TOP_OF_SDIST - by_itself} == set(asked["include"])


def test_the_sdist_is_the_sources_and_nothing_else(sdist):
    assert all(member.isfile() for member in sdist)  # no links
    paths = {member.name.partition("/")[2] for member in sdist}
    assert {path.partition("/")[0] for path in paths} == TOP_OF_SDIST
    assert paths & set(STRAY) == {
        f"{PACKAGE}/bundled/smol/tower.safetensors"
    }  # for `make smol`, as in a checkout
    assert paths >= {f"{PACKAGE}/{path}" for path in IN_BOTH}
    tests = {str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("*.py")}
    assert paths >= tests
