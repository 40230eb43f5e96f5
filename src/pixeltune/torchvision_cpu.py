"""A torchvision wheel built for CUDA, made importable beside a CPU build of torch."""

from __future__ import annotations

import importlib
import importlib.util
import sys

_DECLARED = []


def declare_operators() -> None:
    """Declare the two operators that `import torchvision` insists on, if it fails without them. Idempotent.

    The package registry serves CUDA builds of torchvision; their compiled operators do not load into a CPU
    build of torch, and then `import torchvision` fails with "operator torchvision::nms does not exist"
    (https://github.com/pytorch/vision/issues/9077). Declaring the schemas is all that its Python parts need,
    and image processors use only those. Without torchvision, transformers cannot build any Qwen-VL processor.

    Call before transformers is imported. Needed for torch 2.13 (CPU) with torchvision 0.28;
    `tests/test_sight.py` fails as soon as it is not needed any more.
    """
    if "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is None:
        return
    import torch

    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error):
            raise
    else:
        return
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]  # the half-imported package, so that the next import starts afresh
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _DECLARED.append(library)  # the declarations live as long as this object
