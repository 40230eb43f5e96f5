"""What to paint, for which model, from which rows: the settings that are not TRL's. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

from pixeltune.data.contexts import OWN
from pixeltune.data.forms import read_names
from pixeltune.errors import UserError
from pixeltune.errors.checking import check_data, checked
from pixeltune.model.precision import DEVICE_MAPS, DTYPES, bits_of
from pixeltune.picture.files import STARTS
from pixeltune.picture.settings import ArtworkSettings
from pixeltune.tasks.own import SCORES
from pixeltune.training.defaults import OBJECTIVE_FACTS
from pixeltune.training.shares import Share, described, of_files, of_tasks

if TYPE_CHECKING:
    from pixeltune.adapter import ArtConfig

REWARDED = tuple(verb for verb, facts in OBJECTIVE_FACTS.items() if facts.signal == "rewards")
"""The verbs that learn from rewards."""

OWN_REWARD = "task"
"""What ``--reward`` calls the reward of the task, or the score of own rows against their completions."""

STYLE_SCHEDULES = ("constant", "rise", "fade")

CONTEXT_SHARE = 0.5
"""Of the rows that get a context, where there are any and nothing else is said."""

NO_ROWS = "give --task (calls, sums, gsm8k, ...) or --data rows.jsonl"


@dataclass
class PaintArguments(ArtworkSettings):
    """What to paint, for which model, from which rows."""

    model: str = field(
        default="tiny", metadata={"help": '"tiny" or "smol" (bundled), a hub name or a folder.'}
    )
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
    task: list[str] = field(
        default_factory=list,
        metadata={
            "help": "A task: calls, sums, turns, errands, long_sums, gsm8k, bfcl and more, or package.module:TASK; or "
            "several, each perhaps with a weight: calls sums:0.5."
        },
    )
    data: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Your own rows, a JSON object a line, a JSON list, CSV, Parquet, a folder saved by datasets or "
            "owner/name:config:split on the hub: prompt and completion (kto: and label), or prompt, "
            "chosen and rejected (dpo), or prompt and what the reward needs (grpo, rloo); and perhaps tools. "
            "Several files may have weights: rows.jsonl:0.5. With a benchmark: a folder of its files, in place of "
            "the hub."
        },
    )
    balance: bool = field(
        default=False,
        metadata={
            "help": "Of several tasks or files: a step's loss is the mean of each one's, and then of these, however "
            "many rows each has in it.",
            "verbs": ("sft", "dpo"),
        },
    )
    columns: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Columns of your own rows that have other names: prompt=question completion=answer."
        },
    )
    contexts: str | None = field(
        default=None,
        metadata={
            "help": "What a share of the rows stands behind, for artworks that are used in conversations: a JSONL file "
            f'of {{"messages": [...], "kind": "..."}}, or {OWN}: histories that the model makes with the start picture.'
        },
    )
    context_share: float | None = field(
        default=None,
        metadata={"help": f"Share of the rows that get one of the contexts; default: {CONTEXT_SHARE}."},
    )
    instruction: str | None = field(
        default=None,
        metadata={
            "help": "distill: a text file with a system message, a JSON file with messages, or best: the "
            "task's own.",
            "verbs": ("distill",),
        },
    )
    teacher: str | None = field(
        default=None,
        metadata={
            "help": "distill: who teaches in place of the model itself: adapter:FOLDER, a LoRA of it that PEFT has "
            "saved, or model:NAME, another one with the same vocabulary. It reads rows without the artwork.",
            "verbs": ("distill",),
        },
    )
    reward: list[str] = field(
        default_factory=list,
        metadata={
            "help": "package.module:function, TRL's signature; several are added up, with --reward_weights; task: "
            "the task's own, which is the default.",
            "verbs": REWARDED,
        },
    )
    length_cost: float = field(
        default=0.0,
        metadata={
            "help": "Share of the first reward, below 1, that right answers lose for being longer than other right "
            "answers to the same question.",
            "verbs": REWARDED,
        },
    )
    key_tokens: float | None = field(
        default=None,
        metadata={
            "help": "sft: what a token of a name or an argument in a call weighs in the loss, where any other of an "
            "answer weighs 1; the mean stays.",
            "verbs": ("sft",),
        },
    )
    skip_errors: bool = field(
        default=False,
        metadata={
            "help": "sft: learn no call of an answer of several turns whose result says that it failed.",
            "verbs": ("sft",),
        },
    )
    environment: str | None = field(
        default=None,
        metadata={
            "help": "package.module:Class whose methods are tools, as TRL's environment_factory wants it; "
            "default the task's own, if it has one.",
            "verbs": REWARDED,
        },
    )
    turn_budget_steps: int = field(
        default=0,
        metadata={
            "help": "Over so many steps the calls a completion may make, one after another, grow from 1 to "
            "max_tool_calling_iterations.",
            "verbs": ("grpo",),
        },
    )
    rollouts: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Addresses of OpenAI-compatible engines serving the same model, which then write the "
            "completions; none: this process does.",
            "verbs": REWARDED,
        },
    )
    refill_rounds: int = field(
        default=0,
        metadata={
            "help": "How often a step asks other questions in place of those whose completions are all "
            "rewarded alike.",
            "verbs": REWARDED,
        },
    )
    skip_spikes: float | None = field(
        default=None,
        metadata={
            "help": "Do not take a step whose gradient has more than so many times the median norm of the last 20 "
            "steps; 10 leaves out what would spoil the optimiser's memory for long."
        },
    )
    train_rows: int = field(
        default=2000,
        metadata={"help": "Rows of the task to train on; of several, of each whose weight is 1."},
    )
    held_out_rows: int | None = field(
        default=None,
        metadata={
            "help": "Rows that are not trained on, for the held-out score; default: 100 of a task, of your own "
            "with an answer a tenth and at least 20, of less than 60 a third. 0: none."
        },
    )
    score: str | None = field(
        default=None,
        metadata={
            "help": f"How answers to your own rows are scored against their completions: {', '.join(SCORES)}; "
            "default: chosen from the rows where it is plain."
        },
    )
    score_steps: int = field(
        default=25,
        metadata={"help": "Held-out score before the first step and every so many steps; 0: never."},
    )
    snapshot_steps: int = field(default=25, metadata={"help": "Snapshot PNG every so many steps; 0: never."})
    style: str | None = field(
        default=None,
        metadata={
            "help": "What it should look like, for example '3 * l2 + 0.1 * gram(\"waves.png\")'; terms: "
            "l2, tv, palette, band, content, gram, caption."
        },
    )
    style_schedule: str = field(
        default="constant",
        metadata={"help": f"Weight of the style over training: {', '.join(STYLE_SCHEDULES)}."},
    )
    style_floor: float | None = field(
        default=None,
        metadata={"help": "Held-out score to keep: as much style as goes with it, in place of a schedule."},
    )
    licence: str | None = field(
        default=None, metadata={"help": "Licence of the artwork; needed when start is a file."}
    )
    overwrite: bool = field(
        default=False,
        metadata={"help": "Remove the run that output_dir holds. Not given: a folder with a run is refused."},
    )

    @property
    def shares(self) -> list[Share]:
        """The tasks, or else the files, with their weights."""
        return of_tasks(self.task) if self.task else of_files(self.data)

    @property
    def source(self) -> str:
        """What is painted on, as strangers may know it."""
        return described(self.shares, not self.task)

    @property
    def bits(self) -> Literal[4, 8] | None:
        """To which the model's linear layers are quantised; None: they are not."""
        return bits_of(self.load_in_8bit, self.load_in_4bit)

    def artwork(self, seed: int) -> ArtConfig:
        """The settings of the artwork as PEFT takes them."""
        from pixeltune.adapter import ArtConfig

        shared = {one.name: getattr(self, one.name) for one in fields(ArtworkSettings)}
        return ArtConfig(**shared, seed=seed, revision=self.revision)

    def __post_init__(self) -> None:
        rows: Any = self.data
        for one in rows if isinstance(rows, list | tuple) and set(map(type, rows)) != {dict} else [rows]:
            check_data(one)
        hints = get_type_hints(type(self))
        for one in fields(self):
            value = checked(one.name, getattr(self, one.name), hints[one.name], one.metadata.get("choices"))
            setattr(self, one.name, value)
        super().__post_init__()
        if not self.task and not self.data:
            raise UserError(NO_ROWS)
        if self.task and len(self.data) > 1:
            raise UserError(
                "several files are rows of your own, and --task has rows of its own: leave one of them out, or write "
                "the task's rows to a file (pixeltune sample)"
            )
        if len(self.shares) < 2 and self.balance:
            raise UserError("--balance is between several tasks or files: name more than one")
        # That a file is missing is said when it is read.
        if self.start not in STARTS and Path(self.start).is_file() and not self.licence:
            raise UserError(
                f"the artwork will be an edit of {self.start}: say under which licence with --licence"
            )
        bits_of(self.load_in_8bit, self.load_in_4bit)
        check_weight(self.style_schedule, self.style_floor)
        if self.style is None and (self.style_floor is not None or self.style_schedule != "constant"):
            raise UserError("--style_schedule and --style_floor weigh a --style: give one")
        if self.style_floor is not None and not (self.task and self.held_out_rows != 0 and self.score_steps):
            raise UserError("--style_floor needs held-out scores: --task, --held_out_rows, --score_steps")
        if self.train_rows < 1 or (self.held_out_rows or 0) < 0:
            raise UserError("--train_rows must be at least 1 and --held_out_rows at least 0")
        if self.columns and self.task:
            raise UserError(
                "a task's rows have their columns: --columns is of rows of your own, without --task"
            )
        read_names(self.columns)
        if self.score is not None and self.task:
            raise UserError("a task knows its own score: --score is of rows of your own, without --task")
        if self.contexts is None and self.context_share is not None:
            raise UserError(f"--context_share is of --contexts: give a file of them, or {OWN}")
        if self.contexts is not None and self.context_share is None:
            self.context_share = CONTEXT_SHARE
        if self.context_share is not None and not 0 < self.context_share <= 1:
            raise UserError(
                f"--context_share is a share of the rows, above 0 up to 1, not {self.context_share}"
            )
        if not 0 <= self.length_cost < 1:
            raise UserError(
                f"--length_cost is a share of the reward, from 0 to below 1, not {self.length_cost}"
            )
        if self.skip_spikes is not None and not 1 < self.skip_spikes < inf:
            raise UserError(
                f"--skip_spikes is how many times the median is too much, above 1, not {self.skip_spikes}"
            )
        if self.refill_rounds < 0 or self.turn_budget_steps < 0:
            raise UserError("--refill_rounds and --turn_budget_steps are 0 (never) or more")
        if self.score_steps < 0 or self.snapshot_steps < 0:
            raise UserError("--score_steps and --snapshot_steps are 0 (never) or more")


def check_verb(verb: str, arguments: PaintArguments) -> None:
    """
    Raises:
        UserError: something is asked for that only other verbs do.
    """
    for one in fields(arguments):
        verbs, value = one.metadata.get("verbs", (verb,)), getattr(arguments, one.name)
        if verb not in verbs and value:
            do = "does" if len(verbs) == 1 else "do"
            raise UserError(f"{verb} does not use --{one.name}; {' and '.join(verbs)} {do}")


def check_weight(schedule: str, floor: float | None) -> None:
    """
    Raises:
        UserError: there is no such schedule of a style, the floor is no score, or both are asked for.
    """
    if schedule not in STYLE_SCHEDULES:
        raise UserError(f"there is no style schedule {schedule!r}; there are {', '.join(STYLE_SCHEDULES)}")
    if floor is not None and not 0 <= floor <= 1:
        raise UserError(f"the style floor is a held-out score from 0 to 1, not {floor}")
    if floor is not None and schedule != "constant":
        raise UserError("give a style schedule or a style floor: with a floor the score sets the weight")
