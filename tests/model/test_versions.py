"""Versions that pixeltune does not work with: one line, before they are loaded."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata

import pytest
from packaging.requirements import Requirement

from pixeltune.errors import UserError
from pixeltune.model.compat import versions
from pixeltune.model.compat.versions import LIBRARIES, check_versions

NEEDED = {one.name: one for one in map(Requirement, metadata.requires("pixeltune")) if one.name in LIBRARIES}

# An installation that tells another version of one library; what is in the first argument cannot be imported.
PRETEND = """
import importlib.metadata, sys

blocked, name, pretended = sys.argv[1].split(","), *sys.argv[2].split("=")
told = importlib.metadata.version
importlib.metadata.version = lambda one: pretended if one == name else told(one)
for one in blocked:
    sys.modules[one] = None
"""


@pytest.fixture(autouse=True)
def forgotten():
    check_versions.cache_clear()
    yield
    check_versions.cache_clear()


def tell(monkeypatch, **others):
    monkeypatch.setattr(versions, "version", lambda name: others.get(name) or metadata.version(name))


def test_this_environment_is_one_that_works():
    check_versions()


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_version_outside_of_the_range_is_named_with_the_remedy(name, monkeypatch):
    tell(monkeypatch, **{name: "0.1"})
    with pytest.raises(UserError) as refused:
        check_versions()
    needed = re.search(r"pip install '(.*)'$", str(refused.value))[1]
    assert Requirement(needed).specifier == NEEDED[name].specifier
    assert needed.startswith(f"{name}>=")
    assert str(refused.value).startswith(f"{name} 0.1 is installed, but pixeltune needs {needed}: ")


@pytest.mark.parametrize("name", [name for name in LIBRARIES if "<" in str(NEEDED[name].specifier)])
def test_so_is_one_that_is_too_new(name, monkeypatch):
    tell(monkeypatch, **{name: "99.0"})
    with pytest.raises(UserError, match=rf"{name} 99\.0 is installed"):
        check_versions()


@pytest.mark.parametrize("version", ["2.99.0+cpu", "2.99.0rc1", "2.99.0.dev20260101"])
def test_builds_and_previews_of_a_version_are_that_version(version, monkeypatch):
    tell(monkeypatch, torch=version)
    check_versions()


def test_what_is_not_installed_is_left_to_its_import(monkeypatch):
    def none(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(versions, "version", none)
    check_versions()
    monkeypatch.setattr(versions, "requires", none)
    check_versions()


@pytest.mark.parametrize(
    "module", ["pixeltune.adapter", "pixeltune.model.loading", "pixeltune.training.objectives"]
)
def test_it_is_said_before_anything_is_loaded_that_it_would_break(module):
    code = f"{PRETEND}\nimport {module}"
    blocked = ",".join(LIBRARIES)
    done = subprocess.run(
        [sys.executable, "-c", code, blocked, "transformers=4.57.6"], capture_output=True, text=True
    )
    assert done.stderr.splitlines()[-1].startswith(
        "pixeltune.errors.UserError: transformers 4.57.6 is installed, but pixeltune needs transformers"
    )


def test_a_verb_says_it_in_one_line(tmp_path):
    code = f"{PRETEND}\nfrom pixeltune.cli.main import main\nsys.exit(main(sys.argv[3:]))"
    words = f"sft --task sums --max_steps 1 --output_dir {tmp_path / 'run'}"
    done = subprocess.run(
        [sys.executable, "-c", code, "trl,peft", "trl=0.29.1", *words.split()], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("pixeltune sft: trl 0.29.1 is installed, but pixeltune needs trl")
    assert done.stderr.count("\n") == 1, done.stderr
