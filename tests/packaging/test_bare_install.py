"""An environment with the wheel and what it requires itself, no extras: every verb works or names its extra.

`scripts/try_install.py` tries the same, and a training with the extras, in new environments from the index.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from documents import ROOT
from scripts.build_release import build
from scripts.try_install import BARE, desk, environment, faults, verbs


def required(name: str, found: set[str] | None = None) -> set[str]:
    """The distributions that one needs without extras, itself not among them."""
    found = set() if found is None else found
    for line in distribution(name).requires or []:
        one = Requirement(line)
        if one.name not in found and (one.marker is None or one.marker.evaluate({"extra": ""})):
            found.add(one.name)
            required(one.name, found)
    return found


@pytest.fixture(scope="module")
def pixeltune(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command in an environment that sees the wheel's requirements of this one and nothing more."""
    at = tmp_path_factory.mktemp("bare")
    build(ROOT, at / "dist", "wheel")
    (wheel,) = (at / "dist").iterdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", at / "env"], check=True)
    python = at / "env" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--python", python]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", wheel], check=True)
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(
        subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout.strip()
    )
    here = Path(sysconfig.get_path("platlib"))
    for name in required("pixeltune"):
        for top in {file.parts[0] for file in distribution(name).files if file.parts[0] != ".."}:
            if not (site / top).exists() and (here / top).exists():
                (site / top).symlink_to(here / top)
    return python.with_name("pixeltune")


def test_only_what_the_wheel_requires_is_there(pixeltune):
    code = "import importlib.util as u; print([m for m in ('torch', 'aiohttp', 'jinja2', 'yaml') if u.find_spec(m)])"
    python = pixeltune.with_name("python")
    assert (
        subprocess.run([python, "-c", code], capture_output=True, text=True, env=environment()).stdout
        == "[]\n"
    )


def test_every_verb_is_tried(pixeltune):
    assert verbs(pixeltune) <= {words.partition(" ")[0] for words, *_ in BARE}


@pytest.mark.parametrize("one", BARE, ids=lambda one: one.words)
def test_a_verb_works_or_names_its_extra(one, pixeltune, tmp_path):
    assert list(faults(pixeltune, [one], desk(tmp_path))) == [(one.words, "")]
