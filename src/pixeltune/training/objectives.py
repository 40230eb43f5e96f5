"""What can be optimised: TRL's trainers, unmodified, with the rows they learn from and pixel defaults."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pixeltune.model.compat.versions import check_versions

check_versions()  # before what others would break is imported

from trl import (
    DPOConfig,
    DPOTrainer,
    GRPOConfig,
    GRPOTrainer,
    KTOConfig,
    KTOTrainer,
    RLOOConfig,
    RLOOTrainer,
    SFTConfig,
    SFTTrainer,
)

from pixeltune.data.tools import tools_of
from pixeltune.errors import UserError
from pixeltune.training.compat.trainer_insides import renamed
from pixeltune.training.defaults import OBJECTIVE_FACTS, ObjectiveFacts
from pixeltune.training.distillation import DistillationTrainer, SDFTConfig


@dataclass(frozen=True)
class Objective(ObjectiveFacts):
    """An objective with its TRL trainer, and the trainer's config class."""

    trainer: type
    config: type


_TRAINERS = {
    "sft": (SFTTrainer, SFTConfig),
    "dpo": (DPOTrainer, DPOConfig),
    "kto": (KTOTrainer, KTOConfig),
    "grpo": (GRPOTrainer, GRPOConfig),
    "rloo": (RLOOTrainer, RLOOConfig),
    "distill": (DistillationTrainer, SDFTConfig),
}
OBJECTIVES = {
    name: Objective(**vars(OBJECTIVE_FACTS[name]), trainer=trainer, config=config)
    for name, (trainer, config) in _TRAINERS.items()
}


LEAVE_ONE_OUT = {
    "scale_rewards": "none",
    "loss_type": "luspo",
    "importance_sampling_level": "sequence",
    "beta": 0.0,
}
"""With these GRPO's gradient is RLOO's, times (k - 1) / k for k completions, in the step that they are drawn in.

An advantage is then the reward less the group's mean. A completion's loss is the advantage times its tokens times a
ratio whose gradient is that of its mean log-prob, so that the gradient is the advantage times that of its log-prob."""


def playing(config: RLOOConfig) -> GRPOConfig:
    """TRL's config of GRPO for RLOO on episodes with tools, which TRL's RLOO cannot play."""
    said = {"bf16": config.bf16, "fp16": config.fp16, "report_to": "none", "gradient_checkpointing": False}
    made = GRPOConfig(output_dir=config.output_dir, **renamed(said, GRPOConfig))
    # Not its arguments: a config's values are no longer what it was given.
    vars(made).update(vars(config) | LEAVE_ONE_OUT)
    return made


def contrast(
    rows: list[dict], said: Sequence[str], scores: Sequence[float], objective: Objective, seed: int
) -> list:
    """Rows of preferences or labels: reference completions are good, the model's own wrong answers are bad.

    Args:
        rows: with `prompt` and `completion`.
        said: what the model answered to each.
        scores: of those answers; below 1.0 is wrong.
        objective: decides between pairs (`chosen`, `rejected`) and single completions with a `label`.
        seed: of the order of labelled rows; KTO takes them in sequence.

    Raises:
        ValueError: the model was never wrong.
    """
    out = []
    for row, answer, score in zip(rows, said, scores, strict=True):
        if score >= 1.0:
            continue
        bad = [{"role": "assistant", "content": answer}]
        rest = {name: value for name, value in row.items() if name != "completion"}
        if "rejected" in objective.columns:
            out.append({**rest, "chosen": row["completion"], "rejected": bad})
        else:
            out.append({**rest, "completion": row["completion"], "label": True})
            out.append({**rest, "completion": bad, "label": False})
    if not out:
        raise UserError(
            "the model answers every row rightly, so there is nothing it should rather not have said: take "
            "a harder task, or rows of your own with --data"
        )
    if "label" in objective.columns:
        random.Random(seed).shuffle(out)
    return out


def rendered(rows: list[dict], processor: Any, environment: bool = False) -> list[dict]:
    """Rows whose prompts are texts if any has `tools`: TRL's online trainers show every row the same tools.

    With an `environment` prompts stay messages, because TRL adds that one's tools itself. `tools` and
    `completion` go away; every other column goes on to the reward and to the environment's `reset`.
    """
    as_text = not environment and any(row.get("tools") for row in rows)
    out = []
    for row in rows:
        rest = {name: value for name, value in row.items() if name not in ("tools", "completion")}
        if as_text:
            tools = tools_of(row)
            rest["prompt"] = processor.apply_chat_template(
                row["prompt"], tools=tools, tokenize=False, add_generation_prompt=True
            )
        out.append(rest)
    return out
