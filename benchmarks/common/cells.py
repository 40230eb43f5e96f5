"""A results file that is filled cell by cell, so that a long measurement can be killed and go on."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.common.machine import machine
from pixeltune.writing import write_atomically


def read(out: Path) -> dict:
    """The report so far; "machines" that its cells name by their place, and "cells" by key."""
    return json.loads(out.read_text()) if out.exists() else {"machines": [], "cells": {}}


def once(
    out: Path,
    key: str,
    settings: dict[str, Any],
    work: Callable[[], dict],
    again: bool = False,
    **facts: Any,
) -> dict:
    """The cell `key`, which `work` makes unless the report has it with the same settings.

    Args:
        out: the report; several processes may write to it.
        key: of the cell.
        settings: all that the cell depends on, as JSON.
        work: makes the cell, as JSON.
        again: make it in any case.
        facts: what else the report says.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    cell = read(out)["cells"].get(key)
    if cell is not None and cell["settings"] == digest and not again:
        return cell
    started = time.perf_counter()
    cell = {"settings": digest, **work()}
    cell["cell_seconds"] = round(time.perf_counter() - started, 1)
    here = machine() | {"threads": torch.get_num_threads()}
    out.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(out.parent, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        report = read(out) | facts  # read again: another process may have written since
        if here not in report["machines"]:
            report["machines"].append(here)
        cell["machine"] = report["machines"].index(here)
        report["cells"][key] = cell
        write_atomically(out, json.dumps(report, indent=1) + "\n")
    finally:
        os.close(lock)
    return cell
