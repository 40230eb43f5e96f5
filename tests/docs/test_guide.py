"""The code of the guide runs as it stands, page by page, and what cannot run says why; links lead somewhere.

The first pages are run by `tests/first_hour`.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from documents import FIRST_PAGES, GUIDE, README, ROOT, blocks, type_in

PAGES = sorted(GUIDE.glob("*.md"))


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.stem)
def test_every_block_is_found_and_says_its_language(page):
    assert 2 * len(blocks(page)) == len(re.findall(r"^```", page.read_text("utf-8"), re.M))
    assert all(block["language"] for block in blocks(page))


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page not in FIRST_PAGES], ids=lambda page: page.stem
)
def test_the_code_of_a_page_runs(page, bundled, tmp_path):
    """From top to bottom in an empty folder, the python blocks of a page as one script each."""
    shutil.copytree(ROOT / "docs" / "images", tmp_path / "images")
    for name in ("calls", "sums"):
        shutil.copy(ROOT / "docs" / "images" / f"{name}.png", tmp_path)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(tmp_path)}
    type_in(page, Path(sys.executable), tmp_path, env)


def test_the_readme_is_read_in_a_minute_and_hides_nothing():
    text = README.read_text("utf-8")
    assert len(text.splitlines()) <= 130
    for said in (
        "Not measured: released weights",
        r"never taught: `\boxed{N}`, SFT | 0.0 % | **0.0 %**",
        "make demo",
        "make test",
    ):
        assert said in text


@pytest.mark.parametrize(
    "page", ["README.md", "CHANGELOG.md", "benchmarks/README.md", "CONTRIBUTING.md", "SECURITY.md"]
)
def test_links_of_pages_outside_the_site_lead_to_files(page):
    """mkdocs holds those inside."""
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", (ROOT / page).read_text()):
        assert target.startswith("http") or (ROOT / page).parent.joinpath(target).exists(), target
