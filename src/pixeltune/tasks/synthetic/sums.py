"""sums: arithmetic and word problems with numbers to 99, in one or two steps.

A row is right when the last ``Answer: N`` of the completion holds the right number, the rule of the
ART evaluation script; a completion without that line scores 0, so format counts as well as arithmetic. That is
stricter, on purpose, than `pixeltune.tasks.parsing.answers`, which reads any way to write a number: here the
word is spelled as asked for, a whole number stands right behind it, and of ``Answer: 48 + 37 = 85`` that is 48.
The reference completion works the sum out column by column, units first, which is also how the bundled
model gets sums right at all (``docs/design/tiny.md``).
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from pixeltune.tasks.base import Task, draw, texts_of
from pixeltune.tasks.parsing.answers import credit

NAME = "sums"
HELD_OUT = 8  # one problem in eight belongs to the test split, whatever words it is asked in

PEOPLE = "Anna Ben Carla David Emma Felix Greta Hugo Ines Jonas Karin Leo Mia Nora Oskar Paula".split()
THINGS = "apples pens books coins shells stamps cards nuts eggs marbles".split()
_PLAIN = ["What is {}?", "Compute {}.", "{} = ?", "How much is {}?"]
_FIRST = {
    "+": [
        "{name} has {a} {things} and finds {b} more.",
        "{name} buys {a} {things} and then {b} more.",
        "There are {a} {things} in a box and {b} in a bag.",
    ],
    "-": [
        "{name} has {a} {things} and loses {b}.",
        "There were {a} {things} and {name} took {b}.",
        "{name} had {a} {things} and sold {b}.",
    ],
    "*": [
        "{name} has {b} boxes with {a} {things} each.",
        "There are {b} rows of {a} {things}.",
    ],
}
_SECOND = {
    "+": ["Then {b} more are added.", "A friend brings {b} more."],
    "-": ["Then {b} are given away.", "After that {b} get lost."],
}
_ASK = ["How many {things} are there now?", "How many {things} is that?"]
_ANSWER = re.compile(r"Answer:\s*(-?\d[\d,]*)")


@dataclass(frozen=True)
class Problem:
    """A question with its steps ``(a, op, b)``; each step's ``a`` is the result of the one before."""

    question: str
    steps: tuple[tuple[int, str, int], ...]

    @property
    def answer(self) -> int:
        return calculate(*self.steps[-1])

    @property
    def held_out(self) -> bool:
        return zlib.crc32(repr(self.steps).encode()) % HELD_OUT == 0


def calculate(a: int, op: str, b: int) -> int:
    return a + b if op == "+" else a - b if op == "-" else a * b


def problem(rng: random.Random) -> Problem:
    """One problem: numbers to 99, no negative results, multiplication by one digit."""
    op = rng.choice("++--*")
    two_steps = rng.random() < 0.35
    if op == "*":
        b = rng.randint(2, 9)
        a = rng.randint(2, 99 // b) if two_steps else rng.randint(2, 99)
    else:
        a, b = rng.randint(1, 99), rng.randint(1, 99)
        if op == "-" and a < b:
            a, b = b, a
        if op == "+" and two_steps:
            a, b = (n := rng.randint(2, 99)), rng.randint(1, n)
            a = a - b or 1
    steps = [(a, op, b)]
    if two_steps:
        a, op = calculate(*steps[0]), rng.choice("+-")
        steps.append((a, op, rng.randint(0, a) if op == "-" else rng.randint(1, 99)))
    return Problem(ask(steps, rng), tuple(steps))


def ask(steps: list[tuple[int, str, int]], rng: random.Random) -> str:
    """The steps as a question, plain or in words."""
    if rng.random() < 0.5:
        expression = f"{steps[0][0]} {steps[0][1]} {steps[0][2]}"
        expression += "".join(f" {op} {b}" for _, op, b in steps[1:])
        return rng.choice(_PLAIN).format(expression)
    words = {"name": rng.choice(PEOPLE), "things": rng.choice(THINGS)}
    sentences = [rng.choice(_FIRST[steps[0][1]]).format(a=steps[0][0], b=steps[0][2], **words)]
    sentences += [rng.choice(_SECOND[op]).format(b=b) for _, op, b in steps[1:]]
    return " ".join([*sentences, rng.choice(_ASK).format(**words)])


def columns(a: int, op: str, b: int) -> str:
    """One step column by column: ``48 + 37: 8+7=15, 4+3+1=8, 85``."""
    (a1, a0), (b1, b0) = divmod(a, 10), divmod(b, 10)
    if op == "+":
        units = a0 + b0
        carry = "+1" if units > 9 else ""
        work = f"{a0}+{b0}={units}, {a1}+{b1}{carry}={a1 + b1 + units // 10}"
    elif op == "-":
        borrow = a0 < b0
        work = f"{a0 + 10 * borrow}-{b0}={a0 + 10 * borrow - b0}, "
        work += f"{a1}-{b1}{'-1' if borrow else ''}={a1 - b1 - borrow}"
    else:
        units = a0 * b
        work = f"{a0}*{b}={units}, {a1}*{b}+{units // 10}={a1 * b + units // 10}"
    return f"{a} {op} {b}: {work}, {calculate(a, op, b)}"


def worked(item: Problem) -> str:
    """Every step column by column, one line each."""
    return "\n".join(columns(*step) for step in item.steps)


def rows(split: str, n: int, seed: int = 0) -> list[dict]:
    """``n`` rows of ``split`` ("train" or "test") in TRL's prompt-completion format; no problem is in both.

    Raises:
        ValueError: for another split.
    """
    return rows_of(NAME, problem, split, n, seed)


def rows_of(name: str, make: Callable[[random.Random], Problem], split: str, n: int, seed: int) -> list[dict]:
    """Rows of the problems that ``make`` makes, drawn by the name of their task (see `draw`)."""
    return [
        {
            "prompt": [{"role": "user", "content": item.question}],
            "completion": [{"role": "assistant", "content": f"{worked(item)}\nAnswer: {item.answer}"}],
            "answer": item.answer,
        }
        for item in draw(name, make, split, n, seed)
    ]


def parse(text: str) -> int | None:
    """The number of the last ``Answer: N``, or None."""
    found = _ANSWER.findall(text)
    return int(found[-1].replace(",", "")[:18]) if found else None


def score(row: dict, text: str) -> float:
    """1.0 if the last ``Answer: N`` is the right number, else 0.0."""
    return float(parse(text) == row["answer"])


def grade(row: dict, text: str) -> float:
    """Partial credit for the number of the last ``Answer: N``: `pixeltune.tasks.parsing.answers.credit`."""
    return credit(parse(text), row["answer"], text)


def shaped_reward(completions: list, answer: list[int], **_) -> list[float]:
    """:func:`grade` of every completion, in TRL's signature."""
    return [grade({"answer": a}, text) for a, text in zip(answer, texts_of(completions), strict=True)]


def reward(completions: list, answer: list[int], **_) -> list[float]:
    """Binary reward in TRL's signature: :func:`score` of every completion."""
    return [score({"answer": a}, text) for a, text in zip(answer, texts_of(completions), strict=True)]


TASK = Task(
    name=NAME,
    instruction="Work it out column by column. End with Answer: and the number. Be brief.",
    max_new_tokens=96,
    rows=rows,
    score=score,
    reward=reward,
)
