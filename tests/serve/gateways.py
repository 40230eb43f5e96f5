"""Small artworks, and the gateway as users start it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pixeltune.artwork.artwork import Artwork
from pixeltune.artwork.provenance import Provenance
from pixeltune.data.placement import PLACEMENT


def make_artwork(seed: int = 0, base: str = "base", **facts: object) -> Artwork:
    """A picture of noise, 64 x 64."""
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)
    known = {"image_tokens": 4, "placement": PLACEMENT, "processor": {}, "objective": "sft", "data": "noise"}
    return Artwork(pixels, Provenance(base_model=base, **(known | facts)))


class Served:
    """A running gateway: `url`, the lines of its log, `process`."""

    def __init__(self, process: subprocess.Popen, log: Path) -> None:
        self.process, self.log = process, log
        self.root = next(line["address"] for line in self.lines() if line["event"] == "ready to listen")[:-3]
        self.url = f"{self.root}/v1"

    def lines(self) -> list[dict]:
        """Everything it has logged."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        """Status and body of a GET request."""
        try:
            with urllib.request.urlopen(
                urllib.request.Request(self.root + path, headers=headers), timeout=10
            ) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


@contextmanager
def gateway(folder: Path, *flags: object, log: Path, ready: int = 200) -> Iterator[Served]:
    """`pixeltune serve` as a process of its own, on a free port; `ready` is what /readyz answers at first."""
    flags = ("--port", 0, "--notice", 0, *flags)  # of a flag given twice the last one counts
    command = [sys.executable, "-m", "pixeltune.cli.main", "serve", "--artworks", folder, *flags]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(word) for word in command], stderr=output, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
    try:
        wait(lambda: b"ready to listen" in log.read_bytes() or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        served = Served(process, log)
        wait(lambda: served.get("/readyz")[0] == ready)
        yield served
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def curl(served: Served, body: dict) -> dict:
    """The answer that curl gets to a chat completion."""
    command = ["curl", "-sS", "--fail", f"{served.url}/chat/completions", "-d", "@-"]
    command += ["-H", "Content-Type: application/json"]
    done = subprocess.run(
        command, input=json.dumps(body), capture_output=True, check=True, text=True, timeout=60
    )
    return json.loads(done.stdout)


def wait(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Until a condition holds."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
