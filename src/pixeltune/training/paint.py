"""Painting an artwork with one of TRL's trainers, unmodified: the frozen model, one canvas, a task's rows."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset
from datasets import Image as ImageColumn
from datasets import List as ListColumn
from PIL import Image
from tqdm import tqdm
from transformers import ProgressCallback, Trainer, TrainingArguments

from pixeltune.adapter import ArtConfig
from pixeltune.artwork.artwork import Artwork
from pixeltune.data.images import attach, place_pictures
from pixeltune.data.placement import place_row
from pixeltune.data.rows import each_turn
from pixeltune.engines.engine import Engine, EngineError
from pixeltune.errors import RunError
from pixeltune.evaluation.backends import InProcess
from pixeltune.evaluation.scoring import score_rows
from pixeltune.model.loading import load_model, load_processor, public_name, weights_sha256
from pixeltune.model.preprocessing import Preprocessor
from pixeltune.training.arguments import ArtArguments, parse
from pixeltune.training.callbacks import (
    Clock,
    HeldOutScore,
    PixelProgress,
    SnapshotCallback,
    StopSignal,
    TurnBudget,
)
from pixeltune.training.distillation import prompt_tokens, teacher_rows
from pixeltune.training.ensemble import check_alike, check_weights, join
from pixeltune.training.objectives import (
    OBJECTIVES,
    contrast,
    declare_context_length,
    rendered,
)
from pixeltune.training.preparation import Preparation, prepare
from pixeltune.training.provenance import provenance
from pixeltune.training.refill import refill
from pixeltune.training.rollouts import ask_engines, show_live_picture
from pixeltune.training.styling import LiveView, Styling
from pixeltune.writing import write_atomically

RETRIES = 5  # of a request for a rollout: about fifteen seconds of waiting in all


def place_rows(
    verb: str,
    ready: Preparation,
    art: ArtConfig,
    block: str,
    model: Any,
    processor: Any,
    quiet: bool,
) -> tuple[list[dict], dict[str, float] | None]:
    """The rows as the trainer takes them, with the artwork in its place.

    Where rows have pictures of their own, these go through TRL's column ``images`` and the processor, and so
    does a stand-in for the artwork in front of them; else the artwork is text to TRL.

    Returns:
        The rows; where a teacher's words are replaced, prompt tokens per request with and without them.
    """
    signal, rows = OBJECTIVES[verb].signal, ready.train_rows
    if signal == "teacher":
        placed = teacher_rows(rows, ready.instruction, block, processor)
        return placed, prompt_tokens(placed, processor.tokenizer)
    if signal == "contrast" and ready.task is not None:
        picture = art.canvas().to_uint8()
        system = InProcess(model, processor, Image.fromarray(picture))
        with tqdm(total=len(rows), desc="own answers", disable=quiet) as bar:
            habits = score_rows(ready.task, rows, system, progress=lambda done, _: bar.update(done - bar.n))
        said, scores = zip(*[(r["completions"][0], r["score"]) for r in habits.records], strict=True)
        rows = contrast(rows, said, scores, OBJECTIVES[verb], art.seed)
    if signal == "completions":
        rows = each_turn(rows)
    if ready.pictures:
        placed = place_pictures(rows, Image.fromarray(art.canvas().to_uint8()))
    else:
        placed = [place_row(row, block) for row in rows]
    if signal == "rewards":
        placed = rendered(placed, processor, environment="environment_factory" in ready.rewards)
    return placed, None


def make_trainer(
    verb: str,
    model: Any,
    config: TrainingArguments,
    dataset: Dataset,
    ready: Preparation,
    art: ArtConfig,
    processor: Any,
) -> Any:
    """TRL's trainer of an objective for one model, which wears the artwork from then on."""
    if verb == "sft":
        # Let TRL divide its loss by the tokens of the whole step, over batches and processes. Qwen's classes
        # forbid it because of their own loss, which TRL does not use (transformers #37208): without this, two
        # small batches are the mean of their means, and not one large batch.
        model.accepts_loss_kwargs = True
    if "environment_factory" in ready.rewards:
        declare_context_length(model)
    return OBJECTIVES[verb].trainer(
        model=model,
        args=config,
        train_dataset=dataset,
        # Without pictures in the rows the artwork is text to TRL; the adapter supplies the picture.
        processing_class=processor if ready.pictures else processor.tokenizer,
        peft_config=replace(art),
        **ready.rewards,
    )


def equip(
    trainers: dict[str, Any],
    ready: Preparation,
    arguments: ArtArguments,
    engines: list[Engine],
    placed: list[dict],
    processor: Any,
    quiet: bool,
) -> None:
    """Give trainers, the one with the optimiser first, their engines and what is to happen around steps."""
    trainer = next(iter(trainers.values()))
    if getattr(trainer.args, "use_vllm", False):
        show_live_picture(trainer)
    if engines:
        prompts = [row["prompt"] for row in placed]
        if ready.pictures:
            stand_in = Image.fromarray(trainer.model.get_artwork_image())
            own = [row.get("images") or [] for row in ready.train_rows]
            prompts = [attach(p, [stand_in, *images]) for p, images in zip(prompts, own, strict=True)]
        ask_engines(trainer, engines, ready.train_rows, prompts)
    for one in trainers.values():
        if arguments.refill_rounds:
            refill(one, ready.rewards["reward_funcs"], placed, arguments.refill_rounds)
        if arguments.turn_budget_steps:
            trainer.add_callback(TurnBudget(one, arguments.turn_budget_steps))
    output = Path(trainer.args.output_dir)
    trainer.add_callback(Clock())
    trainer.remove_callback(ProgressCallback)
    if not quiet:
        trainer.add_callback(PixelProgress())
    if arguments.snapshot_steps:
        trainer.add_callback(SnapshotCallback(arguments.snapshot_steps, output / "snapshots", trainer))
    if ready.task is not None and ready.held_out and arguments.score_steps:
        for name, one in trainers.items():
            system, aside = InProcess(one.model, processor), "" if one is trainer else f"/{name}"
            samples = output / f"samples{aside}"
            settings = arguments.score_steps, trainer.log, samples, f"held_out_score{aside}"
            trainer.add_callback(HeldOutScore(ready.task, ready.held_out, system, *settings))
    if ready.style is not None:
        # Not the trainer's own log, which would put TRL's metrics of the step into this entry.
        log = partial(Trainer.log, trainer)
        view = LiveView(trainer.model, processor)
        trainer.add_callback(Styling(ready.style, view, log, arguments.style_schedule, arguments.style_floor))


