"""programs: sums with large numbers, worked out by writing a small program and running it with a tool.

The one tool, ``run``, evaluates a program over a whitelist (`pixeltune.tasks.parsing.arithmetic`); what is not
in it comes back as an error, as the tool's result, and the model may try again. An episode is right when its last turn
gives the right number.
"""

from __future__ import annotations

import json
import random

from pixeltune.errors import UserError
from pixeltune.tasks.base import Task, draw
from pixeltune.tasks.parsing import tool_calls
from pixeltune.tasks.parsing.arithmetic import evaluate
from pixeltune.tasks.synthetic import calls, sums

NAME = "programs"
MAX_TURNS = 4  # of the model, in an evaluation


class Programs:
    """An episode's tool, as TRL's ``environment_factory`` wants it. It keeps nothing from one program to the next."""

    def reset(self, **_: object) -> None:
        """Start an episode."""

    def run(self, program: str) -> str:
        """Run a program and return the value of its last line

        Args:
            program: lines of name = expression, or an expression, with + - * / // % **
        """
        return json.dumps({"result": evaluate(program)})


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "run",
            "description": "Run a program and return the value of its last line",
            "parameters": {
                "type": "object",
                "properties": {
                    "program": {
                        "type": "string",
                        "description": "lines of name = expression, or an expression, with + - * / // % **",
                    }
                },
                "required": ["program"],
            },
            "return": {"type": "string"},
        },
    }
]
"""What transformers makes of the method of :class:`Programs`; rows carry it, TRL makes its own."""


def problem(rng: random.Random) -> sums.Problem:
    """One to three steps, numbers to 9,999, no negative results; half of them in words."""
    op, total = rng.choice("+-*"), rng.randint(100, 9999)
    steps = [(total, op, rng.randint(2, 99) if op == "*" else rng.randint(1, total))]
    for _ in range(rng.randint(0, 2)):
        total = sums.calculate(*steps[-1])
        op = rng.choice("+-") if total else "+"
        steps.append((total, op, rng.randint(1, min(total, 9999) if op == "-" else 9999)))
    return sums.Problem(sums.ask(steps, rng), tuple(steps))


def program_of(item: sums.Problem) -> str:
    """The program of a reference: an expression, or a line for each step."""
    first, op, second = item.steps[0]
    start = f"{first} {op} {second}"
    if len(item.steps) == 1:
        return start
    return "\n".join([f"x = {start}", *(f"x = x {op} {b}" for _, op, b in item.steps[1:]), "x"])


def rows(split: str, n: int, seed: int = 0) -> list[dict]:
    """``n`` rows of ``split`` ("train" or "test"); ``tools`` is JSON, ``answer`` the number.

    ``completion`` is the rest of the conversation: a call with the program, its result, the answer.

    Raises:
        ValueError: for another split.
    """
    out = []
    for item in draw(NAME, problem, split, n, seed):
        call = {"name": "run", "arguments": {"program": program_of(item)}}
        turns = [
            {"role": "assistant", "content": calls.render(call)},
            {"role": "tool", "content": _use(call)},
            {"role": "assistant", "content": f"Answer: {item.answer}"},
        ]
        prompt = [{"role": "user", "content": item.question}]
        out.append({"prompt": prompt, "tools": json.dumps(TOOLS), "completion": turns, "answer": item.answer})
    return out


def _use(call: dict) -> str:
    """The result of a call or its error, in the words of TRL's tool loop."""
    try:
        if call["name"] != "run":
            raise UserError(f"Tool {call['name']} not found.")
        return Programs().run(**call["arguments"])
    except (ValueError, TypeError) as error:  # TypeError: not the arguments the tool takes
        return str({"error": str(error)})


def next_turn(row: dict, texts: list[str]) -> list[dict] | None:
    """The messages that follow the turns so far: the last one and its results, or None at the end."""
    made = tool_calls.parse(texts[-1]) or []
    if not made or len(texts) >= MAX_TURNS:
        return None
    return [{"role": "assistant", "content": texts[-1]}] + [
        {"role": "tool", "content": _use(call)} for call in made
    ]


def score(row: dict, texts: list[str]) -> float:
    """1.0 if the last turn gives the right number, else 0.0."""
    return float(sums.parse(texts[-1]) == row["answer"])


def reward(completions: list, answer: list[int], **_) -> list[float]:
    """Binary reward in TRL's signature: :func:`score` of every finished episode."""
    lasts = [str(turns[-1].get("content") or "") for turns in completions]
    return [float(sums.parse(last) == right) for last, right in zip(lasts, answer, strict=True)]


TASK = Task(
    name=NAME,
    instruction="Call run with a program. End with Answer: and the number. Be brief.",
    max_new_tokens=96,
    rows=rows,
    score=score,
    reward=reward,
    next_turn=next_turn,
    environment=Programs,
)
