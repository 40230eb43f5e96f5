"""The bundled model's tasks in `accuracy.py`: rows without a prompt in common, rewards, and what it can be told."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from benchmarks.common import boxed
from pixeltune.tasks.base import Task, texts_of
from pixeltune.tasks.synthetic import calls, sums, turns


def turns_reward(completions: list, call: list[str], wanted: list[str], **_) -> list[float]:
    """Each turn of the reference conversation is a question: 1.0 for the right call, or the right number."""
    return [
        calls.score({"call": c}, text) if "<tool_call>" in w else float(sums.parse(text) == sums.parse(w))
        for c, w, text in zip(call, wanted, texts_of(completions), strict=True)
    ]


def boxed_reward(completions: list, answer: list[int], **_) -> list[float]:
    return [boxed.score({"answer": a}, text) for a, text in zip(answer, texts_of(completions), strict=True)]


BOXED = Task(name="boxed", rows=boxed.boxed, score=boxed.score, max_new_tokens=sums.TASK.max_new_tokens)
TASKS = {task.name: task for task in (sums.TASK, calls.TASK, turns.TASK, BOXED)}
REWARDS = {"sums": sums.reward, "calls": calls.reward, "turns": turns_reward, "boxed": boxed_reward}
PROMPTS = {  # the first is the task's own; the model knows no phrases but those of `tiny/behaviours.py`
    "sums": [
        sums.TASK.instruction,
        "Show every column. Finish with Answer: N. Keep it short.",
        f"{sums.TASK.instruction} Show every column. Finish with Answer: N. Keep it short.",
    ],
    "calls": [
        calls.TASK.instruction,
        "Use the tools. Reply in English. Keep it short.",
        f"{calls.TASK.instruction} Use the tools. Reply in English. Keep it short.",
    ],
    "turns": [
        turns.TASK.instruction,
        "Use the tools. Finish with Answer: N. Keep it short.",
        f"{turns.TASK.instruction} Use the tools. Finish with Answer: N. Keep it short.",
    ],
    "boxed": [
        f"{sums.TASK.instruction} Put the answer in \\boxed{{}}.",
        "Work it out column by column. Put the answer in \\boxed{}. Be brief.",
        "Show every column. Finish with \\boxed{N}. Keep it short.",
    ],
}


def part(name: str, which: str, n: int, seed: int) -> list[dict]:
    """Rows of a task; fewer are the beginning of more.

    Args:
        name: one of `TASKS`.
        which: "test", the task's own held-out split; "train" or "validation", its train split, of which one
            prompt in eight, by its text, is for validation, whatever the seed.
    """
    if which == "test":
        return TASKS[name].rows("test", n, seed)
    drawn = TASKS[name].rows("train", 50 + n * (16 if which == "validation" else 2), seed)
    held = [zlib.crc32(f"validation {json.dumps(row['prompt'])}".encode()) % 8 == 0 for row in drawn]
    rows = [row for row, out in zip(drawn, held, strict=True) if out == (which == "validation")]
    if len(rows) < n:
        raise ValueError(f"{name} gave {len(rows)} rows for {which}, not {n}: draw more")
    return rows[:n]


@dataclass(frozen=True, eq=False)
class Suite:
    """What is compared on one model."""

    model: str
    tasks: dict[str, Task]
    rewards: dict[str, Callable]
    prompts: dict[str, list[str]]
    """What the model can be told, as many wordings as the other methods have rates; the first is the task's own."""
    part: Callable[[str, str, int, int], list[dict]]
    """Rows of a task, of "train", "validation" or "test", how many and of which seed."""
    kept: tuple[str, ...]
    """Methods that are also scored on the other tasks."""
    fewer: tuple[str, ...]
    batch: int
    """Rows that are answered at the same time."""
    shots: tuple[int, ...] = ()
    """Training rows that can be shown as examples, as many choices as the other methods have rates; none: few-shot
    is not compared."""
    transfers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Tasks that nothing is trained on, by the task whose trainings are scored on them as well."""
    dtype: str = "auto"
    """Of the weights."""
    micro: int = 0
    """Rows of one pass, of which an optimiser step takes several; 0: all at once."""
    checkpointing: bool = False
    """Whether activations are computed again in the backward pass, to save memory."""
    scarce: tuple[str, ...] = ()
    """Methods that are also trained on fewer rows of `fewer`."""

    @property
    def trained(self) -> list[str]:
        """The tasks that are trained on."""
        others = {other for names in self.transfers.values() for other in names}
        return [name for name in self.tasks if name not in others]


TINY = Suite(
    "tiny",
    TASKS,
    REWARDS,
    PROMPTS,
    part,
    ("artwork", "lora16"),
    ("sums", "calls"),
    100,
    scarce=("artwork", "lora16", "prompt"),
)