def paint(
    verb: str, arguments: ArtArguments, config: TrainingArguments, quiet: bool = False
) -> tuple[Artwork, Any, bool]:
    """Paint one artwork.

    Args:
        verb: the objective, one of `OBJECTIVES`.
        arguments: what, for which model, from which rows.
        config: TRL's, of that objective.
        quiet: no progress bar.

    Returns:
        The artwork (also in ``output_dir/artwork.png``), the model that wears it, and whether training
        went to its end (False: it was interrupted; a checkpoint was saved and no artwork written).

    Raises:
        ValueError: for anything wrong with arguments, data, pictures or sizes; before training starts.
        RuntimeError: the base weights changed, or the pixels did not: then nothing is written.
    """
    ready = prepare(verb, arguments, config)
    art = ArtConfig(
        image_tokens=arguments.image_tokens,
        height=arguments.height,
        width=arguments.width,
        start=arguments.start,
        backdrop=arguments.backdrop,
        fit=arguments.fit,
        bound=arguments.bound,
        mask=arguments.mask,
        cells=arguments.cells,
        parametrisation=arguments.parametrisation,
        robust=arguments.robust,
        seed=config.seed,
    )
    engines = [Engine(url, retries=RETRIES) for url in arguments.rollouts]
    processor = load_processor(arguments.model, arguments.revision)
    preprocessor = Preprocessor(processor)
    for name in arguments.also:
        check_alike(name, Preprocessor(load_processor(name)), arguments.model, preprocessor)
    block = art.block(preprocessor)  # a size that would be resized is refused now
    art.canvas()  # and so are pictures that cannot be used at this size
    how = arguments.dtype, arguments.bits, arguments.device_map
    model = load_model(arguments.model, arguments.revision, *how)
    models = {public_name(arguments.model): model}
    for name in arguments.also:
        further = load_model(name, None, *how)
        check_weights(name, further, arguments.model, model)
        models[public_name(name)] = further
    before = {name: weights_sha256(base) for name, base in models.items()}

    placed, tokens = place_rows(verb, ready, art, block, model, processor, quiet)
    dataset = Dataset.from_list(placed)
    if ready.pictures:
        dataset = dataset.cast_column("images", ListColumn(ImageColumn(mode="RGB")))
    trainers = {
        name: make_trainer(verb, base, config, dataset, ready, art, processor)
        for name, base in models.items()
    }
    (_, trainer), *others = trainers.items()
    if others:
        join(trainer, dict(others))
    trainer.add_callback(stop := StopSignal())
    equip(trainers, ready, arguments, engines, placed, processor, quiet)
    first = trainer.model.get_artwork_image()
    try:
        trainer.train(resume_from_checkpoint=ready.checkpoint)
    except EngineError as error:
        if trainer.state.global_step == 0:
            raise
        trainer._save_checkpoint(trainer.model, trial=None)
        raise EngineError(
            f"{error}. Step {trainer.state.global_step} is saved; go on with --resume_from_checkpoint true "
            f"--output_dir {config.output_dir}"
        ) from error

    pixels = trainer.model.get_artwork_image()
    if {name: weights_sha256(base) for name, base in models.items()} != before:
        raise RunError("the base weights changed during training; the artwork is not saved")
    if not stop.stopped and ready.checkpoint is None and (pixels == first).all():
        raise RunError("not one pixel changed: raise --learning_rate; the artwork is not saved")
    steps = trainer.state.global_step
    artwork = Artwork(
        pixels,
        provenance(verb, arguments, config, ready, art, model, preprocessor, before, steps, tokens),
    )
    if not stop.stopped:
        trainer.save_model()
        if trainer.is_world_process_zero():
            # The newest checkpoint holds it only up to its own step, and there may be none.
            log = json.dumps(trainer.state.log_history, indent=1) + "\n"
            write_atomically(Path(config.output_dir) / "log_history.json", log)
            artwork.save(Path(config.output_dir) / "artwork.png")
    return artwork, trainer.model, not stop.stopped


def run(verb: str, argv: list[str]) -> int:
    """``pixeltune sft``, ``dpo``, ``kto``, ``grpo``, ``rloo`` or ``distill``."""
    arguments, config = parse(verb, argv)
    artwork, _, finished = paint(verb, arguments, config)
    if config.process_index > 0:
        return 0 if finished else 130
    if not finished:
        print(f"Interrupted. Go on with: --resume_from_checkpoint true --output_dir {config.output_dir}")
        return 130
    if tokens := artwork.provenance.training.get("prompt_tokens"):
        line = "prompt tokens per request: {words} in words, {artwork} with the artwork, {saved} saved"
        print(line.format(**tokens))
    print(f"{Path(config.output_dir) / 'artwork.png'}")
    return 0
