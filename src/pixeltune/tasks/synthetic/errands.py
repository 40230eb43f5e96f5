"""errands: one or two requests in a message, 8 to 11 tools on offer, a call for each request.

The bundled model was raised on single requests with at most four tools: a task with room above the best words.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

from pixeltune.tasks.base import Task, draw, texts_of
from pixeltune.tasks.parsing.tool_calls import parse, render, same_calls
from pixeltune.tasks.synthetic import calls

NAME = "errands"
TOOLS = range(8, 12)
JOINTS = ("{} {}", "{} And then: {}", "First: {} Second: {}")


@dataclass(frozen=True)
class Errand:
    """What a user says, with the tools on offer and the right calls in order, one for each request."""

    text: str
    tools: tuple[dict, ...]
    calls: tuple[dict, ...]
    held_out: bool
    """Whether a request of its belongs to the test split of `calls`."""


def errand(rng: random.Random) -> Errand:
    """One request or two, of different intents, every one of which a tool fits."""
    offered = rng.sample(calls.INTENTS, rng.choice(TOOLS))
    tools = [calls.tool(intent, rng) for intent in offered]
    texts, wanted, held_out = [], [], False
    for place in rng.sample(range(len(tools)), rng.choice((1, 1, 2))):
        values = {name: rng.choice(calls.POOLS[pool]) for name, pool in offered[place].arguments.items()}
        text = rng.choice(offered[place].asks).format(**values)
        call = {"name": tools[place]["function"]["name"], "arguments": values}
        held_out |= calls.Request(text, (), call, "").held_out
        texts.append(text)
        wanted.append(call)
    said = texts[0] if len(texts) == 1 else rng.choice(JOINTS).format(*texts)
    return Errand(said, tuple(tools), tuple(wanted), held_out)


def rows(split: str, n: int, seed: int = 0) -> list[dict]:
    """``n`` rows of ``split`` ("train" or "test"); ``tools`` and ``calls`` are JSON strings.

    Training rows hold no request of the test split of `calls`, test rows one or two.

    Raises:
        ValueError: for another split.
    """
    return [
        {
            "prompt": [{"role": "user", "content": item.text}],
            "completion": [{"role": "assistant", "content": render(list(item.calls))}],
            "tools": json.dumps(item.tools),
            "calls": json.dumps(item.calls),
        }
        for item in draw(NAME, errand, split, n, seed)
    ]


def score(row: dict, text: str) -> float:
    """1.0 for exactly the right calls, in any order; else 0.0."""
    return float(same_calls(parse(text), json.loads(row["calls"])))


def reward(completions: list, calls: list[str], **_) -> list[float]:
    """Binary reward in TRL's signature: :func:`score` of every completion."""
    pairs = zip(calls, texts_of(completions), strict=True)
    return [score({"calls": wanted}, text) for wanted, text in pairs]


TASK = Task(
    name=NAME,
    instruction="Call a tool. Be brief.",
    max_new_tokens=96,
    rows=rows,
    score=score,
    reward=reward,
)
