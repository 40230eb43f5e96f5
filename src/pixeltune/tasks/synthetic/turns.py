"""turns: call a tool, read its result, answer. Right only when the call and the answer are both right.

The evaluation plays both turns: after a right call it appends the tool's result with
:func:`next_turn`, lets the model speak again, and scores the two completions together.
"""

from __future__ import annotations

import json
import random

from pixeltune.tasks.base import Task, draw
from pixeltune.tasks.synthetic import calls, sums

NAME = "turns"


def result(item: calls.Request, rng: random.Random) -> dict:
    """What the tool returns: one integer in the intent's field."""
    return {item.field: rng.randint(1, 99)}


def rows(split: str, n: int, seed: int = 0) -> list[dict]:
    """``n`` rows of ``split`` ("train" or "test"); ``tools``, ``call`` and ``result`` are JSON strings.

    ``completion`` is the whole rest of the conversation: call, tool result, answer.

    Raises:
        ValueError: for another split.
    """
    rng, out = random.Random(f"turns results {split} {seed}"), []
    for item in draw(NAME, lambda r: calls.request(r, fits=True), split, n, seed):
        value = result(item, rng)
        out.append(
            {
                "prompt": [{"role": "user", "content": item.text}],
                "completion": [
                    {"role": "assistant", "content": calls.render(item.call)},
                    {"role": "tool", "content": json.dumps(value)},
                    {"role": "assistant", "content": f"Answer: {value[item.field]}"},
                ],
                "tools": json.dumps(item.tools),
                "call": json.dumps(item.call),
                "result": json.dumps(value),
            }
        )
    return out


def next_turn(row: dict, texts: list[str]) -> list[dict] | None:
    """The messages that follow the completions so far, or None when the episode is over."""
    if len(texts) > 1 or not calls.score(row, texts[0]):
        return None
    return [{"role": "assistant", "content": texts[0]}, {"role": "tool", "content": row["result"]}]


def score(row: dict, texts: list[str]) -> float:
    """1.0 if the first completion is the right call and the last one gives the tool's number."""
    (value,) = json.loads(row["result"]).values()
    return float(len(texts) == 2 and calls.score(row, texts[0]) == 1.0 and sums.parse(texts[1]) == value)


TASK = Task(
    name=NAME,
    instruction="Call a tool. End with Answer: and the number. Be brief.",
    max_new_tokens=64,
    rows=rows,
    score=score,
    next_turn=next_turn,
)
