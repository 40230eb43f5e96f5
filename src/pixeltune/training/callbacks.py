"""What happens around training steps."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState
from transformers.trainer_callback import ExportableState

from pixeltune.adapter.guard import art_layer
from pixeltune.artwork.artwork import Artwork
from pixeltune.artwork.png import encode_png
from pixeltune.artwork.provenance import Provenance
from pixeltune.errors import UserError
from pixeltune.evaluation.contrast import add_ratios
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.scoring import mean_loss, result, score_rows
from pixeltune.model.sharding import is_sharded, put_back
from pixeltune.training.compat.trl_insides import limit_turns
from pixeltune.training.folder import ARTWORK, CARD
from pixeltune.training.joint import Part
from pixeltune.training.scores import LOSS, SCORE, logged
from pixeltune.training.trackers import log_picture
from pixeltune.writing import write_atomically


def log_beside(log: Callable[[dict], None], control: Any, values: dict[str, float]) -> None:
    """Log values of a callback's own at the end of a step, without losing the step's entry.

    Logging clears `control.should_log`, and the trainer's own entry, with the loss, is still to come.

    Args:
        log: a trainer's.
        control: the callback's `TrainerControl`.
        values: by name.
    """
    due = control.should_log
    log(values)
    control.should_log = due


def _asks(state: TrainerState, model: Any) -> bool:
    """Whether this process asks the model: the first one, and with it the others where each holds a part of it."""
    return state.is_world_process_zero or is_sharded(model)


class SnapshotCallback(TrainerCallback):
    """Save the picture as `folder/step-000123.png` every `every` steps, before the first, after the last."""

    def __init__(
        self,
        every: int,
        folder: str | Path,
        trainer: Any = None,
        provenance: Callable[[TrainerState], Provenance] | None = None,
    ) -> None:
        """
        Args:
            every: optimiser steps between two snapshots.
            folder: for the files; made if it is not there.
            trainer: its trackers (`report_to`) get the snapshots too. None: files only.
            provenance: of the picture as it is in a state of the training: then snapshots are artworks, to be
                shown, scored, mixed and served. None: pictures only.

        Raises:
            ValueError: `every` is not positive.
        """
        if every < 1:
            raise UserError(f"a snapshot every {every} steps makes no sense, give 1 or more")
        self.every = every
        self.folder = Path(folder)
        self.trainer, self.provenance = trainer, provenance

    def on_train_begin(self, args, state, control, model=None, **kwargs) -> None:
        if state.is_world_process_zero and state.global_step == 0:
            self._save(model, state)

    def on_step_end(self, args, state, control, model=None, **kwargs) -> None:
        last = state.global_step >= state.max_steps
        if state.is_world_process_zero and (last or state.global_step % self.every == 0):
            self._save(model, state)

    def _save(self, model: Any, state: TrainerState) -> None:
        pixels, path = art_layer(model).canvas().to_uint8(), self.folder / f"step-{state.global_step:06d}.png"
        if self.provenance is None:
            write_atomically(path, encode_png(pixels, {}))
        else:
            Artwork(pixels, self.provenance(state)).save(path)
        if self.trainer is not None:
            log_picture(self.trainer.callback_handler.callbacks, pixels, state.global_step)


class CheckpointArtwork(TrainerCallback):
    """Lay the artwork and its card into every checkpoint, so that one can be looked at, scored and served."""

    def __init__(self, provenance: Callable[[TrainerState], Provenance]) -> None:
        """
        Args:
            provenance: of the picture as it is in a state of the training.
        """
        self.provenance = provenance

    def on_save(self, args, state, control, model=None, **kwargs) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if state.is_world_process_zero and folder.is_dir():
            artwork = Artwork(art_layer(model).canvas().to_uint8(), self.provenance(state))
            artwork.save(folder / ARTWORK)
            write_atomically(folder / CARD, artwork.card())


class HeldOutScore(TrainerCallback):
    """Score the live artwork on held-out rows before the first step, every `every` steps and at the end.

    Logged as `held_out_score`, with its 95 % interval as `held_out_low` and `held_out_high`. What was said to
    the first `SAMPLES` rows is kept as `folder/step-000123.json`, for the start picture `step-000000.json`, and of
    each token how much likelier it is with the picture than with text alone. Of several tasks each has its own score,
    `held_out_score/NAME`, and `held_out_score` is that of all rows together.
    """

    SAMPLES = 6

    def __init__(
        self,
        parts: Sequence[Part],
        backends: dict[str, InProcess],
        every: int,
        log: Callable[[dict], None],
        folder: Path,
        within: Callable[[], AbstractContextManager] = nullcontext,
    ) -> None:
        """
        Args:
            parts: what it is asked: held-out rows, each task's own.
            backends: the models that wear the artwork, by what stands behind the names of what is logged and of
                the folder: nothing for the first, such as ``/NAME`` for further ones.
            every: steps between scores, at least 1.
            log: the trainer's `log`, which passes the score on to whatever `report_to` names.
            folder: where samples go.
            within: what it is scored in, such as a part of a ledger's.
        """
        self.parts = [part for part in parts if part.task is not None and part.held_out]
        self.backends, self.every, self.log = backends, every, log
        self.folder, self.within = folder, within

    def on_train_begin(self, args, state, control, model=None, **kwargs) -> None:
        if state.global_step == 0 and _asks(state, model):
            self._score(state, control)
            put_back(model)

    def on_step_end(self, args, state, control, model=None, **kwargs) -> None:
        last = state.global_step >= state.max_steps
        if (last or state.global_step % self.every == 0) and _asks(state, model):
            self._score(state, control)
            put_back(model)

    def _score(self, state: TrainerState, control: TrainerControl) -> None:
        for aside, backend in self.backends.items():
            with self.within():
                results = {part.name: score_rows(part.task, part.held_out, backend) for part in self.parts}
                each, said = max(1, self.SAMPLES // max(1, len(results))), []
                for part in self.parts:
                    some = results[part.name].records[:each]
                    add_ratios(part.task, part.held_out, [], backend, some)
                    said += some
            records = [record for one in results.values() for record in one.records]
            read = {f"{name}{aside}": value for name, value in logged(result(records)).items()}
            for name_of_part, one in results.items() if len(results) > 1 else ():
                read |= {f"{name}{aside}/{name_of_part}": value for name, value in logged(one).items()}
            log_beside(self.log, control, read)
            if state.is_world_process_zero:
                self._keep(Path(f"{self.folder}{aside}"), state.global_step, said)

    def _keep(self, folder: Path, step: int, records: list[dict]) -> None:
        kept = ("id", "prompt", "completions", "score", "ratios")
        said = [{key: record[key] for key in kept if key in record} for record in records]
        write_atomically(folder / f"step-{step:06d}.json", json.dumps(said, indent=1) + "\n")


class HeldOutLoss(TrainerCallback):
    """Loss of the reference completions of held-out rows, before the first step and at the end.

    Logged as `held_out_loss`, nats per token, what a training's `loss` is for supervised fine-tuning.
    """

    def __init__(
        self,
        rows: list[dict],
        backend: InProcess,
        log: Callable[[dict], None],
        within: Callable[[], AbstractContextManager] = nullcontext,
    ) -> None:
        """
        Args:
            rows: with `prompt` and `completion`.
            backend: the model that wears the artwork.
            log, within: as of `HeldOutScore`.
        """
        self.rows, self.backend, self.log, self.within = rows, backend, log, within

    def on_train_begin(self, args, state, control, model=None, **kwargs) -> None:
        if state.global_step == 0 and _asks(state, model):
            self._log(control)
            put_back(model)

    def on_step_end(self, args, state, control, model=None, **kwargs) -> None:
        if state.global_step >= state.max_steps and _asks(state, model):
            self._log(control)
            put_back(model)

    def _log(self, control: TrainerControl) -> None:
        with self.within():
            loss = mean_loss(self.backend, self.rows)
        log_beside(self.log, control, {LOSS: loss})


class Clock(TrainerCallback, ExportableState):
    """Write into each entry of the log history how long the run had taken: `seconds`.

    Wall time of the training loop with whatever callbacks do in it. It is a part of checkpoints, so that a
    resumed run goes on counting where its checkpoint was saved.
    """

    before = 0.0  # seconds, of earlier sessions
    begin: float | None = None

    def state(self) -> dict:
        """What a checkpoint holds."""
        return {"args": {}, "attributes": {"before": self.seconds()}}

    def seconds(self) -> float:
        """So far, in all sessions."""
        return self.before + (0.0 if self.begin is None else time.monotonic() - self.begin)

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        held = state.stateful_callbacks["Clock"]
        self.before, self.begin = held["attributes"]["before"], time.monotonic()

    def on_log(self, args, state, control, **kwargs) -> None:
        state.log_history[-1]["seconds"] = round(self.seconds(), 3)


class TurnBudget(TrainerCallback):
    """Let the calls that an episode may make, one after another, grow from 1 to the trainer's own limit.

    Short episodes first: while a model still fails at the first call, long ones only cost time.
    """

    def __init__(self, *trainers: Any, steps: int) -> None:
        """
        Args:
            trainers: TRL's GRPO trainers, of one config; its `max_tool_calling_iterations` is the last budget.
            steps: after how many the budget is all of that.

        Raises:
            ValueError: there is no limit to grow to.
        """
        self.trainers, self.steps = trainers, steps
        self.last = trainers[0].args.max_tool_calling_iterations
        if not self.last:
            raise UserError("--turn_budget_steps needs a budget to grow to: --max_tool_calling_iterations")

    def on_step_begin(self, args, state, control, **kwargs) -> None:
        share = min(1.0, state.global_step / self.steps)
        for trainer in self.trainers:
            limit_turns(trainer, 1 + int(share * (self.last - 1)))


class PixelProgress(TrainerCallback):
    """A progress bar with the newest loss, reward and held-out score."""

    bar: tqdm | None = None

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self.shown: dict[str, str] = {}
        shown = state.is_world_process_zero
        self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc="painting", disable=not shown)

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        for name in ("loss", "reward", SCORE):
            if (logs or {}).get(name) is not None:  # TRL logs no reward where every episode was left out
                self.shown[name] = f"{float(logs[name]):.3f}"
        self.bar.set_postfix(self.shown)

    def release(self) -> None:
        """End the bar's line; also after a training that ended in an error, whose message would go on in it."""
        if self.bar is not None:
            self.bar.close()


class StopSignal(TrainerCallback):
    """SIGINT and SIGTERM end training after the running step, with a checkpoint to resume from."""

    stopped = False

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        if threading.current_thread() is threading.main_thread():  # the only one that may set handlers
            self._before = {s: signal.signal(s, self._stop) for s in (signal.SIGINT, signal.SIGTERM)}

    def _stop(self, number: int, frame: Any) -> None:
        self.stopped = True
        for known, handler in self._before.items():
            signal.signal(known, handler)  # a second Ctrl-C ends it at once

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if self.stopped:
            control.should_training_stop = control.should_save = True

    def release(self) -> None:
        """Set the handlers back that were there before; also for a training that ended in an error."""
        for known, handler in getattr(self, "_before", {}).items():
            signal.signal(known, handler)
