"""What a painting needs before the model loads: rows, rewards, an instruction, a checkpoint.

Whatever is wrong with them is said here, before any long work starts.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from pixeltune.adapter.guard import UNSCALED_FLOAT16
from pixeltune.data import rows as row_files
from pixeltune.data.instruction import read_instruction
from pixeltune.data.messages import Unused, read_messages
from pixeltune.data.origin import origin
from pixeltune.errors import UserError
from pixeltune.lookup import find_object
from pixeltune.model.loading import public_name
from pixeltune.picture.canvas import paintable_mask, start_picture
from pixeltune.picture.style import Term, read_style
from pixeltune.tasks import own
from pixeltune.tasks.base import Task, find_rows, find_task, held_out_rows
from pixeltune.training.folder import check_folder, find_checkpoint
from pixeltune.training.objectives import OBJECTIVES
from pixeltune.training.settings import PaintArguments
from pixeltune.training.styling import check_weight


@dataclass(frozen=True)
class Preparation:
    """What arguments stand for."""

    objective: str
    task: Task | None
    """What is scored and rewarded; None where rows of the user's own have no plain score."""
    own: bool
    """Whether the rows are the user's own."""
    train_rows: list[dict]
    held_out: list[dict]
    rewards: dict[str, Any]
    """The trainer's ``reward_funcs`` and ``environment_factory``, where it takes any."""
    instruction: list[dict]
    """What a teacher is told, empty where there is none."""
    checkpoint: Path | None
    """The folder to resume from."""
    style: Term | None
    pictures: bool
    """Whether rows have pictures of their own."""


def prepare(verb: str, arguments: PaintArguments, config: TrainingArguments) -> Preparation:
    """Read and look up what arguments name.

    Raises:
        ValueError: one of them cannot be used, or not with this objective.
    """
    objective = OBJECTIVES[verb]
    use_vllm = getattr(config, "use_vllm", False)
    if use_vllm and config.vllm_mode != "colocate":
        raise UserError(
            "TRL's vllm_mode=server pushes weights, and here are none to push: start vLLM as it is and "
            "name it with --rollouts http://host:8000/v1"
        )
    if use_vllm and arguments.rollouts:
        raise UserError("give either use_vllm (an engine in this process) or --rollouts (running engines)")
    check_models(arguments, use_vllm)
    if objective.signal != "rewards" and (arguments.rollouts or arguments.refill_rounds):
        raise UserError(
            f"{verb} generates nothing to be rewarded: --rollouts and --refill_rounds go with grpo, rloo"
        )
    if arguments.device_map and config.world_size > 1:
        raise UserError(
            "--device_map shares a model out among the devices of one process: start a single one, without "
            "torchrun or accelerate launch"
        )
    if arguments.dtype == "float16" and not config.fp16:
        raise UserError(UNSCALED_FLOAT16)
    # A file that cannot be read is reported now; whether it fits, when the size is known.
    start_picture(arguments.start, 32, 32, backdrop=arguments.backdrop)
    style = None
    if arguments.style:
        style = read_style(arguments.style)
        check_weight(arguments.style_schedule, arguments.style_floor)
    if arguments.mask:
        paintable_mask(arguments.mask, 32, 32)
    folder = Path(config.output_dir)
    checkpoint = find_checkpoint(config.resume_from_checkpoint, folder)
    check_folder(folder, arguments.overwrite, checkpoint)
    task, train_rows, held_out = read_rows(verb, arguments, config)
    own_rows = arguments.task is None
    if objective.signal == "contrast" and task and task.next_turn:
        raise UserError(f"{verb} takes single answers, the task {arguments.task} has several turns")
    pictures = has_pictures(verb, train_rows, arguments)
    rewards = find_rewards(verb, task, arguments) | find_environment(verb, task, arguments)
    instruction = find_instruction(verb, task, arguments)
    return Preparation(
        verb, task, own_rows, train_rows, held_out, rewards, instruction, checkpoint, style, pictures
    )


