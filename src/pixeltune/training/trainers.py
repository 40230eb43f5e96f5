"""TRL's trainer of an objective around one model, and what is to happen around its steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset
from PIL import Image
from transformers import Trainer, TrainingArguments
from transformers.trainer import DEFAULT_PROGRESS_CALLBACK

from pixeltune.adapter import ArtConfig, use_processor
from pixeltune.artwork.provenance import Provenance
from pixeltune.data.images import attach
from pixeltune.data.turns import each_turn
from pixeltune.engines.engine import Engine
from pixeltune.errors import UserError, first_line
from pixeltune.evaluation.in_process import InProcess
from pixeltune.model.sharding import asked_for
from pixeltune.training.callbacks import (
    CheckpointArtwork,
    Clock,
    HeldOutLoss,
    HeldOutScore,
    PixelProgress,
    SnapshotCallback,
    TurnBudget,
)
from pixeltune.training.compat.trainer_insides import mean_over_step, save_as_one
from pixeltune.training.compat.trl_insides import (
    declare_context_length,
    leave_out_model_cards,
    score_labelled_only,
)
from pixeltune.training.folder import SAMPLES, SNAPSHOTS
from pixeltune.training.key_tokens import weigh
from pixeltune.training.ledger import Ledger
from pixeltune.training.masks import AssistantOnly, has_turns
from pixeltune.training.objectives import OBJECTIVES, playing
from pixeltune.training.preparation import Preparation
from pixeltune.training.refill import refill
from pixeltune.training.rewards import each, summed
from pixeltune.training.rollouts import ask_engines, show_live_picture
from pixeltune.training.settings import PaintArguments
from pixeltune.training.spikes import SpikeGuard
from pixeltune.training.styling import LiveView, Styling


def make_trainer(
    ready: Preparation,
    model: Any,
    config: TrainingArguments,
    dataset: Dataset,
    art: ArtConfig,
    processor: Any,
) -> Any:
    """TRL's trainer of an objective for one model, which wears the artwork from then on.

    Raises:
        UserError: the trainer refuses a setting.
    """
    use_processor(model, processor)
    score_labelled_only()
    if ready.objective == "sft":
        mean_over_step(model)
    kind = OBJECTIVES[ready.objective].trainer
    if "environment_factory" in ready.rewards:
        declare_context_length(model)
        if ready.objective == "rloo":
            kind, config = OBJECTIVES["grpo"].trainer, playing(config)
    try:
        trainer = kind(
            model=model,
            args=config,
            train_dataset=dataset,
            # Without pictures in the rows the artwork is text to TRL; the adapter supplies the picture.
            processing_class=processor if ready.pictures else processor.tokenizer,
            peft_config=replace(art),
            **ready.rewards,
        )
    except ValueError as error:
        # Its checks are about settings; an environment, which it makes, may have an error of its own.
        if isinstance(error, UserError) or "environment_factory" in ready.rewards:
            raise
        raise UserError(f"{kind.__name__} does not take these settings: {first_line(error)}") from error
    if OBJECTIVES[ready.objective].signal == "contrast" and any(map(has_turns, dataset)):
        trainer.data_collator = AssistantOnly(trainer.data_collator, dataset, processor.tokenizer)
    if ready.key_tokens is not None:
        weigh(trainer, dataset, ready.key_tokens)
    leave_out_model_cards(trainer)
    if asked_for():
        save_as_one(trainer)
    return trainer


def connect_engines(
    trainer: Any, ready: Preparation, engines: Sequence[Engine], placed: Sequence[dict]
) -> None:
    """Let completions come from an engine, where one was asked for."""
    if getattr(trainer.args, "use_vllm", False):
        show_live_picture(trainer)
    if not engines:
        return
    prompts = [row["prompt"] for row in placed]
    if ready.pictures:
        stand_in = Image.fromarray(trainer.model.get_artwork_image())
        own = [row.get("images") or [] for row in ready.train_rows]
        prompts = [attach(p, [stand_in, *images]) for p, images in zip(prompts, own, strict=True)]
    ask_engines(trainer, engines, ready.train_rows, prompts)


def add_callbacks(
    trainers: dict[str, Any],
    ready: Preparation,
    arguments: PaintArguments,
    processor: Any,
    provenance: Callable[[Any], Provenance],
    ledger: Ledger,
    quiet: bool,
) -> None:
    """Add what is to happen around the steps of the first trainer, which has the optimiser.

    Scores come before snapshots, so that a snapshot knows the score of its own step.

    Args:
        trainers: by the names of their models.
        ready: with the held-out rows.
        arguments: how often.
        processor: of the models.
        provenance: of the picture at a `TrainerState`.
        ledger: of these trainers.
        quiet: no progress bar.
    """
    trainer, output = next(iter(trainers.values())), Path(next(iter(trainers.values())).args.output_dir)
    scores = partial(ledger.part, "scores")
    # Not the trainer's own log, which would put TRL's metrics of the steps into these entries.
    log = partial(Trainer.log, trainer)
    trainer.add_callback(Clock())
    trainer.remove_callback(DEFAULT_PROGRESS_CALLBACK)  # of terminals, or of notebooks
    if not quiet:
        trainer.add_callback(PixelProgress())
    if arguments.turn_budget_steps:
        trainer.add_callback(TurnBudget(*trainers.values(), steps=arguments.turn_budget_steps))
    if any(part.task is not None and part.held_out for part in ready.parts) and arguments.score_steps:
        backends = {
            "" if one is trainer else f"/{name}": InProcess(one.model, processor)
            for name, one in trainers.items()
        }
        settings = arguments.score_steps, log, output / SAMPLES, scores
        trainer.add_callback(HeldOutScore(ready.parts, backends, *settings))
    if ready.own and ready.held_out and OBJECTIVES[ready.objective].signal in ("completions", "contrast"):
        trainer.add_callback(
            HeldOutLoss(each_turn(ready.held_out), InProcess(trainer.model, processor), log, scores)
        )
    if arguments.snapshot_steps:
        every, folder = arguments.snapshot_steps, output / SNAPSHOTS
        trainer.add_callback(SnapshotCallback(every, folder, trainer, provenance))
    trainer.add_callback(CheckpointArtwork(provenance))
    if ready.style is not None:
        view = LiveView(trainer.model, processor)
        trainer.add_callback(Styling(ready.style, view, log, arguments.style_schedule, arguments.style_floor))
    if arguments.skip_spikes:
        trainer.add_callback(SpikeGuard(arguments.skip_spikes, log))  # after what adds to the gradient
    trainer.add_callback(ledger)  # at the end of a step after all that belongs to it


def refill_groups(trainers: dict[str, Any], ready: Preparation, placed: Sequence[dict], rounds: int) -> None:
    """Let every trainer ask other questions in place of those that teach nothing, if that was asked for."""
    for one in trainers.values() if rounds else ():
        reward = summed(each(ready.rewards["reward_funcs"]), one.args.reward_weights)
        refill(one, reward, placed, rounds)
