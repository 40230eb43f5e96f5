"""A torchvision that does not load beside this torch: whoever is imported first, pixeltune makes it importable."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# As a CUDA build beside a CPU torch: its operators do not load, and it insists on one of them.
BROKEN = """
import torch
from torchvision import half

@torch.library.register_fake("torchvision::nms")
def nms(dets, scores, iou_threshold):
    return dets
"""
FAILS = (
    "try:\n    import torchvision\nexcept RuntimeError as error:\n    assert 'does not exist' in str(error)\n"
)
FAILS += "else:\n    raise AssertionError\n"


@pytest.fixture
def broken(tmp_path) -> Path:
    folder = tmp_path / "torchvision"
    folder.mkdir()
    (folder / "__init__.py").write_text(BROKEN)
    (folder / "half.py").write_text("")
    (folder / "_C.so").write_text("no library")
    return tmp_path


@pytest.mark.parametrize(
    "code",
    [
        "import pixeltune, torchvision",
        "import torch, pixeltune, torchvision",
        "import pixeltune, importlib.util; assert importlib.util.find_spec('torchvision'); import torchvision",
        f"{FAILS}import pixeltune, torchvision",
        f"{FAILS}{FAILS}import pixeltune, torchvision, torchvision.half",
    ],
)
def test_the_order_of_imports_does_not_matter(code, broken):
    done = run(code, broken)
    assert done.returncode == 0, done.stderr


def test_looking_whether_there_is_a_torchvision_does_not_import_torch(broken):
    code = "import pixeltune, sys, importlib.util; assert importlib.util.find_spec('torchvision')"
    assert run(f"{code}; assert 'torch' not in sys.modules", broken).returncode == 0


def run(code: str, path: Path) -> subprocess.CompletedProcess:
    """Without .pth files, of which one may already have declared the operators in this environment."""
    paths = [str(path), *(one for one in sys.path if one)]
    code = f"import sys; sys.path[:0] = {paths!r}\n{code}"
    return subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True)
