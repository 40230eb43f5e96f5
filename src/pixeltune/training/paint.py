"""Painting an artwork with one of TRL's trainers, unmodified: the frozen model, one canvas, a task's rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import TrainerState, TrainingArguments

from pixeltune.adapter.guard import why_unchanged
from pixeltune.artwork.artwork import Artwork
from pixeltune.artwork.provenance import Provenance
from pixeltune.data.contexts import CONTEXTS, OWN, alone, write_contexts
from pixeltune.engines.engine import Engine
from pixeltune.engines.replies import EngineError
from pixeltune.errors import RunError, UserError, first_line
from pixeltune.model.finding import public_name
from pixeltune.model.loading import load_model, load_processor, weights_sha256
from pixeltune.model.preprocessing import Preprocessor
from pixeltune.model.sharding import asked_for
from pixeltune.training import own_rows, provenance, report
from pixeltune.training.arguments import read_settings
from pixeltune.training.balance import balance
from pixeltune.training.callbacks import PixelProgress, StopSignal
from pixeltune.training.compat.trainer_insides import save_checkpoint
from pixeltune.training.compat.warnings import quiet_libraries
from pixeltune.training.ensemble import check_alike, check_weights, join
from pixeltune.training.folder import ARTWORK, CARD, HISTORY, STATE, clear
from pixeltune.training.histories import with_histories
from pixeltune.training.ledger import Ledger
from pixeltune.training.lengths import context
from pixeltune.training.memory import Shares, explained, is_out_of_memory
from pixeltune.training.preparation import prepare
from pixeltune.training.resumption import RunRecord, check_resumed, check_whole, record_of
from pixeltune.training.rows import check, place_rows
from pixeltune.training.scores import held_out_scores
from pixeltune.training.settings import PaintArguments
from pixeltune.training.table import as_dataset
from pixeltune.training.teacher import Teacher, check_differs, check_reader, load_teacher, model_of
from pixeltune.training.trainers import add_callbacks, connect_engines, make_trainer, refill_groups
from pixeltune.training.trial import try_reward
from pixeltune.writing import write_atomically

RETRIES = 5  # of a request for a rollout: about fifteen seconds of waiting in all


def paint(objective: str = "sft", *, quiet: bool = False, **settings: Any) -> Painting:
    """Paint one artwork.

        painting = paint(model="tiny", task="sums", max_steps=40, learning_rate=0.06, output_dir="runs/sums")
        painting.artwork.save("sums.png")

    Args:
        objective: "sft", "dpo", "kto", "grpo", "rloo" or "distill".
        quiet: no progress bar, and not a word.
        settings: by name those of `PaintArguments` (what, for which model, from which rows) and of TRL's
            config of the objective (how), as the flags of ``pixeltune sft``. Defaults are a working run.

    Returns:
        The painting, finished or interrupted.

    Raises:
        UserError: anything wrong with settings, data, pictures or sizes; before training starts.
        RunError: the base weights changed, or the pixels did not (then nothing is written); or memory ran
            out.
    """
    painting = Painting(objective, *read_settings(objective, settings), quiet=quiet)
    with quiet_libraries(), explained(painting.arguments, painting.config):
        painting.prepare()
        painting.build()
        painting.train()
        painting.finish()
    return painting


class Painting:
    """One run, from settings to artwork, in four stages; each needs what the one before it made."""

    artwork: Artwork
    """As it was when training ended; also in ``output_dir/artwork.png`` where it went to its end."""
    finished: bool = False
    """False until training went to its end; where it was interrupted, a checkpoint was saved."""

    def __init__(
        self, objective: str, arguments: PaintArguments, config: TrainingArguments, quiet: bool = False
    ) -> None:
        """
        Args:
            objective: one of `OBJECTIVES`.
            arguments: what, for which model, from which rows.
            config: TRL's, of that objective.
            quiet: no progress bar, and not a word.
        """
        self.objective, self.arguments, self.config, self.quiet = objective, arguments, config, quiet
        self.trainers: dict[str, Any] = {}
        self.teacher: Teacher | None = None
        self.ledger: Ledger | None = None

    @property
    def output_dir(self) -> Path:
        """The folder of the run."""
        return Path(self.config.output_dir)

    @property
    def trainer(self) -> Any:
        """TRL's, which has the optimiser; with several models the first one's."""
        return next(iter(self.trainers.values()))

    @property
    def model(self) -> Any:
        """The first model, which wears the artwork."""
        return self.trainer.model

    @property
    def history(self) -> list[dict[str, Any]]:
        """The trainer's log so far."""
        return self.trainer.state.log_history if self.trainers else []

    @property
    def step(self) -> int:
        """How many steps were taken so far, in all sessions."""
        return self.trainer.state.global_step if self.trainers else 0

    @property
    def scores(self) -> dict[str, Any]:
        """Held-out scores before and after, with intervals, as in the artwork's provenance."""
        return held_out_scores(self.history, self.scored, self.step) if self.trainers else {}

    @property
    def scored(self) -> dict[str, int]:
        """How many held-out rows of each task, or file, have a score."""
        return {part.name: len(part.held_out) for part in self.ready.parts if part.task is not None}

    def __repr__(self) -> str:
        return report.described(self)

    def prepare(self, writes: bool = True) -> None:
        """Look at everything that can be found wrong before the model loads.

        Args:
            writes: whether the run is to write into its folder, which then must hold no other run.
        """
        arguments = self.arguments
        self.ready = prepare(self.objective, arguments, self.config, writes)
        if self.ready.checkpoint is not None:
            check_whole(self.ready.checkpoint, self.config)
        self.art = arguments.artwork(self.config.seed)
        self.engines = [Engine(url, retries=RETRIES) for url in arguments.rollouts]
        self.processor = load_processor(arguments.model, arguments.revision)
        preprocessor = Preprocessor(self.processor)
        for name in arguments.also:
            check_alike(name, Preprocessor(load_processor(name)), arguments.model, preprocessor)
        self.reader = None
        if name := model_of(arguments):
            self.reader = check_reader(name, self.processor, arguments.model, arguments.revision)
        limit = context(arguments)
        self.art.resolve_size(preprocessor, limit)  # a size that would be resized is refused now
        self.block = self.art.block(preprocessor)
        self.first = self.art.canvas().to_uint8()  # and so are pictures that cannot be used at this size
        check(self.ready, self.processor, self.block, self.config, limit)
        try_reward(self.ready, arguments.reward, self.config, self.art, self.block, self.processor)
        self.record = record_of(self.ready, arguments, self.config, self.art)
        if self.ready.checkpoint is not None:
            check_resumed(self.ready.checkpoint, self.record)

    def build(self) -> None:
        """Load the models and give each its trainer."""
        arguments, config = self.arguments, self.config
        how = arguments.dtype, arguments.bits, arguments.device_map
        model = load_model(arguments.model, arguments.revision, *how)
        models = {public_name(arguments.model): model}
        for name in arguments.also:
            further = load_model(name, None, *how)
            check_weights(name, further, arguments.model, model)
            models[public_name(name)] = further
        self.models, self.hashes = models, _hashes(models)
        if arguments.contexts == OWN and not self.ready.contexts:
            self.ready = with_histories(
                self.ready, arguments, config, self.art, self.processor, model, self.quiet
            )
            check(self.ready, self.processor, self.block, config, context(arguments))
            self.record = record_of(self.ready, arguments, config, self.art)
        placed, self.tokens = place_rows(
            self.ready, self.art, self.block, self.processor, model, self.quiet, self.reader
        )
        if arguments.teacher:
            self.teacher = load_teacher(arguments, model)
            first, tokenizer = placed[0]["privileged_context"], self.processor.tokenizer
            check_differs(self.teacher.model, model, first, tokenizer, arguments.teacher)
        dataset = as_dataset(placed)
        self.trainers = {
            name: make_trainer(self.ready, base, config, dataset, self.art, self.processor)
            for name, base in models.items()
        }
        if self.teacher is not None:
            self.trainer.learn_from(self.teacher.model)
        if arguments.balance:
            balance(self.trainers, self.ready.parts)
        if others := dict(list(self.trainers.items())[1:]):
            join(self.trainer, others)
        # Before others wrap what it counts in: completions that are drawn in the place of others cost, too.
        self.ledger = Ledger(list(self.trainers.values()), self.teacher and self.teacher.model)
        self.trainer.add_callback(stop := StopSignal())
        self.stop = stop
        self.trainer.add_callback(RunRecord(self.record))
        if asked_for():
            self.trainer.add_callback(Shares(self.say))
        connect_engines(self.trainer, self.ready, self.engines, placed)
        refill_groups(self.trainers, self.ready, placed, arguments.refill_rounds)
        add_callbacks(
            self.trainers,
            self.ready,
            arguments,
            self.processor,
            self.provenance,
            self.ledger,
            quiet=self.quiet,
        )

    def train(self) -> None:
        """Take the steps.

        Raises:
            EngineError: no engine writes completions any more; a checkpoint was saved.
            Exception: a library's, or of the user's reward; a checkpoint was saved, as a note says.
        """
        if self.trainer.is_world_process_zero():
            clear(self.output_dir, self.ready.checkpoint)
            if self.ready.own:
                rows = [alone(row) for row in self.ready.train_rows], self.ready.held_out
                files = [share.name for share in self.arguments.shares]
                own_rows.keep(self.output_dir, self.objective, files, *rows, self.arguments.columns)
            if self.arguments.contexts == OWN:
                write_contexts(self.output_dir / CONTEXTS, self.ready.contexts)
            self.say(report.beginning(self))
        checkpoint = self.ready.checkpoint
        try:
            self.trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        except EngineError as error:
            if self.step == 0:
                raise
            raise EngineError(f"{error}. {self._save()}") from error
        except UserError:
            raise
        except Exception as error:
            # One process that saves alone would wait for the others for ever.
            if self.step and self.config.world_size == 1 and not is_out_of_memory(error):
                error.add_note(self._try_to_save())
            raise
        finally:
            if self.ledger is not None:
                self.ledger.release()
            for one in self.trainer.callback_handler.callbacks:
                if isinstance(one, StopSignal | PixelProgress):
                    one.release()

    def _save(self) -> str:
        """Save a checkpoint in mid-step, unless the step was saved at its end; returns how to go on."""
        if not (self.output_dir / f"checkpoint-{self.step}" / STATE).is_file():
            save_checkpoint(self.trainer)
        return (
            f"Step {self.step} is saved; go on with the same settings and --resume_from_checkpoint true "
            f"--output_dir {self.output_dir}"
        )

    def _try_to_save(self) -> str:
        """As `_save`; what went wrong may be in the way of that too, and is what is to be seen."""
        try:
            return self._save()
        except Exception as error:
            return f"Step {self.step} could not be saved: {first_line(error)}"

    def finish(self) -> None:
        """Make the artwork, and write it where training went to its end.

        Raises:
            RunError: the base weights changed, or the pixels did not; nothing is written.
        """
        pixels = self.model.get_artwork_image()
        if _hashes(self.models) != self.hashes:
            raise RunError("the base weights changed during training; the artwork is not saved")
        if not self.stop.stopped and (pixels == self.first).all():
            raise RunError(f"not one pixel changed, the artwork is not saved: {why_unchanged(self.trainer)}")
        self.artwork = Artwork(pixels, self.provenance(self.trainer.state))
        self.finished = not self.stop.stopped
        if not self.finished:
            return
        self.trainer.save_model()
        if self.trainer.is_world_process_zero():
            # The newest checkpoint holds the log only up to its own step, and there may be none.
            write_atomically(self.output_dir / HISTORY, json.dumps(self.history, indent=1) + "\n")
            write_atomically(self.output_dir / CARD, self.artwork.card())
            self.artwork.save(self.output_dir / ARTWORK)
            self.say(report.end(self))

    def provenance(self, state: TrainerState) -> Provenance:
        """Of the picture as it is in a state of the training."""
        return provenance.compose(
            provenance.of_models(self.models, self.hashes, self.arguments.revision),
            provenance.of_picture(self.art, Preprocessor(self.processor), self.arguments.licence),
            provenance.of_run(self.ready, self.arguments, self.config, self.tokens),
            steps=state.global_step,
            scores=held_out_scores(state.log_history, self.scored, state.global_step),
        )

    def say(self, text: str) -> None:
        """Print, unless the run is to be quiet."""
        if not self.quiet:
            print(text, flush=True)


def _hashes(models: dict[str, Any]) -> dict[str, str]:
    return {name: weights_sha256(model) for name, model in models.items()}
