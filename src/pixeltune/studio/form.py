"""What is filled in on the page, as settings of `paint` and as the command that does the same."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixeltune.errors import UserError
from pixeltune.picture.files import STARTS
from pixeltune.tasks.base import is_known
from pixeltune.training.defaults import OBJECTIVE_FACTS

VERB = "sft"

OWN_ROWS = "a file of my own"
"""In place of a task's name."""

OWN_PICTURE = "a picture of my own"
"""In place of a start's name."""

AS_IT_IS = "refuse another shape"
"""In place of a `fit`."""

READINGS = 4
"""Held-out scores, and snapshots, of a painting after that of the start: as often as 25 of the default 100 steps."""


@dataclass(frozen=True)
class Form:
    """The fields of the page; what is left empty is None or an empty text."""

    model: str = "tiny"
    task: str = "sums"
    """A task, or `OWN_ROWS`."""
    rows: str | None = None
    """The file that was brought for `OWN_ROWS`."""
    start: str = "grey"
    """One of `STARTS`, or `OWN_PICTURE`."""
    picture: str | None = None
    """The file that was brought for `OWN_PICTURE`."""
    fit: str = AS_IT_IS
    licence: str = ""
    style: str = ""
    max_steps: int | None = OBJECTIVE_FACTS[VERB].defaults["max_steps"]
    learning_rate: float | None = OBJECTIVE_FACTS[VERB].defaults["learning_rate"]
    batch_size: int | None = OBJECTIVE_FACTS[VERB].defaults["per_device_train_batch_size"]

    def settings(self, folder: Path) -> dict[str, Any]:
        """By name, as `pixeltune.training.paint.paint` takes them; it judges them too.

        Args:
            folder: of the run.

        Raises:
            UserError: a file is missing, a field is empty that must not be, or the task is none that has a name. Dotted
                paths are not taken from a page: they import, and so run, whatever they say.
        """
        out: dict[str, Any] = {"model": self.model.strip() or "tiny"}
        if self.task == OWN_ROWS:
            out["data"] = _brought(self.rows, "rows: a JSON object a line, CSV or Parquet")
        elif is_known(self.task):
            out["task"] = self.task
        else:
            raise UserError(f"there is no task {self.task!r} here: choose one of the list, or {OWN_ROWS}")
        if self.start == OWN_PICTURE:
            out["start"] = _brought(self.picture, "picture: PNG, JPEG, WebP, GIF, BMP, TIFF or PPM")
            out |= {"licence": self.licence.strip() or None}
            out |= {"fit": None if self.fit == AS_IT_IS else self.fit}
        elif self.start in STARTS:
            out["start"] = self.start
        else:
            raise UserError(f"there is no start {self.start!r}: choose one of the list, or {OWN_PICTURE}")
        out["style"] = self.style.strip() or None
        numbers = {
            "max_steps": self.max_steps,
            "learning_rate": self.learning_rate,
            "per_device_train_batch_size": self.batch_size,
        }
        if empty := [name for name, number in numbers.items() if number is None]:
            raise UserError(f"--{empty[0]} is empty: give a number")
        out |= numbers
        every = max(1, -(-int(numbers["max_steps"] or 0) // READINGS))
        out |= {"score_steps": every, "snapshot_steps": every, "logging_steps": 1}
        return {name: value for name, value in out.items() if value is not None} | {"output_dir": str(folder)}


def command(settings: dict[str, Any]) -> str:
    """What does the same in a terminal."""
    return shlex.join(
        ["pixeltune", VERB, *(word for name, value in settings.items() for word in (f"--{name}", str(value)))]
    )


def _brought(file: str | None, what: str) -> str:
    """
    Raises:
        UserError: nobody brought it.
    """
    if not file:
        raise UserError(f"there is no file yet: bring your {what}")
    return str(file)  # Gradio hands over a kind of text of its own, which is of another type
