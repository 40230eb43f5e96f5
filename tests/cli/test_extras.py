"""What is missing is brought by the extra that is advised, by pixeltune's own metadata."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata

import pytest

from pixeltune.cli import extras
from pixeltune.cli.extras import advice, missing_module

# As if packages were not installed, in a process of its own: the finder of files does not see them.
WITHOUT = """
import sys
from importlib.machinery import PathFinder

missing = set(sys.argv[1].split(","))

class Finder:
    find_distributions, invalidate_caches = PathFinder.find_distributions, PathFinder.invalidate_caches

    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] in missing else PathFinder.find_spec(name, path, target)

sys.meta_path[:] = [Finder if finder is PathFinder else finder for finder in sys.meta_path]
from pixeltune.cli.main import main
sys.exit(main(sys.argv[2:]))
"""
TRAIN = "torch,torchvision,transformers,trl,peft,accelerate,safetensors"
SERVE = "aiohttp,httptools,prometheus_client,starlette,uvicorn,uvloop"


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("torch", "pip install 'pixeltune[train]'"),
        ("trl", "pip install 'pixeltune[train]'"),
        ("yaml", "pip install 'pixeltune[train]'"),
        ("starlette", "pip install 'pixeltune[serve]'"),
        ("prometheus_client", "pip install 'pixeltune[serve]'"),
        ("jinja2", "pip install 'pixeltune[gallery]'"),
        ("openai", "pip install 'pixeltune[eval]'"),
        ("gradio", "pip install 'pixeltune[studio]'"),
        ("bitsandbytes", "pip install 'pixeltune[quantization]'"),
        ("matplotlib", "pip install matplotlib"),  # the extra that brings it is made for developers
        ("PIL", "pip install --force-reinstall pixeltune"),
        ("nowhere", None),
    ],
)
def test_the_command_brings_the_package(module, command):
    assert advice(module) == command


def test_of_several_extras_the_verb_s_own_is_advised():
    assert advice("datasets", "eval") == "pip install 'pixeltune[eval]'"
    assert advice("datasets", "sft") == advice("datasets", "demo") == "pip install 'pixeltune[train]'"


def test_every_package_of_an_extra_leads_to_an_extra_that_has_it():
    wanted = [re.match(r"([\w-]+).*; extra == '(\w+)'", line) for line in metadata.requires("pixeltune")]
    brought: dict[str, set[str]] = {}
    for name, extra in (one.groups() for one in wanted if one):
        brought.setdefault(name, set()).add(extra)
    for name, extras_with_it in brought.items():
        command = advice(name.replace("-", "_"))
        if extras_with_it <= {"dev", "docs"}:
            assert command == f"pip install {name}"
        else:
            assert re.search(r"\[(\w+)\]", command)[1] in extras_with_it - {"dev", "docs"}


def test_without_metadata_nothing_is_promised(monkeypatch):
    def requires(_):
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(extras, "requires", requires)
    assert advice("torch") is None


def test_the_cause_of_a_library_s_error_is_found():
    inner = ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")
    middle, outer = ModuleNotFoundError("Could not import module"), RuntimeError("Failed to import")
    middle.__cause__, outer.__cause__ = inner, middle
    assert missing_module(outer) == missing_module(inner) == "torch"
    assert missing_module(RuntimeError("a bug")) is None


@pytest.mark.parametrize(
    ("missing", "words", "said"),
    [
        (TRAIN, "eval --task gsm8k", "needs torch, which is not installed. Run: pip install 'pixeltune[train]'"),
        (f"{TRAIN},openai,datasets", "eval --task gsm8k", "needs torch"),
        (f"{TRAIN},openai", "eval --task sums --engine http://127.0.0.1:9/v1", "pip install 'pixeltune[eval]'"),
        (TRAIN, "sft --task sums", "pip install 'pixeltune[train]'"),
        ("jinja2", "gallery runs/none --output_dir site", "needs jinja2"),
        ("gradio", "studio", "needs gradio, which is not installed. Run: pip install 'pixeltune[studio]'"),
        (SERVE, "serve --upstream http://127.0.0.1:9/v1 --artworks .", "pip install 'pixeltune[serve]'"),
        ("starlette", "serve --upstream http://127.0.0.1:9/v1 --artworks .", "needs starlette"),
    ],
)  # fmt: skip
def test_a_verb_in_an_environment_without_its_extra(missing, words, said, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, missing, *words.split()], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
