"""Groups whose rewards are all equal teach nothing: ask other questions in their place.

Advantages within such a group are zero, so its completions cost time and carry no gradient; TRL logs their
share (``frac_reward_zero_std``). Drawing again until groups disagree is DAPO's dynamic sampling (arXiv
2503.14476, section 3.2), here for a bounded number of rounds.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from pixeltune.errors import UserError
from pixeltune.training.compat.trl_insides import completions_of, measure, wrap_generation, wrap_scoring


def refill(
    trainer: Any, reward: Callable[..., list[float]], rows: Sequence[dict[str, Any]], rounds: int
) -> None:
    """Make a GRPO or RLOO trainer of TRL replace questions whose completions are all rewarded alike.

    The questions that replace others come from ``rows`` by seed and step, so a resumed run draws the same.
    The reward is asked once more than without. ``refilled``, the share of groups replaced, is logged. In
    evaluation nothing is replaced.

    Args:
        trainer: not yet trained.
        reward: in TRL's signature; of several their sum.
        rows: what the trainer was given as data.
        rounds: how often at most a step draws again, at least 1.

    Raises:
        ValueError: there are several processes; TRL gathers in every generation, so all would have to refill.
    """
    if trainer.accelerator.num_processes > 1:
        raise UserError("refilling groups works in one process only: leave out --refill_rounds")
    batches: list[list[dict[str, Any]]] = []

    def score_batch(score: Callable, batch: list[dict[str, Any]]) -> Any:
        batches[:] = [batch]  # to get hold of it, where completions are generated
        return score(batch)

    def generate_mixed(generate: Callable, prompts: list[Any]) -> Any:
        out = generate(prompts)
        if not trainer.model.training:
            return out
        (batch,), size = batches, trainer.num_generations
        rng = random.Random(f"{trainer.args.seed} {trainer.state.global_step}")
        stale, replaced = _equal_groups(reward, batch, out, range(len(batch)), size), 0
        for _ in range(rounds):
            if not stale:
                break
            replaced += len(stale)
            places = [group * size + i for group in stale for i in range(size)]
            for group, row in zip(stale, rng.sample(rows, len(stale)), strict=True):
                for i in range(size):
                    batch[group * size + i] = row
                    prompts[group * size + i] = row["prompt"]
            _splice(out, generate([prompts[place] for place in places]), places)
            new = _equal_groups(reward, batch, out, places, size)
            stale = [stale[group] for group in new]
        measure(trainer, {"refilled": replaced * size / len(prompts)})
        return out

    wrap_scoring(trainer, score_batch)
    wrap_generation(trainer, generate_mixed)


def _equal_groups(
    reward: Callable, batch: list[dict], generated: tuple, places: Sequence[int], size: int
) -> list[int]:
    """Numbers of the groups of ``size`` whose rewards are all the same, among those that stand at ``places``."""
    rows = [batch[place] for place in places]
    columns = {name: [row[name] for row in rows] for name in rows[0] if name != "prompt"}
    said, ids = ([every[place] for place in places] for every in (completions_of(generated), generated[1]))
    values = reward(prompts=[row["prompt"] for row in rows], completions=said, completion_ids=ids, **columns)
    groups = [values[start : start + size] for start in range(0, len(values), size)]
    return [number for number, group in enumerate(groups) if len(set(group)) == 1]


def _splice(old: tuple, new: tuple, places: list[int]) -> None:
    """Put what was generated anew into the lists of the first generation."""
    for was, now in zip(old, new, strict=True):
        if isinstance(was, list) and was:
            for place, value in zip(places, now, strict=True):
                was[place] = value
