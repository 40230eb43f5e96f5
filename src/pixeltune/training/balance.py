"""Several tasks in one step: the mean loss of each, and then of these, however many rows each has in it.

A batch is cut into the rows of each task, TRL computes the loss of each cut as it does that of a batch, and they are
added up with weights. So it is TRL's loss, whatever its type, and holds over all batches that a step accumulates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pixeltune.training.compat.trainer_insides import wrap_batches
from pixeltune.training.compat.trl_insides import measure
from pixeltune.training.joint import COLUMN, Part

PART, COUNTS = "part_of_row", "part_counts"
"""What batches hold beside TRL's own: the number of each row's task, and how much of each the step has."""


def balance(trainers: dict[str, Any], parts: Sequence[Part]) -> None:
    """Let trainers of `sft` or `dpo` weigh all tasks of a step alike.

    The loss of each task is logged as ``loss/NAME``.

    Args:
        trainers: of one canvas by their models' names, not yet trained; the first one has the optimiser.
        parts: the tasks, whose rows have `COLUMN`.
    """
    names = [part.name for part in parts]
    for trainer in trainers.values():
        trainer.args.remove_unused_columns = False  # else ours would not reach the collator
        trainer.data_collator = Marked(trainer.data_collator, names)
        trainer.compute_loss = balanced(trainer, names)
    wrap_batches(next(iter(trainers.values())), count)


class Marked:
    """TRL's collator, whose batches also say of which task each row is."""

    def __init__(self, collate: Callable[[list[dict]], dict], names: Sequence[str]) -> None:
        """
        Args:
            collate: TRL's own.
            names: of the tasks.
        """
        self.collate, self.number = collate, {name: number for number, name in enumerate(names)}

    def __call__(self, examples: list[dict]) -> dict:
        batch = self.collate(
            [{name: value for name, value in one.items() if name != COLUMN} for one in examples]
        )
        batch[PART] = torch.tensor([self.number[one[COLUMN]] for one in examples])
        return batch


def count(batches: list[dict]) -> None:
    """Write into all batches of a step how much of each task the step has: labelled tokens, of pairs their number."""
    total: dict[int, int] = {}
    for batch in batches:
        for number, rows in _rows_of(batch[PART]).items():
            total[number] = total.get(number, 0) + _size(batch, rows)
    for batch in batches:
        batch[COUNTS] = total


def balanced(trainer: Any, names: Sequence[str]) -> Callable[..., Tensor]:
    """A trainer's `compute_loss` with every task of the step at the same weight.

    Where the trainer divides by what the whole step has (`num_items_in_batch`, as in sft), a cut is divided by what
    the step has of its task. Where it takes the mean of a batch and later that of the step's batches (dpo), a cut
    weighs as the share of its task's rows that it holds.
    """
    compute = trainer.compute_loss

    def compute_loss(
        model: Any, inputs: dict, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        inputs = dict(inputs)
        part, counts = inputs.pop(PART), inputs.pop(COUNTS)
        total: Any = 0.0
        for number, rows in _rows_of(part).items():
            cut, size = _cut(inputs, rows, len(part)), _size(inputs, rows)
            if num_items_in_batch is None:
                mean = compute(model, cut)
                share = mean * (size / counts[number] * trainer.current_gradient_accumulation_steps)
            else:
                share = compute(model, cut, num_items_in_batch=counts[number])
                mean = share * (counts[number] / max(1, size))
            measure(trainer, {f"loss/{names[number]}": float(mean.detach())})
            total = total + share / len(counts)
        return total

    return compute_loss


def _rows_of(part: Tensor) -> dict[int, Tensor]:
    """The places of each task's rows in a batch."""
    return {number: (part == number).nonzero().flatten() for number in sorted(set(part.tolist()))}


def _size(batch: dict, rows: Tensor) -> int:
    """Labelled tokens of some rows; of pairs, which have no labels, their number."""
    return int((batch["labels"][rows, 1:] != -100).sum()) if "labels" in batch else len(rows)


def _cut(inputs: dict, rows: Tensor, n: int) -> dict:
    """A batch of some rows only; of pairs the second half holds those that are rejected."""
    out = {}
    for name, value in inputs.items():
        if isinstance(value, Tensor) and value.size(0) == 2 * n:
            value = value[torch.cat([rows, rows + n])]
        elif isinstance(value, Tensor):
            value = value[rows]
        out[name] = value
    return out
