"""The tasks of `accuracy.py`: rows without a prompt in common, rewards, and what a model can be told."""

from __future__ import annotations

import json
import zlib
from types import SimpleNamespace

import new_behaviour
from pixeltune.tasks.base import texts_of
from pixeltune.tasks.synthetic import calls, sums, turns


def turns_reward(completions: list, call: list[str], wanted: list[str], **_) -> list[float]:
    """Each turn of the reference conversation is a question: 1.0 for the right call, or the right number."""
    return [
        calls.score({"call": c}, text) if "<tool_call>" in w else float(sums.parse(text) == sums.parse(w))
        for c, w, text in zip(call, wanted, texts_of(completions), strict=True)
    ]


def boxed_reward(completions: list, answer: list[int], **_) -> list[float]:
    return [
        new_behaviour.score({"answer": a}, text)
        for a, text in zip(answer, texts_of(completions), strict=True)
    ]


BOXED = SimpleNamespace(
    rows=new_behaviour.boxed, score=new_behaviour.score, MAX_NEW_TOKENS=sums.MAX_NEW_TOKENS
)
TASKS = {"sums": sums, "calls": calls, "turns": turns, "boxed": BOXED}
REWARDS = {"sums": sums.reward, "calls": calls.reward, "turns": turns_reward, "boxed": boxed_reward}
PROMPTS = {  # the first is the task's own; the model knows no phrases but those of `tiny/behaviours.py`
    "sums": [
        sums.INSTRUCTION,
        "Show every column. Finish with Answer: N. Keep it short.",
        f"{sums.INSTRUCTION} Show every column. Finish with Answer: N. Keep it short.",
    ],
    "calls": [
        calls.INSTRUCTION,
        "Use the tools. Reply in English. Keep it short.",
        f"{calls.INSTRUCTION} Use the tools. Reply in English. Keep it short.",
    ],
    "turns": [
        turns.INSTRUCTION,
        "Use the tools. Finish with Answer: N. Keep it short.",
        f"{turns.INSTRUCTION} Use the tools. Finish with Answer: N. Keep it short.",
    ],
    "boxed": [
        f"{sums.INSTRUCTION} Put the answer in \\boxed{{}}.",
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
