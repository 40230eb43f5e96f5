"""Environments of engines, each of its own, with the bundled model as that engine wants it (`engines.py`)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from pixeltune.bundled.tiny import PATH

ROOT = Path(__file__).parents[2]
RUNNERS = ROOT / "benchmarks" / "engine_runners"


def python(engine: str) -> Path:
    """The interpreter of an engine's own environment."""
    return ROOT / f".venv-{engine}" / "bin" / "python"


def model_of(engine: str, precision: str) -> Path:
    """The bundled model as an engine wants it, inside its environment."""
    return ROOT / f".venv-{engine}" / "models" / precision


def build(engine: str) -> None:
    """Make an engine's environment, and convert the bundled model where the engine wants that.

    Raises:
        ValueError: no such engine.
    """
    if not (RUNNERS / f"{engine}.txt").exists():
        known = ", ".join(sorted(path.stem for path in RUNNERS.glob("*.txt")))
        raise ValueError(
            f"no environment called {engine!r}: choose from {known}; vLLM's is `make .venv-vllm`"
        )
    install(engine, RUNNERS / f"{engine}.txt")
    _run(python(engine), ROOT / "scripts" / "fit_vllm_env.py")  # torchvision beside a CPU build of torch
    {"openvino": _export, "llama.cpp": _convert}.get(engine, lambda: None)()


def install(name: str, requirements: Path) -> None:
    """Make the environment of that name if it is not there, and put the requirements into it."""
    if not python(name).exists():
        _run(sys.executable, "-m", "venv", python(name).parents[1])
    pip = [python(name), "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    _run(*pip, "-r", requirements)


def _export() -> None:
    for precision, weights in (("float32", "fp32"), ("int8 weights", "int8")):
        _run(
            *(python("openvino").with_name("optimum-cli"), "export", "openvino", "--model", PATH),
            *("--task", "image-text-to-text", "--weight-format", weights, model_of("openvino", precision)),
        )


def _convert() -> None:
    sources = python("llama.cpp").parents[1] / "sources"
    if not sources.exists():  # the converter is no package: it is among the sources of llama-cpp-python
        with tempfile.TemporaryDirectory() as folder:
            download = [python("llama.cpp"), "-m", "pip", "download", "--quiet", "--no-deps"]
            _run(*download, "--no-binary", ":all:", "--dest", folder, "llama-cpp-python==0.3.36")
            with tarfile.open(next(Path(folder).glob("*.tar.gz"))) as archive:
                archive.extractall(folder, filter="data")
            shutil.copytree(next(Path(folder).glob("*/vendor/llama.cpp")), sources)
    for precision, kind in (("float32", "f32"), ("q8_0 weights", "q8_0")):
        out = model_of("llama.cpp", precision)
        out.mkdir(parents=True, exist_ok=True)
        convert = [python("llama.cpp"), RUNNERS / "to_gguf.py", sources, PATH, "--outtype"]
        _run(*convert, kind, "--outfile", out / "model.gguf")
        _run(*convert, "f32", "--outfile", out / "mmproj.gguf", "--mmproj")


def _run(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
