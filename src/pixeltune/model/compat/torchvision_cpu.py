"""A torchvision wheel built for CUDA, made importable beside a CPU build of torch."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from pathlib import Path

_DECLARED = []


def declare_operators() -> None:
    """Declare the two operators that ``import torchvision`` insists on, if its own do not load. Idempotent.

    The package registry serves CUDA builds of torchvision; their compiled operators do not load into a CPU
    build of torch, and then ``import torchvision`` fails with "operator torchvision::nms does not exist"
    (https://github.com/pytorch/vision/issues/9077). Declaring the schemas is all that its Python parts need,
    and image processors use only those. Without torchvision, transformers cannot build any Qwen-VL processor.

    Needed for torch 2.13 (CPU) with torchvision 0.28; `tests/model/test_preprocessing.py` fails as soon as it
    is not needed any more.
    """
    spec = PathFinder.find_spec("torchvision")
    if _DECLARED or "torchvision" in sys.modules or spec is None or spec.origin is None:
        return
    import torch

    compiled = [p for p in Path(spec.origin).parent.glob("_C*") if p.suffix in (".so", ".pyd")]
    try:
        for path in compiled:
            torch.ops.load_library(str(path))  # as torchvision itself does, which passes over the failure
    except OSError:
        compiled = []
    if compiled:
        return
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _DECLARED.append(library)  # the declarations live as long as this object


class _BeforeTorchvision(MetaPathFinder):
    """Finds nothing: it is asked before torchvision is imported, by whomever, and that is the moment."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "torchvision":
            sys.meta_path.remove(self)
            declare_operators()


def declare_before_import() -> None:
    """Have `declare_operators` run as soon as anybody imports torchvision.

    Imports nothing itself; idempotent.
    """
    if not any(type(finder).__name__ == _BeforeTorchvision.__name__ for finder in sys.meta_path):
        sys.meta_path.insert(0, _BeforeTorchvision())
