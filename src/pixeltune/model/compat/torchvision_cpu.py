"""A torchvision wheel built for CUDA, made importable beside a CPU build of torch."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

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
    if _DECLARED or spec is None or spec.origin is None:
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


class _Torchvision(MetaPathFinder):
    """Finds torchvision as usual, and has the operators declared when it is run, not when it is looked for.

    Libraries look whether it is there without importing it, and torch would take them two seconds. It stays
    in place: an import that failed before pixeltune was imported may be tried again.
    """

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != "torchvision":
            return None
        spec = PathFinder.find_spec(name)
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def declare_and_run(module: ModuleType) -> None:
            declare_operators()
            run(module)

        spec.loader.exec_module = declare_and_run  # type: ignore[method-assign]
        return spec


def declare_before_import() -> None:
    """Have `declare_operators` run as soon as anybody imports torchvision.

    Imports nothing itself; idempotent.
    """
    if not any(type(finder).__name__ == _Torchvision.__name__ for finder in sys.meta_path):
        sys.meta_path.insert(0, _Torchvision())
