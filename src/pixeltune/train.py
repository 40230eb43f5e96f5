"""Painting an artwork with one of TRL's trainers, unmodified: the frozen model, one canvas, a task's rows."""

from __future__ import annotations

import datetime
import json
from functools import partial
from pathlib import Path
from typing import Any

from pixeltune.torchvision_cpu import declare_operators

declare_operators()

from datasets import Dataset  # noqa: E402
from datasets import Image as ImageColumn  # noqa: E402
from datasets import List as ListColumn  # noqa: E402
from PIL import Image  # noqa: E402
from tqdm import tqdm  # noqa: E402
from transformers import ProgressCallback, Trainer, TrainingArguments  # noqa: E402

from pixeltune.adapter import ArtConfig  # noqa: E402
from pixeltune.arguments import ArtArguments, parse  # noqa: E402
from pixeltune.artwork import Artwork, Provenance  # noqa: E402
from pixeltune.attachments import attach, place_pictures  # noqa: E402
from pixeltune.base import load_model, load_processor, template_sha256, weights_sha256  # noqa: E402
from pixeltune.callbacks import (  # noqa: E402
    Clock,
    HeldOutScore,
    PixelProgress,
    SnapshotCallback,
    StopSignal,
    TurnBudget,
)
from pixeltune.distillation import prompt_tokens, teacher_rows  # noqa: E402
from pixeltune.engine import Engine, EngineError  # noqa: E402
from pixeltune.evaluate import evaluate  # noqa: E402
from pixeltune.files import write_atomically  # noqa: E402
from pixeltune.objectives import (  # noqa: E402
    OBJECTIVES,
    contrast,
    declare_context_length,
    rendered,
)
from pixeltune.pictures import STARTS  # noqa: E402
from pixeltune.placement import PLACEMENT, place_row  # noqa: E402
from pixeltune.preparation import Preparation, prepare  # noqa: E402
from pixeltune.refill import refill  # noqa: E402
from pixeltune.rollouts import ask_engines, show_live_picture  # noqa: E402
from pixeltune.rows import each_turn  # noqa: E402
from pixeltune.sight import Sight  # noqa: E402
from pixeltune.style import without_folders  # noqa: E402
from pixeltune.styling import LiveView, Styling  # noqa: E402
from pixeltune.systems import Local  # noqa: E402

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
        system = Local(model, processor, Image.fromarray(picture))
        with tqdm(total=len(rows), desc="own answers", disable=quiet) as bar:
            habits = evaluate(ready.task, rows, system, progress=lambda done, _: bar.update(done - bar.n))
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


def equip(
    trainer: Any,
    ready: Preparation,
    arguments: ArtArguments,
    engines: list[Engine],
    placed: list[dict],
    processor: Any,
    quiet: bool,
) -> None:
    """Give a trainer its engines and what is to happen around its steps."""
    if getattr(trainer.args, "use_vllm", False):
        show_live_picture(trainer)
    if engines:
        prompts = [row["prompt"] for row in placed]
        if ready.pictures:
            stand_in = Image.fromarray(trainer.model.get_artwork_image())
            own = [row.get("images") or [] for row in ready.train_rows]
            prompts = [attach(p, [stand_in, *images]) for p, images in zip(prompts, own, strict=True)]
        ask_engines(trainer, engines, ready.train_rows, prompts)
    if arguments.refill_rounds:
        refill(trainer, ready.rewards["reward_funcs"], placed, arguments.refill_rounds)
    if arguments.turn_budget_steps:
        trainer.add_callback(TurnBudget(trainer, arguments.turn_budget_steps))
    output = Path(trainer.args.output_dir)
    trainer.add_callback(Clock())
    trainer.remove_callback(ProgressCallback)
    if not quiet:
        trainer.add_callback(PixelProgress())
    if arguments.snapshot_steps:
        trainer.add_callback(SnapshotCallback(arguments.snapshot_steps, output / "snapshots", trainer))
    if ready.task is not None and ready.held_out and arguments.score_steps:
        system = Local(trainer.model, processor)
        every, samples = arguments.score_steps, output / "samples"
        score = HeldOutScore(ready.task, ready.held_out, system, every, trainer.log, samples)
        trainer.add_callback(score)
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
    objective = OBJECTIVES[verb]
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
    sight = Sight(processor)
    block = art.block(sight)  # a size that would be resized is refused now
    art.canvas()  # and so are pictures that cannot be used at this size
    model = load_model(arguments.model, arguments.revision, arguments.dtype, arguments.bits)
    before = weights_sha256(model)
    if verb == "sft":
        # Let TRL divide its loss by the tokens of the whole step, over batches and processes. Qwen's classes
        # forbid it because of their own loss, which TRL does not use (transformers #37208): without this, two
        # small batches are the mean of their means, and not one large batch.
        model.accepts_loss_kwargs = True

    placed, tokens = place_rows(verb, ready, art, block, model, processor, quiet)
    if "environment_factory" in ready.rewards:
        declare_context_length(model)
    dataset = Dataset.from_list(placed)
    if ready.pictures:
        dataset = dataset.cast_column("images", ListColumn(ImageColumn(mode="RGB")))
    trainer = objective.trainer(
        model=model,
        args=config,
        train_dataset=dataset,
        # Without pictures in the rows the artwork is text to TRL; the adapter supplies the picture.
        processing_class=processor if ready.pictures else processor.tokenizer,
        peft_config=art,
        callbacks=[stop := StopSignal()],
        **ready.rewards,
    )
    equip(trainer, ready, arguments, engines, placed, processor, quiet)
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
    if weights_sha256(model) != before:
        raise RuntimeError("the base weights changed during training; the artwork is not saved")
    if not stop.stopped and ready.checkpoint is None and (pixels == first).all():
        raise RuntimeError("not one pixel changed: raise --learning_rate; the artwork is not saved")
    artwork = Artwork(
        pixels,
        Provenance(
            base_model=Path(arguments.model).name if Path(arguments.model).is_dir() else arguments.model,
            revision=getattr(model.config, "_commit_hash", None) or arguments.revision,
            base_sha256=before,
            image_tokens=art.image_tokens,
            placement=PLACEMENT,
            processor=sight.constants(),
            template_sha256=template_sha256(processor),
            objective=verb,
            data=arguments.task or Path(arguments.data).name,
            seed=config.seed,
            steps=trainer.state.global_step,
            start=arguments.start if arguments.start in STARTS else Path(arguments.start).name,
            bound=None if arguments.bound is None else arguments.bound / 255,
            training={
                "learning_rate": config.learning_rate,
                "batch_size": config.train_batch_size
                * config.gradient_accumulation_steps
                * config.world_size,
                "rows": len(ready.train_rows),
                "dtype": str(model.dtype).removeprefix("torch."),
                **({"bits": arguments.bits} if arguments.bits else {}),
                **({"prompt_tokens": tokens} if tokens else {}),
                **({} if arguments.start in STARTS else {"backdrop": art.backdrop, "fit": art.fit}),
                **({"style": without_folders(arguments.style, ready.style)} if ready.style else {}),
                **({"cells": arguments.cells} if arguments.cells else {}),
                **({"parametrisation": art.parametrisation} if art.parametrisation != "pixels" else {}),
                **({"robust": arguments.robust} if arguments.robust != "none" else {}),
            },
            licence=arguments.licence or "CC0-1.0",
            created=datetime.date.today().isoformat(),
        ),
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
