"""Every benchmark that this machine can run, one after another; a line for each that it cannot.

python -m benchmarks [--quick]
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.common.harness_environments import PACKAGES

HERE = Path(__file__).parent
VLLM = HERE.parent / ".venv-vllm" / "bin" / "python"
NEEDS: dict[str, tuple[Callable[[], bool], str]] = {
    "gpu": (torch.cuda.is_available, "no GPU"),
    "gateway_vllm": (VLLM.exists, "no vLLM: make .venv-vllm"),
    "harnesses": (
        lambda: VLLM.exists() and all((HERE.parent / f".venv-{name}").exists() for name in PACKAGES),
        "no vLLM (make .venv-vllm) or no harnesses (python benchmarks/harnesses.py --build)",
    ),
    "http_clients": (lambda: shutil.which("nginx") is not None, "no nginx: apt install nginx-light"),
    "lifts": (lambda: False, "it wants --data, a folder of benchmarks"),
    "policy_refresh": (VLLM.exists, "no vLLM: make .venv-vllm"),
    "serving": (VLLM.exists, "no vLLM: make .venv-vllm"),
}


def scripts() -> list[Path]:
    """All scripts of this folder."""
    return sorted(path for path in HERE.glob("*.py") if not path.name.startswith("__"))


def missing(script: Path, quick: bool) -> str:
    """Why a script is left out; empty: it is not."""
    can_run, why = NEEDS.get(script.stem, (lambda: True, ""))
    if not can_run():
        return why
    return "no --quick" if quick and "--quick" not in script.read_text() else ""


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two steps and a few rows, results put aside")
    arguments = parser.parse_args(argv)
    failed = []
    for script in scripts():
        if why := missing(script, arguments.quick):
            print(f"== {script.name}: skipped, {why}", flush=True)
            continue
        print(f"== {script.name}", flush=True)
        command = [sys.executable, str(script), *(["--quick"] if arguments.quick else [])]
        if subprocess.run(command).returncode:
            failed.append(script.name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
