"""A new user's machine: pixeltune installed from its wheel, and nothing of the checkout in sight.

A fresh environment with torch takes minutes and gigabytes. So the wheel gets a virtual environment of its own
that sees the packages of the interpreter that runs the tests, by a `.pth` file. Files of that kind in there are
not read, so an editable install of pixeltune stays out of sight; the wheel stands first anyway.
`test_walk.py` begins by proving that it is the wheel that is imported.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from documents import ROOT, type_in

BAR = re.compile(r"\d+%\|.*\|")
"""A progress bar: nothing else may stand on stderr when all is well."""


class User:
    """Somebody who has just installed the wheel."""

    def __init__(self, home: Path):
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet"]
        run(*pip, "wheel", ROOT, "--no-deps", "--no-build-isolation", "--wheel-dir", home / "dist")
        run(sys.executable, "-m", "venv", "--without-pip", home / "env")
        self.python = home / "env" / "bin" / "python"
        (wheel,) = (home / "dist").glob("*.whl")
        run(*pip, "--python", self.python, "install", "--no-deps", "--no-index", wheel)
        self.site = Path(
            run(self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
        )
        dependencies = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        (self.site / "dependencies.pth").write_text("".join(f"{path}\n" for path in sorted(dependencies)))
        ours = ("PYTHON", "VIRTUAL_ENV", "COV_", "COVERAGE", "PYTEST", "HF_")
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        self.env |= {"HOME": str(home), "OMP_NUM_THREADS": "1"}
        self.env["PATH"] = f"{self.python.parent}{os.pathsep}{os.environ['PATH']}"

    def types(self, command: str, folder: Path) -> subprocess.CompletedProcess:
        """What one command line says, run in a folder."""
        return subprocess.run(
            ["bash", "-c", command], cwd=folder, env=self.env, capture_output=True, text=True, timeout=300
        )

    def says(self, command: str, folder: Path) -> str:
        """What a command that ends well and warns of nothing prints."""
        done = self.types(command, folder)
        assert (done.returncode, done.stderr) == (0, ""), f"{command}: {done.stderr}"
        return done.stdout

    def follows(self, page: Path, folder: Path) -> list[str]:
        """What the blocks of a page say, typed in one after the other; none may warn."""
        done = type_in(page, self.python, folder, self.env)
        for one in done:
            assert noise(one.stderr) == []
        return [one.stdout for one in done]


def run(*command: str | Path) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def noise(stderr: str) -> list[str]:
    """What stands there beside progress bars: warnings, tracebacks."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stderr)
    return [line for line in re.split(r"[\r\n]+", plain) if line.strip() and not BAR.search(line)]


@pytest.fixture(scope="session")
def user(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> User:
    return User(tmp_path_factory.mktemp("home"))
