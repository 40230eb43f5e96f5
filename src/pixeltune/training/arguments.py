"""What to paint, as flags or YAML: TRL's own config of an objective beside a few arguments of the artwork."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import Literal

import torch
from transformers import TrainingArguments
from trl import TrlParser

from pixeltune.errors import UserError
from pixeltune.model.loading import DEVICE_MAPS, DTYPES
from pixeltune.picture.files import STARTS
from pixeltune.picture.parametrisations import SPECS, read_spec
from pixeltune.training.objectives import OBJECTIVES, PIXEL_DEFAULTS


@dataclass
class ArtArguments:
    """What to paint, for which model, from which rows."""

    model: str = field(default="tiny", metadata={"help": '"tiny" (bundled), a hub name or a folder.'})
    revision: str | None = field(default=None, metadata={"help": "Commit or tag of the model on the hub."})
    also: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Further models to paint for at once, by the sum of losses: fine-tuned copies, or others "
            "of the family with the same processor."
        },
    )
    dtype: str = field(
        default="auto",
        metadata={
            "help": "Precision of the model's weights; auto: as its config says. Pixels are always float32.",
            "choices": list(DTYPES),
        },
    )
    load_in_8bit: bool = field(
        default=False, metadata={"help": "Quantise the model to 8 bits while loading (bitsandbytes)."}
    )
    load_in_4bit: bool = field(
        default=False, metadata={"help": "Quantise the model to 4 bits, nf4 (bitsandbytes)."}
    )
    device_map: str | None = field(
        default=None,
        metadata={
            "help": "Share the model's layers out among this machine's devices, for one too large for a "
            "single one.",
            "choices": list(DEVICE_MAPS),
        },
    )
    task: str | None = field(
        default=None,
        metadata={"help": "A task: calls, sums, turns, shop, tiles, or a benchmark: gsm8k, bfcl, ...."},
    )
    data: str | None = field(
        default=None,
        metadata={
            "help": "With a benchmark: a folder of its files, in place of the hub. Without a task: a JSONL "
            "file of rows with prompt and completion (kto: and label), or prompt, chosen and rejected (dpo), "
            "or prompt and what the reward needs (grpo, rloo); and perhaps tools."
        },
    )
    instruction: str | None = field(
        default=None,
        metadata={
            "help": "distill: a text file with a system message, a JSON file with messages, or best: the "
            "task's own."
        },
    )
    reward: str | None = field(
        default=None,
        metadata={"help": "package.module:function, TRL's signature; default the task's own (grpo, rloo)."},
    )
    environment: str | None = field(
        default=None,
        metadata={
            "help": "package.module:Class whose methods are tools, as TRL's environment_factory wants it; "
            "default the task's own, if it has one (grpo)."
        },
    )
    turn_budget_steps: int = field(
        default=0,
        metadata={
            "help": "Over so many steps the calls a completion may make, one after another, grow from 1 to "
            "max_tool_calling_iterations (grpo with an environment)."
        },
    )
    rollouts: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Addresses of OpenAI-compatible engines serving the same model, which then write the "
            "completions (grpo, rloo); none: this process does."
        },
    )
    refill_rounds: int = field(
        default=0,
        metadata={
            "help": "How often a step asks other questions in place of those whose completions are all "
            "rewarded alike (grpo, rloo)."
        },
    )
    train_rows: int = field(default=2000, metadata={"help": "Rows of the task to train on."})
    held_out_rows: int = field(default=100, metadata={"help": "Rows the held-out score is taken on."})
    score_steps: int = field(default=25, metadata={"help": "Held-out score every so many steps; 0: never."})
    snapshot_steps: int = field(default=25, metadata={"help": "Snapshot PNG every so many steps; 0: never."})
    image_tokens: int | None = field(default=None, metadata={"help": "Budget in image tokens; default 64."})
    height: int | None = field(default=None, metadata={"help": "Height in pixels, instead of a budget."})
    width: int | None = field(default=None, metadata={"help": "Width in pixels, instead of a budget."})
    start: str = field(default="grey", metadata={"help": f"Start picture: {', '.join(STARTS)} or a file."})
    backdrop: str = field(
        default="#808080",
        metadata={"help": "Colour behind transparent parts of a file, and beside a padded one."},
    )
    fit: str | None = field(
        default=None, metadata={"help": "For a file of another shape than the artwork: crop, pad or stretch."}
    )
    bound: int | None = field(default=None, metadata={"help": "Largest change of a pixel, grey levels."})
    mask: str | None = field(default=None, metadata={"help": "Picture, white where it may be painted."})
    cells: int | None = field(
        default=None, metadata={"help": "Paint only so many token cells, drawn from seed; none: all."}
    )
    parametrisation: str = field(default="pixels", metadata={"help": f"What is trained: {SPECS}."})
    robust: str = field(
        default="none",
        metadata={
            "help": "Random transforms in training: none, light, heavy, or some of "
            "jpeg,resize,noise,shift,brightness."
        },
    )
    style: str | None = field(
        default=None,
        metadata={
            "help": "What it should look like, for example '3 * l2 + 0.1 * gram(\"waves.png\")'; terms: "
            "l2, tv, palette, band, content, gram, caption."
        },
    )
    style_schedule: str = field(
        default="constant", metadata={"help": "Weight of the style over training: constant, rise or fade."}
    )
    style_floor: float | None = field(
        default=None,
        metadata={"help": "Held-out score to keep: as much style as goes with it, in place of a schedule."},
    )
    licence: str | None = field(
        default=None, metadata={"help": "Licence of the artwork; needed when start is a file."}
    )

    @property
    def bits(self) -> Literal[4, 8] | None:
        """To which the model's linear layers are quantised; None: they are not."""
        return 8 if self.load_in_8bit else 4 if self.load_in_4bit else None

    def __post_init__(self) -> None:
        if self.task is None and self.data is None:
            raise UserError("give --task (calls, sums, gsm8k, ...) or --data rows.jsonl")
        if self.start not in STARTS and not self.licence:
            raise UserError(
                f"the artwork will be an edit of {self.start}: say under which licence with --licence"
            )
        if self.load_in_8bit and self.load_in_4bit:
            raise UserError("give either --load_in_8bit or --load_in_4bit")
        read_spec(self.parametrisation)
        if self.cells is not None and self.mask:
            raise UserError("--cells and --mask both say what may be painted: give one")
        if self.cells is not None and self.cells < 1:
            raise UserError("--cells must be at least 1")
        if self.style is None and (self.style_floor is not None or self.style_schedule != "constant"):
            raise UserError("--style_schedule and --style_floor weigh a --style: give one")
        if self.style_floor is not None and not (self.task and self.held_out_rows and self.score_steps):
            raise UserError("--style_floor needs held-out scores: --task, --held_out_rows, --score_steps")
        if self.train_rows < 1 or self.held_out_rows < 0:
            raise UserError("--train_rows must be at least 1 and --held_out_rows at least 0")
        if self.refill_rounds < 0 or self.turn_budget_steps < 0:
            raise UserError("--refill_rounds and --turn_budget_steps are 0 (never) or more")
        if self.score_steps < 0 or self.snapshot_steps < 0:
            raise UserError("--score_steps and --snapshot_steps are 0 (never) or more")


def parse(verb: str, argv: list[str]) -> tuple[ArtArguments, TrainingArguments]:
    """Read flags of a training verb, and YAML after ``--config``; TRL's own fields keep their names.

    Raises:
        ValueError: for anything wrong with them, before a model is loaded.
    """
    objective = OBJECTIVES[verb]
    parser = TrlParser((ArtArguments, objective.config), prog=f"pixeltune {verb}")
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    # bf16 autocast would round activations on machines that gain nothing from it.
    bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    parser.set_defaults(**PIXEL_DEFAULTS, **objective.defaults, bf16=bf16, output_dir=f"runs/{verb}")
    return parser.parse_args_and_config(argv)
