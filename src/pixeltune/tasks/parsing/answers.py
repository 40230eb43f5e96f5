r"""Final answers that are numbers: one parser for every reward and score.

An answer is written ``Answer: 42``, ``#### 42`` or ``\boxed{42}``, perhaps with a currency sign, thousands
commas, a percent sign (dropped like any unit: GSM8K's answers to "what percentage" are plain numbers) or as a
simple fraction. Numbers are compared exactly, as fractions. Completions are hostile text: every repetition in
the patterns is bounded, digits are capped, and only the end of a very long completion is read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from fractions import Fraction

from pixeltune.errors import UserError
from pixeltune.tasks.base import texts_of

MAX_TEXT = 100_000  # characters, from the end
MAX_BOX = 300  # characters inside \boxed{}
MAX_BOXES = 20  # looked into, from the end

_SIGN = "[-+\N{MINUS SIGN}\N{EN DASH}]"
_CURRENCY = "[$\N{EURO SIGN}\N{POUND SIGN}\N{YEN SIGN}\N{INDIAN RUPEE SIGN}]"
_DECIMALS = r"(?:\.[0-9]{1,30}(?![0-9]))?"
# A sign behind a digit or bracket is an operator: 10-5 ends in 5. A digit behind a letter is part of a name.
_VALUE = rf"""
    (?: (?<! [0-9A-Za-z)\]}}%] ) (?P<sign>{_SIGN}) )?
    (?: \\?{_CURRENCY} [ ]? (?P<inner>{_SIGN})? )?
    (?: \\[dt]?frac \{{ (?P<top>[0-9]{{1,30}}) \}} \{{ (?P<bottom>[0-9]{{1,30}}) \}}
      | (?<! [0-9A-Za-z] ) (?<! [0-9]\. )
        (?P<digits> [0-9]{{1,3}} (?:,[0-9]{{3}}){{1,9}} (?! ,?[0-9] ) {_DECIMALS}
                  | [0-9]{{1,30}} (?! [0-9] ) {_DECIMALS}
                  | (?<! \. ) \.[0-9]{{1,30}} (?! [0-9] ) )
        (?: [ ]?/[ ]? (?P<under>[0-9]{{1,30}}) (?! [0-9] ) )? )
"""
_NUMBER = re.compile(_VALUE, re.VERBOSE)
_ANSWER = re.compile(rf"answer [*_ \t]{{0,4}} : [\s*_<(\[$\\]{{0,8}} {_VALUE}", re.VERBOSE | re.IGNORECASE)
# To the end of the line: "#### 3. Add them up" is a heading.
_HASHES = re.compile(rf"\#{{4}} [\s*_$]{{0,8}} {_VALUE} [ \t.*_$%]{{0,8}} $", re.VERBOSE | re.MULTILINE)
_BOX = re.compile(r"\\boxed[ ]?\{")


def number(text: str) -> Fraction | None:
    r"""The last answer in a completion, None if there is no number in it.

    The last one written ``Answer: <number>``, ``#### <number>`` at the end of a line or ``\boxed{<number>}``
    counts; without any of these, the last number. Never raises, and takes time linear in the text.
    """
    text = _plain(text)
    marked = [found for found in (_last(_ANSWER, text), _last(_HASHES, text), _boxed(text)) if found]
    found = max(marked, default=None) or _last(_NUMBER, text)
    return found[1] if found else None


def stated(text: str) -> Fraction | None:
    """The number of the last ``Answer: <number>``, what the prompts ask for; no other form counts."""
    found = _last(_ANSWER, _plain(text))
    return found[1] if found else None


def right_answer(row: dict) -> Fraction:
    """The reference in a row's ``answer``: an int, a finite float or a text in one of the forms above.

    Raises:
        ValueError: it holds no number; the row is to blame, not the completion.
    """
    answer = row["answer"]
    if isinstance(answer, int | float) and math.isfinite(answer):
        return Fraction(str(answer)) if isinstance(answer, float) else Fraction(answer)
    if (value := number(answer)) is None:
        raise UserError(f"the answer {str(answer)[:80]!r} of a row is not a number")
    return value


def score(row: dict, text: str) -> float:
    """1.0 if the completion's answer, in whatever form, is exactly the row's, else 0.0."""
    return float(number(text) == right_answer(row))


def grade(row: dict, text: str) -> float:
    """Partial credit, the levels of ART's released evaluation code (arXiv 2606.11854, ``reward_shaping``).

    1.0 for the exact number after ``Answer:``, 0.4 within 1 % of it, 0.2 within 10 %, 0.1 for another number
    there, 0.01 for a number anywhere else, 0.0 for none. The paper scores only what earns 1.0 here.
    """
    right, said = right_answer(row), stated(text)
    if said is None:
        return 0.0 if number(text) is None else 0.01
    error = abs(said - right)
    if error == 0:
        return 1.0
    return 0.4 if error * 100 <= abs(right) else 0.2 if error * 10 <= abs(right) else 0.1


def binary_reward(completions: list, answer: list, **_) -> list[float]:
    """:func:`score` of every completion, in TRL's signature, from the rows' column ``answer``."""
    return [score({"answer": a}, text) for a, text in zip(answer, texts_of(completions), strict=True)]


def paper_reward(completions: list, answer: list, **_) -> list[float]:
    """:func:`grade` of every completion, in TRL's signature: what ART trains on (arXiv 2606.11854)."""
    return [grade({"answer": a}, text) for a, text in zip(answer, texts_of(completions), strict=True)]


def _plain(text: object) -> str:
    """The end of a completion without LaTeX's spacing inside numbers; nothing for what is no text."""
    return text[-MAX_TEXT:].replace("{,}", ",").replace("\\!", "") if isinstance(text, str) else ""


def _values(matches: Iterable[re.Match[str]]) -> Iterator[tuple[int, Fraction]]:
    """Where each match ends, and its number; a fraction over zero is none."""
    for match in matches:
        bottom = int(match["bottom"] or match["under"] or 1)
        if bottom:
            top = Fraction(match["top"] or match["digits"].replace(",", "")) / bottom
            signs = {match["sign"] or "+", match["inner"] or "+"}
            yield match.end(), top if signs == {"+"} else -top


def _last(pattern: re.Pattern[str], text: str) -> tuple[int, Fraction] | None:
    return next(_values(reversed([*pattern.finditer(text)])), None)


def _boxed(text: str) -> tuple[int, Fraction] | None:
    r"""The number in the last closed ``\boxed{}`` that has one; behind its equals sign, if there is one."""
    for match in reversed([*_BOX.finditer(text)][-MAX_BOXES:]):
        start, depth = match.end(), 1
        for end, character in enumerate(text[start : start + MAX_BOX], start):
            depth += (character == "{") - (character == "}")
            if depth == 0:
                inside = text[start:end].rpartition("=")[2]
                if found := next(_values(_NUMBER.finditer(inside)), None):
                    return end, found[1]
                break
    return None
