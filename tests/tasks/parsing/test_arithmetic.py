"""Programs are worth what Python says, and hostile ones are refused at once, in a short line."""

from __future__ import annotations

import random
import time

import pytest

from pixeltune.errors import UserError
from pixeltune.tasks.parsing.arithmetic import LONGEST, STATEMENTS, evaluate


def made(rng: random.Random, names: list[str], depth: int = 4) -> str:
    """An expression that Python takes, too."""
    if not depth or rng.random() < 0.2:
        return rng.choice([str(rng.randint(1, 99)), f"{rng.randint(0, 9)}.{rng.randint(0, 99)}", *names])
    left, right = (made(rng, names, depth - 1) for _ in "ab")
    sign = rng.choice(["+", "-", "*", "/", "//", "%", "**"])
    if sign == "**":
        return f"({left}) ** {rng.randint(-3, 3)}"
    return f"{rng.choice(['', '-', '+'])}({left}) {sign} ({right})"


def test_programs_are_worth_what_python_says():
    rng, right = random.Random(1), 0
    for _ in range(500):
        lines, names, known = [], ["7"], {}
        try:
            for name in "abc":
                lines.append(f"{name} = {made(rng, names)}")
                known[name] = eval(lines[-1][4:], {}, known)
                names.append(name)
        except ZeroDivisionError:
            with pytest.raises(UserError, match=r"division by zero|at most"):
                evaluate("\n".join(lines))
            continue
        try:
            value = evaluate("\n".join(lines) + "\nc")
        except UserError as error:
            assert "at most" in str(error)  # noqa: PT017  a number on the way was too large
            continue
        assert value == known["c"]
        right += 1
    assert right > 300


@pytest.mark.parametrize(
    ("program", "value"),
    [
        ("x = 4823 * 37\nx = x + 915\nx", 179366),
        ("a = 2; a ** 10", 1024),
        ("6 / 2", 3),
        ("7 / 2", 3.5),
        ("total = 3", 3),
        ("\n 1 + 1 \n", 2),
        ("1+" * 60 + "1", 61),
        ("x_1 = .5\nx_1 * 2", 1),
    ],
)
def test_what_a_program_may_say(program, value):
    said = evaluate(program)
    assert (said, type(said)) == (value, type(value))


HOSTILE = {
    "9 ** 9 ** 9": "power",
    "10 ** 31": "power",
    "2 ** 100000": "exponent is at most 100",
    "2.5 ** 0.0000001 ** -90": "power",
    "x = 10 ** 30\n" + "x = x * x\n" * 10: "a number is at most 1e+30",
    "1" * 900: "a number is at most",
    "1 / 0": "division by zero",
    "0 ** -1": "division by zero",
    "(-8) ** 0.5": "root of a negative number",
    "for i in range(9): x = i": "':' is not part of a program",
    "while 1: 1": "':' is not part",
    "[x for x in y]": "'[' is not part",
    "x.real": "an expression has numbers, names",
    "(1).real": "an expression has numbers, names",
    "x.__class__": "'_' is not part",
    "1.__class__": "'1.__class__' is no number",
    "__import__('os')": "'_' is not part",
    "__builtins__": "'_' is not part",
    "open('x')": "is not part",
    "exit()": "an expression has numbers, names",
    "run = 1\nrun(1)": "an expression has numbers, names",
    "lambda: 1": "is not part",
    "import os": "a statement is name = expression",
    "del x": "a statement is name = expression",
    "x = y = 1": "a statement is name = expression",
    "x += 1": "a statement is name = expression",
    "x = 1\ny": "y is not assigned before",
    "True": "an expression has numbers, names",
    "...": "an expression has numbers, names",
    "1 and 2": "an expression has numbers, names",
    "1 if 1 else 2": "an expression has numbers, names",
    "not 1": "an expression has numbers, names",
    "'a' * 9": "is not part",
    "1if 1 else 2": "'1if' is no number",
    "0x1F": "is no number",
    "1e300": "is no number",
    "1j": "is no number",
    "\u0661 + 1": "is not part",
    "1\x00": "is not part",
    "\ud800": "is not part",
    "(" * 400 + "1" + ")" * 400: "no program",
    "-" * 999 + "1": "nested at most",
    "1**" * 300 + "1": "nested at most",
    "1+" * 450 + "1": "nested at most",
    "x = 1\n" * (STATEMENTS + 1): "1 to 20 statements",
    "1;" * 400: "1 to 20 statements",
    "": "1 to 20 statements",
    "1" * 2**20: f"at most {LONGEST} characters",
    "(" * 2**20: f"at most {LONGEST} characters",
    "1 1": "no program",
}


@pytest.mark.parametrize("program", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.filterwarnings("error")
def test_hostile_programs_are_refused_at_once(program):
    begin = time.process_time()
    with pytest.raises(UserError) as caught:
        evaluate(program)
    assert HOSTILE[program] in str(caught.value)
    assert len(str(caught.value)) < 120
    assert "\n" not in str(caught.value)
    assert time.process_time() - begin < 0.5


@pytest.mark.parametrize("program", [None, 3, ["1"], b"1"])
def test_a_program_is_a_text(program):
    with pytest.raises(UserError, match="program is a text"):
        evaluate(program)