def check_models(arguments: PaintArguments, use_vllm: bool) -> None:
    """
    Raises:
        ValueError: several models cannot be told apart, or an engine would write for only one of them.
    """
    names = [public_name(name) for name in (arguments.model, *arguments.also)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(
            f"--model and --also name {', '.join(twice)} more than once: give folders other names"
        )
    if arguments.also and (use_vllm or arguments.rollouts):
        raise UserError(
            "an engine serves one model, and --also wants completions of several: leave out --rollouts"
        )


def read_rows(
    verb: str, arguments: PaintArguments, config: TrainingArguments
) -> tuple[Task | None, list[dict], list[dict]]:
    """The task (None for a file without a score) with training rows and held-out rows.

    Raises:
        ValueError: the task is unknown, or the file cannot be used.
    """
    name, folder = arguments.task, arguments.data
    if name is None:
        rows = row_files.read(folder, OBJECTIVES[verb].columns)
        return own_rows(verb, rows, arguments, config)
    train_rows = find_rows(name, "train", arguments.train_rows, config.seed, folder)
    missing = [column for column in OBJECTIVES[verb].columns if column not in train_rows[0]]
    if missing and OBJECTIVES[verb].signal == "completions":
        raise UserError(f"{name} has no {', '.join(missing)} to learn from: use grpo or rloo")
    n = 100 if arguments.held_out_rows is None else arguments.held_out_rows
    held_out = held_out_rows(name, n, 0, folder) if n else []
    return find_task(name), train_rows, held_out


def own_rows(
    verb: str, rows: list[dict], arguments: PaintArguments, config: TrainingArguments
) -> tuple[Task | None, list[dict], list[dict]]:
    """Rows of the user's own, a share of them held out, with the score that their completions allow.

    Where completions are not what is learned from (grpo, rloo, distill) they may stand in every row as what
    answers are scored, and rewarded, against. Of kto's rows only good completions are held out.

    Raises:
        UserError: a score was asked for that the rows or the objective do not have, or too many are held out.
    """
    answered = [
        row for row in rows if row.get("label", True) and (row.get("completion") or row.get("chosen"))
    ]
    references = OBJECTIVES[verb].signal in ("rewards", "teacher")
    if references:
        answered = _referenced(verb, rows, answered)
    if not answered:
        if arguments.score or arguments.held_out_rows:
            raise UserError(
                f"there is nothing to score held-out rows against: for that {verb} wants a completion in "
                f"every row of {arguments.data}"
            )
        return None, rows, []
    n = arguments.held_out_rows
    if n is None:
        n = max(20, len(answered) // 10) if len(answered) >= 60 else len(answered) // 3
    if n and n >= len(answered):
        raise UserError(f"--held_out_rows {n} leaves none of {len(answered)} rows with an answer to train on")
    held = set(map(id, random.Random(f"held out {config.seed}").sample(answered, n)))
    score = arguments.score or own.guess(answered)
    if arguments.score:
        own.check(answered, arguments.score)
    task = None
    if score:
        longest = max(len(own.reference(row)) for row in answered)  # characters, so more than its tokens
        limit = config.max_completion_length if references else min(512, max(32, longest))
        task = own.scored_task(Path(arguments.data).stem, score, limit)
    held_out = [row for row in rows if id(row) in held]
    for row in held_out:
        row.setdefault("completion", row.get("chosen"))
    return task, [row for row in rows if id(row) not in held], held_out


def _referenced(verb: str, rows: list[dict], answered: list[dict]) -> list[dict]:
    """Rows whose completion is a reference, all or none; rewards get its text in the column ``reference``.

    TRL hands every column on to a reward but ``completion``, which is its own word for what the model wrote.

    Raises:
        UserError: a completion is malformed, or the column is there already.
    """
    unused, rewarded = Unused(), OBJECTIVES[verb].signal == "rewards"
    for number, row in enumerate(rows):
        # A reward gets every column; a teacher reads none.
        for name in () if rewarded else row.keys() - {"prompt", "completion", "tools", "images"}:
            unused.add(f"the column {name!r} is not used by {verb}", origin(row, number))
    if len(answered) < len(rows):
        for row in answered[:1]:
            unused.add(
                "completion is not used: answers are scored against it only where every row has one, here "
                f"{len(answered)} of {len(rows)}",
                origin(row, 0),
            )
        unused.warn()
        return []
    for number, row in enumerate(rows):
        where = origin(row, number)
        row["completion"] = read_messages(row["completion"], "assistant", f"{where}: completion", unused)
        if rewarded and "reference" in row:
            raise UserError(
                f"{where}: there is a column reference beside completion, whose text rewards get under that "
                "name: rename one of them"
            )
        if rewarded:
            row["reference"] = own.reference(row)
    unused.warn()
    return rows


def has_pictures(verb: str, rows: list[dict], arguments: PaintArguments) -> bool:
    """Whether rows have pictures of their own.

    Raises:
        ValueError: they have, and TRL 1.16 would lose something on the way.
    """
    if not any(row.get("images") for row in rows):
        return False
    if OBJECTIVES[verb].signal == "teacher":
        raise UserError("distill takes rows of text, and these have images: use sft on good completions")
    if arguments.refill_rounds:
        raise UserError("--refill_rounds exchanges questions, not their images: leave it out")
    if any(row.get("tools") for row in rows):
        # Its vision collators render prompts without, its online trainers take one set for all rows:
        # https://github.com/huggingface/trl/blob/v1.16.0/trl/trainer/sft_trainer.py
        raise UserError(
            "rows with images and tools: TRL would leave the tools out of the prompt. Write them into the "
            "system message"
        )
    return True


def find_rewards(verb: str, task: Task | None, arguments: PaintArguments) -> dict[str, Any]:
    """The trainer's ``reward_funcs`` where it learns from rewards, else nothing.

    Raises:
        ValueError: a reward is missing or not wanted.
    """
    if OBJECTIVES[verb].signal != "rewards":
        if arguments.reward:
            raise UserError(f"{verb} does not use --reward; grpo and rloo do")
        return {}
    reward = task.reward if task else None
    if arguments.reward:
        reward = find_object(arguments.reward, "reward")
    if reward is None:
        if arguments.task is not None:
            what = f"the task {arguments.task} has no reward"
            raise UserError(f"{what}: name one with --reward package.module:function")
        raise UserError(
            "rows of your own have no reward: name one with --reward package.module:function, or give every "
            f"row a completion and say how answers are compared with it: --score {' | '.join(own.SCORES)}"
        )
    return {"reward_funcs": reward}


def find_environment(verb: str, task: Task | None, arguments: PaintArguments) -> dict[str, Any]:
    """The trainer's ``environment_factory`` where there is one, else nothing.

    Raises:
        ValueError: the verb has no use for it.
    """
    environment = task.environment if task and OBJECTIVES[verb].signal == "rewards" else None
    if arguments.environment:
        environment = find_object(arguments.environment, "environment")
    if environment is None:
        return {}
    if verb != "grpo":
        raise UserError(f"{verb} plays no episodes with tools, in TRL 1.16 only grpo does")
    if arguments.rollouts or arguments.refill_rounds:
        raise UserError("episodes with tools are played in this process, without --rollouts, --refill_rounds")
    return {"environment_factory": environment}


def find_instruction(verb: str, task: Task | None, arguments: PaintArguments) -> list[dict]:
    """What a teacher is told, empty where there is no teacher.

    Raises:
        ValueError: an instruction is missing, cannot be read, or is not wanted.
    """
    if OBJECTIVES[verb].signal != "teacher":
        if arguments.instruction:
            raise UserError(f"{verb} does not use --instruction; distill does")
        return []
    if not arguments.instruction:
        raise UserError("distill what? Give --instruction prompt.txt, the words that the artwork replaces")
    if arguments.instruction == "best" and task is not None:
        return [{"role": "system", "content": task.instruction}]
    return read_instruction(arguments.instruction)
