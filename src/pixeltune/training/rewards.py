"""What a run is rewarded by: functions in TRL's signature, with weights, perhaps a cost of length, or episodes."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from statistics import fmean, pstdev
from typing import Any

from pixeltune.errors import UserError
from pixeltune.tasks.base import Task
from pixeltune.tasks.lookup import find_object
from pixeltune.training import own_rows
from pixeltune.training.defaults import OBJECTIVE_FACTS
from pixeltune.training.settings import OWN_REWARD, PaintArguments

Reward = Callable[..., list]


def find_rewards(
    verb: str, task: Task | None, arguments: PaintArguments, weights: Sequence[float] | None
) -> dict[str, Any]:
    """The trainer's ``reward_funcs``, and its ``environment_factory`` where there is one; else nothing.

    Args:
        verb: which objective.
        task: None for own rows without a score.
        arguments: with names of rewards; none: the task's own.
        weights: TRL's ``reward_weights``.

    Raises:
        UserError: a reward is missing, weights are not one for each, or episodes do not go with what is asked for.
    """
    if OBJECTIVE_FACTS[verb].signal != "rewards":
        return {}
    rewards = [_find(name, task, arguments) for name in arguments.reward or [OWN_REWARD]]
    if weights is not None and (len(weights) != len(rewards) or not all(map(math.isfinite, weights))):
        raise UserError(
            f"--reward_weights {' '.join(map(str, weights))} is not a finite number for each of {len(rewards)} "
            "rewards: give them in the order of --reward"
        )
    environment = task.environment if task else None
    if arguments.environment:
        environment = find_object(arguments.environment, "environment")
    if arguments.length_cost:
        if environment is not None:
            raise UserError(
                "--length_cost counts what the model wrote, and episodes hold results of tools as well"
            )
        if is_async(rewards[0]):
            raise UserError("--length_cost wants a reward that is no async function")
        rewards[0] = with_length_cost(rewards[0], arguments.length_cost)
    found: dict[str, Any] = {"reward_funcs": rewards if len(rewards) > 1 else rewards[0]}
    if environment is None:
        return found
    if arguments.refill_rounds:
        raise UserError("--refill_rounds exchanges questions, not episodes with tools: leave it out")
    return found | {"environment_factory": environment}


def check_leave_one_out(config: Any) -> None:
    """Refuse settings of RLOO that its episodes cannot have: GRPO plays them (`objectives.playing`).

    Args:
        config: TRL's of RLOO, or its settings as they were given.

    Raises:
        UserError: naming the first of them.
    """
    if config.beta:
        raise UserError("rloo plays episodes with tools without a KL term: give --beta 0")
    for name in ("normalize_advantages", "reward_clip_range"):
        if getattr(config, name):
            raise UserError(f"rloo plays episodes with tools without --{name}: leave it out, or use grpo")
    batches = config.gradient_accumulation_steps
    per_generation = config.steps_per_generation or batches
    if config.num_iterations != 1 or batches % per_generation:
        raise UserError(
            "rloo learns from episodes with tools once, in the step that they were played in: leave out "
            "--num_iterations, --steps_per_generation and --generation_batch_size"
        )


def _find(name: str, task: Task | None, arguments: PaintArguments) -> Reward:
    if name != OWN_REWARD:
        return find_object(name, "reward")
    if task is not None and task.reward is not None:
        return task.reward
    if arguments.task:
        raise UserError(
            f"the task {' '.join(arguments.task)} has no reward: name one with --reward package.module:function"
        )
    raise UserError(own_rows.NO_REWARD)


def each(rewards: Reward | list[Reward]) -> list[Reward]:
    """TRL's ``reward_funcs`` as a list."""
    return rewards if isinstance(rewards, list) else [rewards]


def summed(rewards: Sequence[Reward], weights: Sequence[float] | None) -> Reward:
    """One reward from several, as TRL sums them: None leaves a completion out of a reward, not out of the sum."""
    factors = weights or [1.0] * len(rewards)

    def reward(**columns: Any) -> list[float]:
        values = [one(**columns) for one in rewards]
        return [
            sum(factor * value for factor, value in zip(factors, of_one, strict=True) if value is not None)
            for of_one in zip(*values, strict=True)
        ]

    return reward


def with_length_cost(reward: Reward, cost: float) -> Reward:
    """A reward of which long answers keep less than short ones, where they earn anything.

    ``r * (1 - cost * sigmoid((length - mean) / deviation))``, mean and deviation of the group's completions with
    r > 0, lengths in tokens: Arora and Zanette 2025, Training Language Models to Reason Efficiently (arXiv
    2502.04463), section 4. Wrong answers are not compared, so a group without a right one has no gradient towards
    saying less. A group is what stands together with the same prompt.

    Args:
        reward: in TRL's signature.
        cost: at most this share is taken, in [0, 1).
    """

    @functools.wraps(reward)  # its name is in TRL's log
    def shortened(prompts: list, completions: list, completion_ids: list, **columns: Any) -> list:
        given = {"prompts": prompts, "completions": completions, "completion_ids": completion_ids}
        values = list(reward(**given, **columns))
        lengths = list(map(len, completion_ids))
        for group in _groups(prompts):
            right = [place for place in group if values[place] is not None and values[place] > 0]
            if not right:
                continue
            mean, spread = (of([lengths[place] for place in right]) for of in (fmean, pstdev))
            for place in right:
                far = (lengths[place] - mean) / spread if spread else 0.0
                values[place] *= 1 - cost / (1 + math.exp(-far))
        return values

    return shortened


def _groups(prompts: list) -> Iterator[list[int]]:
    """Numbers of completions that stand together with the same prompt."""
    for _, group in groupby(range(len(prompts)), key=prompts.__getitem__):
        yield list(group)


def is_async(function: Callable) -> bool:
    """Whether TRL would await it."""
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004  of an object that can be called
    )
