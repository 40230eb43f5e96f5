"""Make the CPU server environment importable: run it with that environment's own Python, after pip.

    .venv-vllm/bin/python scripts/fit_vllm_env.py

Two things go wrong when packages from the ordinary registry meet the CPU build of torch:

1. `import torchvision` fails with "operator torchvision::nms does not exist". The registry's
   torchvision is built for CUDA, its compiled operators do not load beside CPU torch, and torchvision
   then registers a fake kernel for an operator that nobody declared
   (https://github.com/pytorch/vision/issues/9077, seen with torchvision 0.22 to 0.28). Image processors
   need none of those operators, so declaring the two schemas is enough. pixeltune itself does so in
   `pixeltune.model.compat.torchvision_cpu`; the server stays unmodified, hence a `.pth` file, which Python
   reads at start-up in every process of the environment.
2. torchaudio and torchcodec, installed as dependencies of vLLM, fail to import for the same reason and
   take the libraries that merely probe for them down. They serve sound and video: they are removed.

Nothing is changed where torchvision imports by itself (a matching build: GPU machines, CPU index).
"""

import subprocess
import sys
import sysconfig
from pathlib import Path

MODULE = "_torchvision_on_cpu_torch"

# Costs nothing in processes that never touch torchvision: torch is imported only when torchvision is.
HOOK = '''\
"""Declare the operators of a CUDA-built torchvision beside CPU torch, just before it is imported.

Written by pixeltune's scripts/fit_vllm_env.py; see https://github.com/pytorch/vision/issues/9077.
"""

import importlib.abc
import sys


class _BeforeTorchvision(importlib.abc.MetaPathFinder):
    library = None  # torch forgets the declarations when the library object is collected

    def find_spec(self, fullname, path=None, target=None):
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            import torch

            if not hasattr(torch.ops.torchvision, "nms"):
                library = torch.library.Library("torchvision", "DEF")
                for name in ("nms", "qnms"):
                    library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
                _BeforeTorchvision.library = library
        return None


sys.meta_path.insert(0, _BeforeTorchvision())
'''


def imports(module: str) -> bool:
    """Whether `module` imports in a fresh process of this environment."""
    return subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True).returncode == 0


def installed(module: str) -> bool:
    return (Path(sysconfig.get_path("platlib")) / module).is_dir()


def main() -> None:
    site = Path(sysconfig.get_path("purelib"))
    for suffix in ("py", "pth"):  # beside a matching build, installed since, the hook would do harm
        (site / f"{MODULE}.{suffix}").unlink(missing_ok=True)
    if installed("torchvision") and not imports("torchvision"):
        (site / f"{MODULE}.py").write_text(HOOK)
        # A .pth line that starts with import is executed at start-up: https://docs.python.org/3/library/site.html
        (site / f"{MODULE}.pth").write_text(f"import {MODULE}\n")
        if not imports("torchvision"):
            sys.exit(
                "torchvision still does not import: install torch and torchvision from the same index, "
                "or see https://github.com/pytorch/vision/issues/9077"
            )
        print("torchvision: operators declared for CPU torch")
    broken = [m for m in ("torchaudio", "torchcodec") if installed(m) and not imports(m)]
    if broken:
        subprocess.run([sys.executable, "-m", "pip", "uninstall", "-q", "-y", *broken], check=True)
        print(f"removed (built for CUDA, not needed): {', '.join(broken)}")


if __name__ == "__main__":
    main()
