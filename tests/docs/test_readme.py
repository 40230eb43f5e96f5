"""The README's Python runs when it is pasted, in a fresh process and an empty folder."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
BLOCKS = re.findall(r"<!-- quickstart: .*? -->\n```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)


def test_there_are_two_quickstarts():
    assert len(BLOCKS) == 2


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_quickstart_runs_when_pasted(number, bundled, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", BLOCKS[number]], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    if number == 0:
        assert "Painting(sft, tiny, sums" in done.stdout
        assert re.search(r"significant|could be chance", done.stdout)
        assert (tmp_path / "runs" / "sums" / "artwork.png").is_file()
    else:
        assert (tmp_path / "own.png").is_file()
        assert "0 + 5 = ?" in done.stdout
