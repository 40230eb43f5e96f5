"""Painting an artwork with one of TRL's trainers, unmodified: the frozen model, one canvas, a task's rows."""

from __future__ import annotations

import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from pixeltune import rows as row_files
from pixeltune.tasks import find_task
from pixeltune.torchvision_cpu import declare_operators

declare_operators()

from datasets import Dataset  # noqa: E402
from PIL import Image  # noqa: E402
from tqdm import tqdm  # noqa: E402
from transformers import ProgressCallback, TrainingArguments  # noqa: E402

from pixeltune.adapter import ArtConfig  # noqa: E402
from pixeltune.arguments import ArtArguments, parse  # noqa: E402
from pixeltune.artwork import Artwork, Provenance  # noqa: E402
from pixeltune.base import load_model, load_processor, template_sha256, weights_sha256  # noqa: E402
from pixeltune.callbacks import (  # noqa: E402
    HeldOutScore,
    NoOpGuard,
    PixelOptimizerCheck,
    PixelProgress,
    SnapshotCallback,
    StopSignal,
    TurnBudget,
)
from pixeltune.canvas import Canvas, paintable_mask, start_picture  # noqa: E402
from pixeltune.distillation import prompt_tokens, read_instruction, teacher_rows  # noqa: E402
from pixeltune.engine import Engine, EngineError  # noqa: E402
from pixeltune.evaluate import Local, evaluate  # noqa: E402
from pixeltune.objectives import (  # noqa: E402
    OBJECTIVES,
    Objective,
    contrast,
    declare_context_length,
    find_object,
    rendered,
)
from pixeltune.placement import PLACEMENT, place_row  # noqa: E402
from pixeltune.refill import refill  # noqa: E402
from pixeltune.rollouts import ask_engines, show_live_picture  # noqa: E402
from pixeltune.sight import Sight  # noqa: E402

RETRIES = 5  # of a request for a rollout: about fifteen seconds of waiting in all


def read_rows(
    objective: Objective, arguments: ArtArguments, seed: int
) -> tuple[ModuleType | None, list[dict], list[dict]]:
    """The task (None for a file) with training rows and held-out rows.

    Raises:
        ValueError: the task is unknown, or the file cannot be used.
    """
    if arguments.data is not None:
        return None, row_files.read(arguments.data, objective.columns), []
    task = find_task(arguments.task)
    return task, task.rows("train", arguments.train_rows, seed), task.rows("test", arguments.held_out_rows)


def find_rewards(verb: str, task: ModuleType | None, arguments: ArtArguments) -> dict[str, Any]:
    """The trainer's ``reward_funcs`` where it learns from rewards, else nothing.

    Raises:
        ValueError: a reward is missing or not wanted.
    """
    if OBJECTIVES[verb].signal != "rewards":
        if arguments.reward:
            raise ValueError(f"{verb} does not use --reward; grpo and rloo do")
        return {}
    reward = getattr(task, "reward", None)
    if arguments.reward:
        reward = find_object(arguments.reward, "reward")
    if reward is None:
        what = f"the task {arguments.task} has no reward" if task else "rows of your own have no reward"
        raise ValueError(f"{what}: name one with --reward package.module:function")
    return {"reward_funcs": reward}


def find_environment(verb: str, task: ModuleType | None, arguments: ArtArguments) -> dict[str, Any]:
    """The trainer's ``environment_factory`` where there is one, else nothing.

    Raises:
        ValueError: the verb has no use for it.
    """
    environment = getattr(task, "Environment", None) if OBJECTIVES[verb].signal == "rewards" else None
    if arguments.environment:
        environment = find_object(arguments.environment, "environment")
    if environment is None:
        return {}
    if verb != "grpo":
        raise ValueError(f"{verb} plays no episodes with tools, in TRL 1.16 only grpo does")
    if arguments.rollouts or arguments.refill_rounds:
        raise ValueError(
            "episodes with tools are played in this process, without --rollouts, --refill_rounds"
        )
    return {"environment_factory": environment}


def find_instruction(verb: str, task: ModuleType | None, arguments: ArtArguments) -> list[dict]:
    """What a teacher is told, empty where there is no teacher.

    Raises:
        ValueError: an instruction is missing, cannot be read, or is not wanted.
    """
    if OBJECTIVES[verb].signal != "teacher":
        if arguments.instruction:
            raise ValueError(f"{verb} does not use --instruction; distill does")
        return []
    if not arguments.instruction:
        raise ValueError("distill what? Give --instruction prompt.txt, the words that the artwork replaces")
    if arguments.instruction == "best" and task is not None:
        return [{"role": "system", "content": task.INSTRUCTION}]
    return read_instruction(arguments.instruction)


