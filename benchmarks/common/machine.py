"""The machine and the versions a number was made with."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

import torch


def machine() -> dict:
    """Processor, cores, Python and the versions of the libraries that matter."""
    names = [line for line in _cpuinfo() if line.startswith("model name")]
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers", "trl", "peft")}
    return {
        "processor": names[0].split(":", 1)[1].strip() if names else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **versions,
        **({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}),
    }


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
