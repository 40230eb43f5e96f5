"""A real, unmodified vLLM server for tests: start it, wait until it is healthy, take it down."""

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / ".venv-vllm" / "bin" / "python"
START_SECONDS = 900  # 20 to 30 on an idle machine with 2 cores; more than 300 seen on a busy one

ENVIRONMENT = {
    # The default thread binding is 25 times slower on a small model and 2 cores.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    # With --enforce-eager, what is left to compile is a few sampler functions: 30 s for nothing.
    "TORCH_COMPILE_DISABLE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
}


def command(
    model: Path | str, port: int, *options: str, name: str = "model", max_model_len: int = 2048
) -> list[str]:
    """The server's command line. `vllm serve` is the same program, but fails in the CPU package."""
    return [
        str(PYTHON),
        "-m",
        "vllm.entrypoints.openai.api_server",
        f"--model={model}",
        f"--served-model-name={name}",
        "--host=127.0.0.1",
        f"--port={port}",
        "--dtype=float32",
        "--enforce-eager",
        f"--max-model-len={max_model_len}",
        # The size is for the warm-up only, which otherwise draws the largest picture the processor allows.
        '--limit-mm-per-prompt={"image":{"count":2,"width":256,"height":256},"video":0}',
        *options,
    ]


@contextmanager
def vllm_server(
    model: Path | str, log: Path, *options: str, port: int | None = None, **settings: object
) -> Iterator[str]:
    """Address of a running server, e.g. http://127.0.0.1:51234/v1; its output goes to `log`.

    `options` are further flags of the server, `settings` keyword arguments of `command`; without a `port` it is a free
    one.
    """
    if not PYTHON.exists():
        raise RuntimeError("no vLLM environment: run `make .venv-vllm`, or set PIXELTUNE_SKIP_VLLM=1")
    port = port or free_port()
    # A clean slate: settings for our own process must not reach the server.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("VLLM_", "PYTHON", "OMP_"))}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(model, port, *options, **settings),
            env=inherited | ENVIRONMENT,
            cwd=log.parent,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own: the engine's worker processes end with it
        )
    try:
        _wait(process, f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        _end(process)


def kill(url: str) -> None:
    """End the server that listens there outright, with all its processes, as a machine that fails would."""
    port = int(url.split(":")[2].split("/")[0])
    for process in psutil.process_iter():
        words = process.cmdline() if process.status() != psutil.STATUS_ZOMBIE else []
        if f"--port={port}" in words:
            os.killpg(os.getpgid(process.pid), signal.SIGKILL)
            return
    raise RuntimeError(f"nothing listens at {url}")


def free_port() -> int:
    """One that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait(process: subprocess.Popen, health: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(health, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    state = "is not healthy" if process.poll() is None else f"ended with status {process.returncode}"
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-40:])
    raise RuntimeError(f"the vLLM server {state} after {START_SECONDS} s at most; end of {log}:\n{tail}")


def _end(process: subprocess.Popen) -> None:
    """Terminate the server's whole process group, the hard way after 20 seconds."""
    for sign, patience in ((signal.SIGTERM, 20), (signal.SIGKILL, 20)):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            return
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
