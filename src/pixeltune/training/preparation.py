"""What a painting needs before the model loads: rows, rewards, an instruction, a checkpoint.

Whatever is wrong with them is said here, before any long work starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixeltune.data.contexts import CONTEXTS, OWN, Context, behind, check_beginnings, read_contexts
from pixeltune.data.instruction import read_instruction
from pixeltune.data.tool_errors import failed_turns
from pixeltune.errors import UserError
from pixeltune.model.finding import public_name
from pixeltune.model.precision import UNSCALED_FLOAT16
from pixeltune.model.sharding import asked_for
from pixeltune.picture.files import check_start, read_picture
from pixeltune.picture.style import Term
from pixeltune.picture.style_text import read_style
from pixeltune.tasks.base import Task, is_benchmark
from pixeltune.training import joint
from pixeltune.training.defaults import OBJECTIVE_FACTS
from pixeltune.training.folder import check_folder, check_inputs, find_checkpoint
from pixeltune.training.gathering import gather_rows
from pixeltune.training.joint import Part
from pixeltune.training.key_tokens import check_config
from pixeltune.training.rewards import check_leave_one_out, find_rewards
from pixeltune.training.settings import OWN_REWARD, PaintArguments, check_verb
from pixeltune.training.sharded import check_sharded
from pixeltune.training.teacher import check_teacher

if TYPE_CHECKING:
    from transformers import TrainingArguments


@dataclass(frozen=True)
class Preparation:
    """What arguments stand for."""

    objective: str
    task: Task | None
    """What is scored and rewarded, of several tasks one of them all; None where rows of the user's own have no plain
    score."""
    own: bool
    """Whether the rows are the user's own."""
    train_rows: list[dict]
    held_out: list[dict]
    rewards: dict[str, Any]
    """The trainer's ``reward_funcs`` and ``environment_factory``, where it takes any."""
    instruction: list[dict]
    """What a teacher is told, empty where there is nothing to tell."""
    checkpoint: Path | None
    """The folder to resume from."""
    style: Term | None
    pictures: bool
    """Whether rows have pictures of their own."""
    notes: tuple[str, ...]
    """What the user should know of the rows, a line each."""
    contexts: list[Context]
    """What a share of the training rows stands behind; empty where that is none, or is not made yet."""
    parts: tuple[Part, ...]
    """The same rows by task, or by file."""
    key_tokens: float | None = None
    """What tokens of names and arguments of calls weigh; None: as all others."""
    skip_errors: bool = False
    """Whether calls that failed are left out of what is learned."""


def prepare(
    verb: str, arguments: PaintArguments, config: TrainingArguments, writes: bool = True
) -> Preparation:
    """Read and look up what arguments name; where nothing is to be written, a run in the folder is no matter.

    Raises:
        ValueError: one of them cannot be used, or not with this objective.
    """
    style, checkpoint, contexts = check(verb, arguments, config, writes)
    parts, notes = gather_rows(verb, arguments, config)
    parts, train_rows, held_out, said = joint.together(parts, config.seed)
    pictures = has_pictures(verb, train_rows, arguments)
    if pictures and arguments.balance:
        raise UserError(
            "--balance cuts batches into tasks, and those of rows with images cannot be: leave it out"
        )
    tasks = {part.name: part.task for part in parts}
    rewards, instruction = look_up(verb, tasks, arguments, config)
    if arguments.skip_errors:
        notes = *notes, count_errors(train_rows)
    ready = Preparation(
        objective=verb,
        task=joint.joined(tasks),
        own=not arguments.task,
        train_rows=train_rows,
        held_out=held_out,
        rewards=rewards,
        instruction=instruction,
        checkpoint=checkpoint,
        style=style,
        pictures=pictures,
        notes=(*said, *notes),
        parts=tuple(parts),
        key_tokens=arguments.key_tokens,
        skip_errors=arguments.skip_errors,
        contexts=[],
    )
    if contexts:
        return with_contexts(ready, contexts, arguments, config)
    if arguments.contexts:  # which the model makes once it is loaded
        check_beginnings(train_rows)
    return ready


