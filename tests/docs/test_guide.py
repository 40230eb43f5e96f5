"""The code of the guide runs as it stands, page by page, and what cannot run says why; links lead somewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "guide").glob("*.md"))
BLOCK = re.compile(
    r"(?:<!-- not run: (?P<why>[^>]+?) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S
)
RUN = ("bash", "python")


def blocks(page: Path) -> list[re.Match]:
    return list(BLOCK.finditer(page.read_text()))


def test_every_block_is_found_and_says_its_language():
    for page in PAGES:
        assert 2 * len(blocks(page)) == len(re.findall(r"^```", page.read_text(), re.M)), page.name
        assert all(block["language"] for block in blocks(page)), page.name


def runs(block: re.Match) -> bool:
    return block["language"] in RUN and block["why"] is None


def test_the_tutorials_run():
    """What a newcomer reads first has next to nothing that is not executed."""
    for name in ("quickstart", "own-rows"):
        found = blocks(ROOT / "docs" / "guide" / f"{name}.md")
        assert sum(map(runs, found)) >= len(found) - 1 >= 3, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(page, bundled, tmp_path):
    """From top to bottom in an empty folder, the python blocks of a page as one script each."""
    shutil.copytree(ROOT / "docs" / "images", tmp_path / "images")
    for name in ("calls", "sums"):
        shutil.copy(ROOT / "docs" / "images" / f"{name}.png", tmp_path)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path)}
    before = ""
    for block in filter(runs, blocks(page)):
        if block["language"] == "python":  # what earlier blocks of the page imported and named is known
            before += block["code"] + "\n"
            command = [sys.executable, "-c", before]
        else:
            command = ["bash", "-euo", "pipefail", "-c", block["code"]]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{block['code']}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md", "benchmarks/README.md", "CONTRIBUTING.md"])
def test_links_of_pages_outside_the_site_lead_to_files(page):
    """mkdocs holds those inside."""
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", (ROOT / page).read_text()):
        assert target.startswith("http") or (ROOT / page).parent.joinpath(target).exists(), target
