"""``pixeltune sft``, ``dpo``, ``kto``, ``grpo``, ``rloo`` and ``distill``."""

from __future__ import annotations

HELP = {
    "sft": "paint an artwork by supervised fine-tuning (TRL's SFTConfig flags plus the artwork's)",
    "dpo": "... from pairs of a chosen and a rejected completion (DPOConfig)",
    "kto": "... from completions labelled good or bad (KTOConfig)",
    "grpo": "... from rewards of the model's own completions (GRPOConfig)",
    "rloo": "... the same with TRL's REINFORCE leave-one-out (RLOOConfig)",
    "distill": "... that does what a prompt in words does (SDFTConfig)",
}


def run(verb: str, argv: list[str]) -> int:
    from pixeltune.training import paint

    return paint.run(verb, argv)