def with_contexts(
    ready: Preparation, contexts: list[Context], arguments: PaintArguments, config: TrainingArguments
) -> Preparation:
    """The same with its share of training rows behind contexts, and a note of it.

    Raises:
        UserError: a row's prompt cannot stand behind one.
    """
    rows = behind(ready.train_rows, contexts, arguments.context_share, config.seed)
    count = sum(row.kind is not None for row in rows)
    source = (
        "histories of the model's own" if arguments.contexts == OWN else f"contexts of {arguments.contexts}"
    )
    note = f"{count:,} of {len(rows):,} rows stand behind one of {len(contexts):,} {source}"
    return replace(ready, train_rows=rows, contexts=contexts, notes=(*ready.notes, note))


def check(
    verb: str, arguments: PaintArguments, config: TrainingArguments, writes: bool = True
) -> tuple[Term | None, Path | None, list[Context]]:
    """What can be judged without rows: the style, the checkpoint to resume from, and contexts that are there.

    Raises:
        ValueError: an argument cannot be used, or not with this objective.
    """
    check_verb(verb, arguments)
    use_vllm = getattr(config, "use_vllm", False)
    if use_vllm and config.vllm_mode != "colocate":
        raise UserError(
            "TRL's vllm_mode=server pushes weights, and here are none to push: start vLLM as it is and "
            "name it with --rollouts http://host:8000/v1"
        )
    if use_vllm and arguments.rollouts:
        raise UserError("give either use_vllm (an engine in this process) or --rollouts (running engines)")
    check_models(arguments, use_vllm)
    check_sharded(verb, arguments, config)
    if arguments.device_map and config.world_size > 1:
        raise UserError(
            "--device_map shares a model out among the devices of one process: start a single one, without "
            "torchrun or accelerate launch"
        )
    if arguments.balance:
        check_balance(config)
        if arguments.key_tokens is not None:
            raise UserError("--balance weighs tasks and --key_tokens tokens, not both at once: leave one out")
    if (
        len(arguments.task) > 1
        and arguments.data
        and not any(is_benchmark(one.name) for one in arguments.shares)
    ):
        raise UserError(
            "beside tasks --data is a folder of benchmarks' files, and none of these tasks is one: leave out --data, "
            "or --task"
        )
    if arguments.dtype == "float16" and not config.fp16:
        raise UserError(UNSCALED_FLOAT16)
    if arguments.skip_spikes and config.fp16:
        raise UserError("--fp16 scales losses and leaves out steps itself: leave out --skip_spikes")
    if arguments.teacher:
        check_teacher(arguments, config)
    check_config(arguments.key_tokens, config)
    # A file that cannot be read is reported now; whether it fits, when the size is known.
    check_start(arguments.start, arguments.backdrop)
    if arguments.mask:
        read_picture(arguments.mask, "mask", "black")
    style = read_style(arguments.style) if arguments.style else None
    folder = Path(config.output_dir)
    checkpoint = find_checkpoint(config.resume_from_checkpoint, folder)
    if writes:
        check_folder(folder, arguments.overwrite, checkpoint)
        check_inputs(folder, checkpoint, _inputs(arguments))
    return style, checkpoint, find_contexts(arguments, checkpoint)


def _inputs(arguments: PaintArguments) -> list[str]:
    """Names of what is read, as far as it is files."""
    named = [share.name for share in arguments.shares] if arguments.data else []
    more = [arguments.contexts, arguments.start, arguments.mask, arguments.instruction, arguments.model]
    teacher = (arguments.teacher or "").removeprefix("adapter:")
    return [str(one) for one in (*named, *arguments.data, *more, *arguments.also, teacher) if one]


def find_contexts(arguments: PaintArguments, checkpoint: Path | None) -> list[Context]:
    """Those of a file, or those that the model made when the run began; empty where there are none, or not yet.

    Raises:
        UserError: the file cannot be used, or the run's own are gone.
    """
    if arguments.contexts is None or (arguments.contexts == OWN and checkpoint is None):
        return []
    if arguments.contexts != OWN:
        return read_contexts(arguments.contexts)
    path = checkpoint.absolute().parent / CONTEXTS if checkpoint else Path()
    if not path.is_file():
        raise UserError(
            f"{path} is gone, the histories that the rows of {checkpoint} stand behind: put it back, or begin anew"
        )
    return read_contexts(path)


def check_balance(config: TrainingArguments) -> None:
    """
    Raises:
        ValueError: losses of a step cannot be told apart by tasks.
    """
    if config.world_size > 1:
        raise UserError("--balance counts the rows of one process: start a single one, or leave it out")
    for name in ("packing", "padding_free"):
        if getattr(config, name, False):
            raise UserError(f"--{name} puts rows of several tasks into one: leave out --balance or --{name}")
    coupled = {"aot", "aot_unpaired", "bco_pair"} & {str(one) for one in _listed(config.loss_type)}
    if coupled:
        raise UserError(
            f"--loss_type {coupled.pop()} compares the pairs of a batch, so it is no mean of them: leave out --balance"
        )


