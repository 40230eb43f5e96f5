"""The one painting that may stand on the easel at a time, made in a thread of its own by the stages of `Painting`."""

from __future__ import annotations

import threading
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pixeltune.artwork.folder import ARTWORK
from pixeltune.errors import UserError, first_line
from pixeltune.studio.answers import Subject, subject_of
from pixeltune.studio.form import VERB
from pixeltune.training import report
from pixeltune.training.arguments import read_settings
from pixeltune.training.compat.warnings import quiet_libraries
from pixeltune.training.memory import explained
from pixeltune.training.onlooker import Onlooker
from pixeltune.training.paint import Painting

AT_WORK = ("loading", "painting", "stopping")


@dataclass(frozen=True)
class View:
    """What there is to see."""

    state: Literal["empty", "loading", "painting", "stopping", "finished", "stopped", "failed"] = "empty"
    turn: int = 0
    """Counts the changes, so that a page knows whether it is behind."""
    step: int = 0
    steps: int = 0
    pixels: np.ndarray | None = None
    """`(H, W, 3)` uint8."""
    history: tuple[dict[str, Any], ...] = ()
    """The trainer's log so far."""
    said: str = ""
    """What the command line prints: of the run at its start and its end, or why it failed."""
    notes: tuple[str, ...] = ()
    """Warnings of pixeltune's."""
    subject: Subject | None = None
    """The artwork, once there is one to ask about and to take home."""


class Easel:
    """Paints in a folder, one picture at a time.

    Attributes:
        view: what there is to see now; replaced, never changed, so that any thread may read it.
    """

    def __init__(self, folder: str | Path) -> None:
        """
        Args:
            folder: for runs, ``painting-1`` and so on.
        """
        self.folder = Path(folder)
        self.view = View()
        self._occupied = threading.Lock()
        self._changing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._painting: Painting | None = None
        self._told_to_stop = False
        self._notes: list[str] = []

    def next_folder(self) -> Path:
        """Of the next run: the first that is not there."""
        return next(one for n in count(1) if not (one := self.folder / f"painting-{n}").exists())

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Within this nobody else may paint or ask.

        Raises:
            UserError: somebody does.
        """
        self._occupy()
        try:
            yield
        finally:
            self._occupied.release()

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Look at the settings, then paint in a thread.

        Args:
            settings: as `pixeltune.training.paint.paint` takes them.

        Raises:
            UserError: a picture is being painted, a question answered, or a setting cannot be used; what stands on
                the easel stays.
        """
        self._occupy()
        notes: list[str] = []
        try:
            with _heard(notes), quiet_libraries():
                painting = Painting(VERB, *read_settings(VERB, settings), quiet=True)
                painting.prepare()
        except BaseException:
            self._occupied.release()
            raise
        self._painting, self._told_to_stop, self._notes = painting, False, notes
        with self._changing:
            self.view = View("loading", self.view.turn + 1, notes=tuple(notes))
        # A daemon, so that a second Ctrl-C ends the process.
        self._thread = threading.Thread(target=self._work, name="painting", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the painting after the running step, with a checkpoint; nothing where nothing is painted."""
        with self._changing:
            if self.view.state in AT_WORK:
                self._told_to_stop = True
                self._pass_on()
                self.view = replace(self.view, turn=self.view.turn + 1, state="stopping")

    def wait(self) -> None:
        """Until nothing is painted any more."""
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        try:
            end = self._paint(self._painting)
        except UserError as error:
            end = {"state": "failed", "said": str(error)}
        except Exception as error:
            traceback.print_exc()
            end = {"state": "failed", "said": f"{first_line(error)} (unexpected: the terminal says where)"}
        self._painting = None  # and its model: answers come from one that is loaded as for any other PNG
        self._see(**end)
        self._occupied.release()

    def _paint(self, painting: Any) -> dict[str, Any]:
        """Paint; returns what there is to see at the end."""
        with _heard(self._notes), quiet_libraries(), explained(painting.arguments, painting.config):
            painting.build()
            with self._changing:
                self._pass_on()
            self._see(said=report.beginning(painting))
            painting.trainer.add_callback(Onlooker(self._look))
            painting.train()
            painting.finish()
        folder = painting.output_dir
        if not painting.finished:  # the callback that keeps checkpoints has put it there
            folder /= f"checkpoint-{painting.step}"
        return {
            "state": "finished" if painting.finished else "stopped",
            "step": painting.step,
            "pixels": painting.artwork.pixels,
            "history": tuple(painting.history),
            "said": report.end(painting) if painting.finished else str(folder / ARTWORK),
            "subject": subject_of(painting, folder / ARTWORK),
        }

    def _look(self, pixels: np.ndarray, state: Any) -> None:
        """Called by the trainer."""
        self._see(
            state="stopping" if self._told_to_stop else "painting",
            step=state.global_step,
            steps=state.max_steps,
            pixels=pixels,
            history=tuple(dict(entry) for entry in state.log_history),
        )

    def _see(self, **changes: Any) -> None:
        with self._changing:
            notes = tuple(self._notes)
            self.view = replace(self.view, turn=self.view.turn + 1, notes=notes, **changes)

    def _pass_on(self) -> None:
        """What was said to stop, to a painting that is built; one that is not is told when it is."""
        if self._told_to_stop and hasattr(self._painting, "stop"):
            self._painting.stop.stopped = True

    def _occupy(self) -> None:
        if self._occupied.acquire(blocking=False):
            return
        view = self.view
        if view.state not in AT_WORK:
            raise UserError("somebody's settings or question are being looked at: try again in a moment")
        where = f" (step {view.step} of {view.steps})" if view.steps else ""
        raise UserError(f"a picture is being painted{where}: wait until it is finished, or stop it")


@contextmanager
def _heard(said: list[str]) -> Iterator[None]:
    """Within this pixeltune's warnings are collected, a line each; all others are shown as always."""
    usual = warnings.showwarning

    def hear(message: Any, category: type[Warning], *where: Any, **line: Any) -> None:
        if category.__module__.startswith("pixeltune."):
            said.append(str(message))
        else:
            usual(message, category, *where, **line)

    with warnings.catch_warnings():  # which also forgets what was shown once already, in an earlier painting
        warnings.showwarning = hear
        yield
