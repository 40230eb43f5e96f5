"""Documents as their readers use them: blocks of code are found, and typed in one after the other."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
GUIDE = ROOT / "docs" / "guide"
FIRST_PAGES = (README, GUIDE / "quickstart.md", GUIDE / "own-rows.md")
"""What a newcomer reads first: `tests/first_hour` runs their code from the wheel, so nothing else need."""

BLOCK = re.compile(
    r"(?:<!-- not run: (?P<why>[^>]+?) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S
)


def blocks(page: Path) -> list[re.Match]:
    """The blocks of a page, with `why` (a block is not run, or None), `language` and `code`."""
    return list(BLOCK.finditer(page.read_text("utf-8")))


def runs(block: re.Match) -> bool:
    """Whether a block is something to run that no comment exempts."""
    return block["language"] in ("bash", "python") and block["why"] is None


def type_in(
    page: Path, python: Path, folder: Path, env: Mapping[str, str]
) -> list[subprocess.CompletedProcess]:
    """Run the blocks of a page from top to bottom, its python blocks as one growing script.

    Those of the README stand alone, and each is a script of its own.

    Args:
        page: the document.
        python: the interpreter of its python blocks.
        folder: where to run them.
        env: the whole environment.

    Returns:
        What each block that runs said. All ended well.
    """
    before, out = "", []
    for block in filter(runs, blocks(page)):
        if block["language"] == "python":  # what earlier blocks of the page imported and named is known
            script = block["code"] if page == README else before + block["code"]
            before = script + "\n"
            command = [str(python), "-c", script]
        else:
            command = ["bash", "-euo", "pipefail", "-c", block["code"]]
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{block['code']}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        out.append(done)
    return out