def _listed(value: Any) -> list:
    return value if isinstance(value, list) else [value]


def look_up(
    verb: str, tasks: Mapping[str, Task | None], arguments: PaintArguments, config: TrainingArguments
) -> tuple[dict[str, Any], list[dict]]:
    """What is learned from beside rows: `Preparation.rewards` and `Preparation.instruction`.

    Args:
        verb: of the objective.
        tasks: by name; None where rows have no plain score.
        arguments: what is asked for.
        config: TRL's.

    Raises:
        ValueError: it is missing, cannot be used, or a task is not for this objective.
    """
    for name, one in tasks.items():
        if OBJECTIVE_FACTS[verb].signal == "contrast" and one and one.next_turn:
            raise UserError(f"{verb} takes single answers, the task {name} has several turns")
    joint.check(verb, tasks, OWN_REWARD in (arguments.reward or [OWN_REWARD]))
    if len(tasks) > 1 and arguments.instruction == "best":
        raise UserError("--instruction best is of one task: give a file with the words for all of them")
    task = joint.joined(tasks)
    weights = getattr(config, "reward_weights", None)  # of those trainers that take any
    rewards = find_rewards(verb, task, arguments, weights)
    if verb == "rloo" and "environment_factory" in rewards:
        check_leave_one_out(config)
    return rewards, find_instruction(verb, task, arguments)


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


def has_pictures(verb: str, rows: list[dict], arguments: PaintArguments) -> bool:
    """Whether rows have pictures of their own.

    Raises:
        ValueError: they have, and TRL 1.16 would lose something on the way.
    """
    if not any(row.get("images") for row in rows):
        return False
    if OBJECTIVE_FACTS[verb].signal == "teacher":
        raise UserError("distill takes rows of text, and these have images: use sft on good completions")
    if asked_for():
        # The tower would be called by those processes only whose rows have any.
        raise UserError("a model is shared out among processes for rows of text, and these have images")
    if arguments.key_tokens is not None:
        raise UserError("--key_tokens weighs rows of text, and these have images: leave it out")
    if arguments.refill_rounds:
        raise UserError("--refill_rounds exchanges questions, not their images: leave it out")
    if arguments.contexts:
        # They belong to the row's own turn, and TRL puts all pictures into the first user turn.
        raise UserError("--contexts is for rows of text, and these have images: leave it out")
    if any(row.get("tools") for row in rows):
        # Its vision collators render prompts without, its online trainers take one set for all rows:
        # https://github.com/huggingface/trl/blob/v1.16.0/trl/trainer/sft_trainer.py
        raise UserError(
            "rows with images and tools: TRL would leave the tools out of the prompt. Write them into the "
            "system message"
        )
    return True


def count_errors(rows: list[dict]) -> str:
    """How many calls are not learned because they failed, in a line.

    Raises:
        UserError: nothing is left to learn, or no call failed.
    """
    turns = sum(message["role"] == "assistant" for row in rows for message in row["completion"])
    failed = sum(len(failed_turns(row)) for row in rows)
    if failed == turns:
        raise UserError(
            "--skip_errors: all that the assistant says are calls that failed, so nothing is left to learn"
        )
    if not failed:
        raise UserError("--skip_errors: no result of a call in an answer says that it failed: leave it out")
    return f"{failed} of {turns} turns are not learned: calls whose results say that they failed (--skip_errors)."


def find_instruction(verb: str, task: Task | None, arguments: PaintArguments) -> list[dict]:
    """What a teacher is told, empty where there is no teacher, or one of its own that is told nothing.

    Raises:
        ValueError: an instruction is missing, cannot be read, or is not wanted.
    """
    if OBJECTIVE_FACTS[verb].signal != "teacher":
        return []
    if not arguments.instruction and arguments.teacher:
        return []
    if not arguments.instruction:
        raise UserError(
            "distill what? Give --instruction prompt.txt, the words that the artwork replaces, or a --teacher, "
            "adapter:FOLDER or model:NAME"
        )
    if arguments.instruction == "best" and task is not None:
        return [{"role": "system", "content": task.instruction}]
    return read_instruction(arguments.instruction)
