"""What a recipe leaves every so often, so that a training that was broken off goes on where it was."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pixeltune.writing import write_atomically


def save(path: Path, model: torch.nn.Module, parts: Sequence[Any], step: int) -> None:
    """Write weights, the state of optimisers and schedules, and how many steps are done; whole, or not at all.

    Args:
        path: of the snapshot.
        model: what is trained.
        parts: optimisers and schedules, in the order in which they are restored.
        step: the next one.
    """
    state = {"model": model.state_dict(), "parts": [part.state_dict() for part in parts], "step": step}
    file = io.BytesIO()
    torch.save(state, file)
    write_atomically(path, file.getvalue())


def restore(path: Path, model: torch.nn.Module, parts: Sequence[Any]) -> int:
    """Put back what `save` wrote; returns the next step."""
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    for part, saved in zip(parts, state["parts"], strict=True):
        part.load_state_dict(saved)
    return state["step"]
