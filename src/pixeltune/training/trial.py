"""A trial of the reward before a run begins, in the form in which TRL will call it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerState, TrainingArguments

from pixeltune.adapter import ArtConfig
from pixeltune.data.images import attach
from pixeltune.errors import UserError
from pixeltune.training.preparation import Preparation
from pixeltune.training.rewards import each, is_async
from pixeltune.training.rows import place_rows
from pixeltune.training.settings import OWN_REWARD
from pixeltune.training.table import as_dataset

SAID = "Hello, this is an answer: 7."
"""A completion to try rewards with."""


def try_reward(
    ready: Preparation,
    names: Sequence[str],
    config: TrainingArguments,
    art: ArtConfig,
    block: str,
    processor: Any,
) -> None:
    """Call a run's rewards, if it has any, for a made-up completion of its first two rows; of several tasks the first
    row of each.

    Each row stands there ``num_generations`` times, as in a step of training. Not tried are rewards of episodes,
    which look at environments, models, which TRL gives tokens, and async functions: what these open belongs to the
    event loop in which TRL runs them.

    Args:
        ready: with rows and rewards.
        names: of the rewards as the user gave them, for messages; none: the task's own.
        config: TRL's.
        art, block, processor: see `place_rows`.

    Raises:
        UserError: it raises, or gives anything else than one number for each completion.
    """
    if "reward_funcs" not in ready.rewards or "environment_factory" in ready.rewards:
        return
    named = zip(names or [OWN_REWARD], each(ready.rewards["reward_funcs"]), strict=True)
    tried = {name: one for name, one in named if not (isinstance(one, torch.nn.Module) or is_async(one))}
    if not tried:
        return
    few = ready.train_rows[:2]
    if len(ready.parts) > 1:
        few = [part.train_rows[0] for part in ready.parts]
    placed, _ = place_rows(replace(ready, train_rows=few), art, block, processor)
    every = dict.fromkeys(
        name for row in ready.train_rows for name in row if name not in ("tools", "completion")
    )
    rows = [{**every, **row} for row in as_dataset(placed)]
    if ready.pictures:  # TRL shows a reward prompts with their pictures
        rows = [{**row, "prompt": attach(row["prompt"], row["images"])} for row in rows]
    for name, reward in tried.items():
        call(reward, "of the task" if name == OWN_REWARD else name, rows, config)


def call(
    reward: Callable[..., Any], name: str, rows: list[dict[str, Any]], config: TrainingArguments
) -> None:
    """Call a reward as TRL does.

    None among its values is TRL's word for a completion that is left out.

    Args:
        reward: in TRL's signature.
        name: of it, for messages.
        rows: as the trainer is given them, with every column that any row has.
        config: TRL's.

    Raises:
        UserError: it raises, or gives anything else than one number for each completion.
    """
    inputs = [row for row in rows for _ in range(config.num_generations)]
    talks = isinstance(inputs[0]["prompt"], list)
    columns: dict[str, Any] = {
        column: [row[column] for row in inputs]
        for column in inputs[0]
        if column not in ("prompt", "completion", "completion_ids")
    }
    state = TrainerState(epoch=0.0, max_steps=max(1, config.max_steps), num_train_epochs=1)
    said = f"the reward {name}, tried on the first rows,"
    try:
        got = reward(
            prompts=[row["prompt"] for row in inputs],
            completions=[[{"role": "assistant", "content": SAID}] if talks else SAID for _ in inputs],
            completion_ids=[[1, 2, 3] for _ in inputs],
            trainer_state=state,
            log_extra=_ignore,
            log_metric=_ignore,
            **columns,
        )
        values = list(got) if isinstance(got, Iterable) and not isinstance(got, str | dict) else None
    except Exception as error:
        raise UserError(
            f"{said} raised {error!r}{_place(error)}; besides prompts and completions it was given "
            f"{', '.join(columns) or 'no columns'}"
        ) from error
    wanted = f"{len(inputs)} completions want a list of {len(inputs)} numbers"
    if values is None:
        raise UserError(f"{said} gave {_shown(got)}: {wanted}")
    if len(values) != len(inputs):
        raise UserError(f"{said} gave {len(values)} values: {wanted}, one for each")
    for value in values:
        if value is not None and not _is_number(value):
            raise UserError(
                f"{said} gave {_shown(value)} for a completion: give a finite number, or None to leave the "
                "completion out"
            )


def _is_number(value: Any) -> bool:
    """Whether TRL can take it: what makes one element of a tensor, and is finite. NaN would be None to it."""
    try:
        return isfinite(torch.tensor([value], dtype=torch.float32).item())
    except (TypeError, ValueError, RuntimeError):
        return False


def _shown(value: Any) -> str:
    return "nothing (None)" if value is None else f"{value!r:.60} ({type(value).__name__})"


def _place(error: Exception) -> str:
    """File and line of where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if len(frames) > 1 else ""


def _ignore(*args: Any, **kwargs: Any) -> None:
    """In the place of what writes into TRL's log."""
