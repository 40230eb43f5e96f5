"""What the parameters take where they are shared out, and out of memory: which dials to turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from transformers import TrainerCallback, TrainingArguments

from pixeltune.errors import RunError, UserError, first_line
from pixeltune.model.sharding import held, is_sharded
from pixeltune.picture.settings import DEFAULT_TOKENS
from pixeltune.training.settings import PaintArguments


@contextmanager
def explained(arguments: PaintArguments, config: TrainingArguments) -> Iterator[None]:
    """Turn an error that says that memory ran out, on whatever device, into one that names the remedies.

    Raises:
        RunError: from the original.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        remedies = "; ".join(dials(arguments, config))
        raise RunError(f"out of memory. {remedies}. ({first_line(error)[:200]})") from error


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA's own class; on other devices a RuntimeError that says so: "out of memory", "can't allocate"."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        words in said for words in ("out of memory", "can't allocate memory", "cannot allocate memory")
    )


def dials(arguments: PaintArguments, config: TrainingArguments) -> list[str]:
    """What can be turned, with where it stands, the most effective first."""
    batch, waves = config.per_device_train_batch_size, config.gradient_accumulation_steps
    out = []
    if batch > 1:
        out.append(
            f"--per_device_train_batch_size is {batch}: halve it, with --gradient_accumulation_steps "
            f"{2 * waves} for the same step"
        )
    if not config.gradient_checkpointing:
        out.append("--gradient_checkpointing true keeps less and computes more")
    if arguments.dtype in ("auto", "float32") and not arguments.bits:
        out.append("--dtype bfloat16 halves what float32 weights take, --load_in_4bit true quarters that")
    asked = arguments.image_tokens or DEFAULT_TOKENS
    where = f"{arguments.height}x{arguments.width}" if arguments.height else f"--image_tokens is {asked}"
    out.append(f"{where}: fewer image tokens are a smaller artwork")
    if arguments.device_map is None and torch.cuda.device_count() > 1:
        out.append("--device_map auto shares the model out among the devices")
    return out


class Shares(TrainerCallback):
    """Says at the start how much of a model that is shared out a process holds; added before what calls the model."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say

    def on_train_begin(self, args, state, control, model=None, **kwargs) -> None:
        """
        Raises:
            UserError: nothing is shared out, though that was asked for.
        """
        if not is_sharded(model):
            raise UserError(
                f"accelerate shares no model out among processes on {args.device.type}: leave out --use_fsdp"
            )
        here, whole = held(model)
        if state.is_world_process_zero:  # which holds the most, where a weight cannot be divided evenly
            self.say(
                f"shared out (FSDP2): {here:,} of {whole:,} bytes of the base in each of {args.world_size} processes"
            )