def find_checkpoint(config: TrainingArguments) -> str | None:
    """The checkpoint to resume from: a folder, or with "true" the newest whole one in ``output_dir``.

    A run that is killed while it saves leaves a folder without ``trainer_state.json``, which is written last.

    Raises:
        ValueError: there is none.
    """
    wanted = str(config.resume_from_checkpoint)
    if wanted.lower() in ("none", "false"):
        return None
    folders = [Path(wanted)]
    if wanted.lower() == "true":
        folders = sorted(
            Path(config.output_dir).glob("checkpoint-*"), key=lambda folder: int(folder.name.split("-")[1])
        )
    whole = [str(folder) for folder in folders if (folder / "trainer_state.json").is_file()]
    if not whole:
        place = config.output_dir if wanted.lower() == "true" else wanted
        raise ValueError(f"no checkpoint in {place} to resume from")
    return whole[-1]


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
    use_vllm = getattr(config, "use_vllm", False)
    if use_vllm and config.vllm_mode != "colocate":
        raise ValueError(
            "TRL's vllm_mode=server pushes weights, and here are none to push: start vLLM as it is and "
            "name it with --rollouts http://host:8000/v1"
        )
    if use_vllm and arguments.rollouts:
        raise ValueError("give either use_vllm (an engine in this process) or --rollouts (running engines)")
    if objective.signal != "rewards" and (arguments.rollouts or arguments.refill_rounds):
        raise ValueError(
            f"{verb} generates nothing to be rewarded: --rollouts and --refill_rounds go with grpo, rloo"
        )
    checkpoint = find_checkpoint(config)
    task, train_rows, held_out = read_rows(objective, arguments, config.seed)
    rewards = find_rewards(verb, task, arguments) | find_environment(verb, task, arguments)
    instruction, tokens = find_instruction(verb, task, arguments), None
    if objective.signal == "contrast" and hasattr(task, "next_turn"):
        raise ValueError(f"{verb} takes single answers, the task {arguments.task} has several turns")
    art = ArtConfig(
        image_tokens=arguments.image_tokens,
        height=arguments.height,
        width=arguments.width,
        start=arguments.start,
        bound=arguments.bound,
        mask=arguments.mask,
        seed=config.seed,
    )
    start_picture(arguments.start, 32, 32)  # a file that cannot be read is reported before the model loads
    if arguments.mask:
        paintable_mask(arguments.mask, 32, 32)
    engines = [Engine(url, retries=RETRIES) for url in arguments.rollouts]
    processor = load_processor(arguments.model, arguments.revision)
    sight = Sight(processor)
    block = art.block(sight)
    model = load_model(arguments.model, arguments.revision)
    before = weights_sha256(model)

    if objective.signal == "contrast" and task is not None:
        picture = Canvas(start_picture(art.start, art.height, art.width, art.seed)).to_uint8()
        system = Local(model, processor, Image.fromarray(picture))
        with tqdm(total=len(train_rows), desc="own answers", disable=quiet) as bar:
            habits = evaluate(task, train_rows, system, progress=lambda done, _: bar.update(done - bar.n))
        said, scores = zip(*[(r["completions"][0], r["score"]) for r in habits.records], strict=True)
        train_rows = contrast(train_rows, said, scores, objective, config.seed)
    if objective.signal == "teacher":
        placed = teacher_rows(train_rows, instruction, block, processor)
        tokens = prompt_tokens(placed, processor.tokenizer)
    else:
        turns = row_files.each_turn(train_rows) if objective.signal == "completions" else train_rows
        placed = [place_row(row, block) for row in turns]
        if objective.signal == "rewards":
            placed = rendered(placed, processor, environment="environment_factory" in rewards)
    if "environment_factory" in rewards:
        declare_context_length(model)
    trainer = objective.trainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(placed),
        processing_class=processor.tokenizer,  # the artwork is text to TRL; the adapter supplies the picture
        peft_config=art,
        callbacks=[PixelOptimizerCheck(), NoOpGuard(), stop := StopSignal()],
        **rewards,
    )
    if use_vllm:
        show_live_picture(trainer)
    if engines:
        ask_engines(trainer, engines, train_rows, [row["prompt"] for row in placed])
    if arguments.refill_rounds:
        refill(trainer, rewards["reward_funcs"], placed, arguments.refill_rounds)
    if arguments.turn_budget_steps:
        trainer.add_callback(TurnBudget(trainer, arguments.turn_budget_steps))
    trainer.remove_callback(ProgressCallback)
    if not quiet:
        trainer.add_callback(PixelProgress())
    if arguments.snapshot_steps:
        folder = Path(config.output_dir) / "snapshots"
        trainer.add_callback(SnapshotCallback(arguments.snapshot_steps, folder))
    if task is not None and held_out and arguments.score_steps:
        system = Local(trainer.model, processor)
        trainer.add_callback(HeldOutScore(task, held_out, system, arguments.score_steps, trainer.log))
    first = trainer.model.get_artwork_image()
    try:
        trainer.train(resume_from_checkpoint=checkpoint)
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
    if not stop.stopped and checkpoint is None and (pixels == first).all():
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
            start=arguments.start if arguments.start in ("grey", "noise") else Path(arguments.start).name,
            bound=None if arguments.bound is None else arguments.bound / 255,
            training={
                "learning_rate": config.learning_rate,
                "batch_size": config.per_device_train_batch_size * config.gradient_accumulation_steps,
                "rows": len(train_rows),
                **({"prompt_tokens": tokens} if tokens else {}),
            },
            licence=arguments.licence or "CC0-1.0",
            created=datetime.date.today().isoformat(),
        ),
    )
    if not stop.stopped:
        trainer.save_model()
        artwork.save(Path(config.output_dir) / "artwork.png")
    return artwork, trainer.model, not stop.stopped


def run(verb: str, argv: list[str]) -> int:
    """``pixeltune sft``, ``dpo``, ``kto``, ``grpo``, ``rloo`` or ``distill``."""
    arguments, config = parse(verb, argv)
    artwork, _, finished = paint(verb, arguments, config)
    if not finished:
        print(f"Interrupted. Go on with: --resume_from_checkpoint true --output_dir {config.output_dir}")
        return 130
    if tokens := artwork.provenance.training.get("prompt_tokens"):
        print("prompt tokens per request: {words} in words, {artwork} with the artwork".format(**tokens))
    print(f"{Path(config.output_dir) / 'artwork.png'}")
    return 0
