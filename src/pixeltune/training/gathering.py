"""The rows of each task or file that a picture is painted on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pixeltune.errors import UserError
from pixeltune.tasks.base import find_rows, find_task, held_out_rows, is_benchmark
from pixeltune.training import own_rows
from pixeltune.training.defaults import OBJECTIVE_FACTS
from pixeltune.training.joint import Part
from pixeltune.training.settings import PaintArguments
from pixeltune.training.shares import Share

if TYPE_CHECKING:
    from transformers import TrainingArguments


def gather_rows(
    verb: str, arguments: PaintArguments, config: TrainingArguments
) -> tuple[list[Part], tuple[str, ...]]:
    """The rows of each task or file, as many as its weight says, and what to say of them.

    Raises:
        ValueError: a task is unknown, or a file cannot be used.
    """
    shares, notes = arguments.shares, ()
    if arguments.task:
        return [_of_task(verb, share, arguments, config) for share in shares], notes
    parts = []
    for share, (name, found) in zip(shares, own_rows.read_each(verb, arguments, config).items(), strict=True):
        parts.append(Part(name, found.task, found.train, found.held_out, share.weight))
        notes += found.notes if len(shares) == 1 else tuple(f"{name}: {note}" for note in found.notes)
    return parts, notes


def _of_task(verb: str, share: Share, arguments: PaintArguments, config: TrainingArguments) -> Part:
    """Rows of one task: a synthetic one makes as many as its weight says, of a benchmark some stand there again."""
    name, folder = share.name, arguments.data[0] if arguments.data else None
    if len(arguments.task) > 1 and not is_benchmark(name):
        folder = None  # of the others among them
    n, weight = arguments.train_rows, share.weight
    train_rows = find_rows(name, "train", max(n, round(n * weight)), config.seed, folder)
    # A benchmark may have fewer than were asked for: all of them are there before one is there twice.
    weight *= min(n, len(train_rows)) / len(train_rows)
    missing = [column for column in OBJECTIVE_FACTS[verb].columns if column not in train_rows[0]]
    if missing and OBJECTIVE_FACTS[verb].signal == "completions":
        raise UserError(f"{name} has no {', '.join(missing)} to learn from: use grpo or rloo")
    n = 100 if arguments.held_out_rows is None else arguments.held_out_rows
    held_out = held_out_rows(name, n, 0, folder) if n else []
    return Part(name, find_task(name), train_rows, held_out, weight)
