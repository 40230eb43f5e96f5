"""Facts that stand in more than one place of a release."""

from __future__ import annotations

import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from documents import ROOT
from pixeltune.cli.main import VERBS
from pixeltune.model.compat.versions import LIBRARIES
from pixeltune.version import __version__

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_the_version_to_cite_is_this_one():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert cited["version"] == __version__
    assert cited["license"] == PROJECT["license"]
    assert PROJECT["urls"]["Paper"] == cited["preferred-citation"]["url"]


def test_the_changelog_begins_with_this_version():
    """Unreleased changes stand before it."""
    headings = re.findall(r"^## \[([\w.]+)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert next(heading for heading in headings if heading != "Unreleased") == __version__


def test_the_changelog_names_every_verb():
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    for verb in (verb for verbs in VERBS.values() for verb in verbs):
        assert re.search(rf"`(pixeltune )?{verb}\b", text), verb


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_make_s_targets_and_scripts_that_a_page_names_are_there(page):
    text, makefile = (ROOT / page).read_text("utf-8"), (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"(?m)(?:^|`)make ([a-z][\w-]*)", text):
        assert re.search(rf"^{target}:", makefile, re.M), target
    for script in re.findall(r"\bscripts/\w+\.py", text):
        assert (ROOT / script).is_file(), script


def test_pythons_that_are_named_begin_with_the_lowest_that_is_allowed():
    named = [
        line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d", line)
    ]
    assert f">={named[0]}" == PROJECT["requires-python"]
    assert named == [f"3.{minor}" for minor in range(11, 11 + len(named))]


def test_the_oldest_versions_are_the_lowest_that_the_package_admits():
    """`constraints/oldest.txt` beside the newest of `constraints/cpu.txt`; what it names beyond, those need."""
    oldest, newest = (
        dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints" / name).read_text("utf-8"), re.M))
        for name in ("oldest.txt", "cpu.txt")
    )
    train = {one.name: one.specifier for one in map(Requirement, PROJECT["optional-dependencies"]["train"])}
    for name in LIBRARIES:
        assert train[name].contains(newest[name]), name
        (lowest,) = (part.version for part in train[name] if part.operator == ">=")
        if name != "torch":
            assert Version(oldest[name]) == Version(lowest), name
    assert not [name for name in oldest if Version(oldest[name]) > Version(newest[name])]
