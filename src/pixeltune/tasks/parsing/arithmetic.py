"""Small programs of arithmetic, evaluated over a whitelist: numbers, names, + - * / // % ** and assignments.

Nothing is compiled or run. A program is read into Python's syntax tree, and what of the tree is not named here is
refused. Programs, numbers and nesting are bounded, so that a hostile one costs milliseconds.
"""

from __future__ import annotations

import ast
import math
import operator
import re

from pixeltune.errors import UserError

LONGEST = 1000  # characters of a program, which also bounds what Python's own parser has to nest
STATEMENTS = 20
DEPTH = 100  # of an expression
LARGEST = 10**30  # of any number on the way, too; of an exponent: its decimal digits
EXPONENT = 100

_WORD = re.compile(r"[A-Za-z]\w*|\d[\w.]*|[-+*/%()=.;\s]", re.ASCII)
_NUMBER = re.compile(r"\d+(\.\d*)?")
_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def evaluate(program: str) -> int | float:
    """The value of a program's last statement.

    Args:
        program: statements ``name = expression`` or expressions, one a line or with ``;`` between. Names are
            assigned before they are used; of numbers there are ``12`` and ``3.5``.

    Returns:
        A whole number as an int, also where it was divided.

    Raises:
        UserError: something else is in the program, or too much; one short line.
    """
    if not isinstance(program, str):
        raise UserError("program is a text")
    if len(program) > LONGEST:
        raise UserError(f"a program has at most {LONGEST} characters")
    _check_words(program)
    try:
        statements = ast.parse(program.strip()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise UserError(
            "this is no program: write name = expression, or an expression, in each line"
        ) from None
    if not 0 < len(statements) <= STATEMENTS:
        raise UserError(f"a program has 1 to {STATEMENTS} statements")
    names: dict[str, int | float] = {}
    value: int | float = 0
    for statement in statements:
        if isinstance(statement, ast.Expr):
            value = _value(statement.value, names, 0)
        elif (
            isinstance(statement, ast.Assign)
            and len(statement.targets) == 1
            and isinstance(target := statement.targets[0], ast.Name)
        ):
            value = names[target.id] = _value(statement.value, names, 0)
        else:
            raise UserError("a statement is name = expression, or an expression")
    return int(value) if value == int(value) else value


def _check_words(program: str) -> None:
    """Refuse signs and numbers of another grammar, of some of which Python's parser also warns."""
    end = 0
    for word in _WORD.finditer(program):
        if word.start() > end:
            break
        end = word.end()
        if word[0][0].isdigit() and not _NUMBER.fullmatch(word[0]):
            raise UserError(f"{word[0][:20]!r} is no number: write 12 or 3.5")
    if end < len(program):
        raise UserError(
            f"{program[end]!r} is not part of a program: it has numbers, names, + - * / // % ** ( ) ="
        )


def _value(node: ast.expr, names: dict[str, int | float], depth: int) -> int | float:
    if depth > DEPTH:
        raise UserError(f"an expression is nested at most {DEPTH} deep")
    if (
        isinstance(node, ast.Constant)
        and isinstance(node.value, int | float)
        and not isinstance(node.value, bool)
    ):
        return _bounded(node.value)
    if isinstance(node, ast.Name):
        if node.id not in names:
            raise UserError(f"{node.id[:20]} is not assigned before")
        return names[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd | ast.USub):
        inner = _value(node.operand, names, depth + 1)
        return -inner if isinstance(node.op, ast.USub) else inner
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Pow, *_OPERATORS)):
        sides = (_value(side, names, depth + 1) for side in (node.left, node.right))
        return _bounded(_apply(node.op, *sides))
    raise UserError("an expression has numbers, names assigned before, + - * / // % ** and brackets only")


def _apply(sign: ast.operator, left: int | float, right: int | float) -> int | float:
    try:
        if not isinstance(sign, ast.Pow):
            return _OPERATORS[type(sign)](left, right)
        digits = math.log10(abs(left)) * right if left else 0
        if abs(right) > EXPONENT or digits > math.log10(LARGEST):
            raise UserError(f"an exponent is at most {EXPONENT}, and a power at most {LARGEST:g}")
        return left**right
    except ZeroDivisionError:
        raise UserError("division by zero") from None


def _bounded(value: int | float | complex) -> int | float:
    if isinstance(value, complex):
        raise UserError("a root of a negative number is no number here")
    if abs(value) > LARGEST:
        raise UserError(f"a number is at most {LARGEST:g}")
    return value
