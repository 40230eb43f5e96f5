r"""Final answers that are numbers: one parser, and one partial credit, for rewards and scores alike.

Benchmarks and rows of the user's own are scored by it. The synthetic sums want their own format and read it
more strictly: `pixeltune.tasks.synthetic.sums.parse`.

An answer is written ``Answer: 42``, ``#### 42`` or ``\boxed{42}``, in any form that
:mod:`pixeltune.tasks.parsing.numbers` reads, perhaps with a percent sign (dropped like any unit: GSM8K's
answers to "what percentage" are plain numbers). It may be an equation, ``Answer: 48 + 37 = 85``: then it is
the last of its sides that is a number and not a calculation. Nothing is worked out: a calculation
left open, ``Answer: 48 + 37``, and one in words, ``Answer: 48 plus 37 is 85``, count as their first number, as
``Answer: 10-15`` and ``Answer: 85 - correct`` do. Numbers are compared exactly, as fractions.
Completions are hostile text: every repetition in the patterns is bounded, and only the end of a very long
completion is read.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

from pixeltune.errors import UserError
from pixeltune.tasks.base import texts_of
from pixeltune.tasks.parsing.boxes import boxes
from pixeltune.tasks.parsing.numbers import VALUE, first_number, last, last_number, plain, value_of

MAX_TEXT = 100_000  # characters, from the end
MAX_LINE = 300  # characters behind "Answer:"
MAX_ANSWERS = 1_000  # looked at, from the end

_WRAPPED = r"(?:\\(?:boxed|fbox|mbox|text[a-z]{0,6}|math[a-z]{0,6}|bf|rm)[ ]?\{[ ]?\\?){0,3}"
_OPEN = rf"[\s*_<(\[{{$\\=~≈]{{0,8}} {_WRAPPED} [*_($]{{0,4}}"
_MARK = re.compile(r"answer [*_ \t]{0,4} : [\s*_]{0,8}", re.VERBOSE | re.IGNORECASE)
_START = re.compile(rf"{_OPEN} {VALUE}", re.VERBOSE)
# Behind the number of a side that is no calculation stand units, perhaps with powers, and no operator.
_SIDE = re.compile(
    rf"""[\s*_<(\[{{$\\&~]{{0,8}} {_WRAPPED} [*_($]{{0,4}} {VALUE}
         (?! [ ]? (?: [-+/^] | \*(?!\*) ) [ ]? (?: [0-9(\\] | [A-Za-z]\b ) )
         (?: [^0-9] | (?<=[A-Za-z^{{]) [0-9] ){{0,{MAX_LINE}}}""",
    re.VERBOSE,
)
_EQUALS = re.compile(r"(?<![<>!:=])={1,3}|[≈≃≅⇒⟹→]|\\(?:approx|simeq|cong|Rightarrow|implies)\b|\bequals\b")
# Where an equation ends: at the end of its sentence, or where an explanation begins.
_STOP = re.compile(
    r"""\n | [.!?;] (?= [\s*_] | $ ) | , (?=\s) | (?: (?<=[0-9%}]) | (?<=[A-Za-z]{2}) (?<!times) ) [ ]\(
      | \b(?i:because|since|as|where|when|if|given|assuming|which|check|note|and|or|but|not)\b""",
    re.VERBOSE,
)
# To the end of the line: "#### 3. Add them up" is a heading.
_HASHES = re.compile(
    rf"""\#{{4}} [\s*_$]{{0,8}} (?: [-+*/x().,$%=\ 0-9]{{1,100}} = [ $]{{0,3}} )?
         {VALUE} [ \t.*_$%]{{0,8}} $""",
    re.VERBOSE | re.MULTILINE,
)
_DIGIT = re.compile("[0-9]")

Found = tuple[int, Fraction]
"""Where a number ends in a text, and the number."""


def number(text: str) -> Fraction | None:
    r"""The last answer in a completion, None if there is no number in it.

    The last one written ``Answer: <number>``, ``#### <number>`` at the end of a line or ``\boxed{<number>}``
    counts; without any of these, the last number. Never raises, and takes time linear in the text.
    """
    text = _end(text)
    marked = [found for found in (_stated(text), last(_HASHES, text), _boxed(text)) if found]
    found = max(marked, default=None) or last_number(text)
    return found[1] if found else None


def stated(text: str) -> Fraction | None:
    """The number of the last ``Answer: <number>``, what the prompts ask for; no other form counts."""
    found = _stated(_end(text))
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
    """`credit` for the number behind the last ``Answer:``. ART's paper scores only what earns 1.0 here."""
    return credit(stated(text), right_answer(row), text)


def credit(said: Fraction | int | None, right: Fraction | int, text: str) -> float:
    """Partial credit, the levels of ART's released evaluation code (arXiv 2606.11854, ``reward_shaping``).

    Args:
        said: the number behind ``Answer:``; None: there is none.
        right: the right one.
        text: the completion.

    Returns:
        1.0 for the exact number, 0.4 within 1 % of it, 0.2 within 10 %, 0.1 for another number, 0.01 without one
        for a number anywhere in the text, 0.0 for none.
    """
    if said is None:
        return 0.0 if number(text) is None else 0.01
    wanted = Fraction(right)
    error = abs(said - wanted)
    if error == 0:
        return 1.0
    return 0.4 if error * 100 <= abs(wanted) else 0.2 if error * 10 <= abs(wanted) else 0.1


def binary_reward(completions: list, answer: list, **_) -> list[float]:
    """:func:`score` of every completion, in TRL's signature, from the rows' column ``answer``."""
    return [score({"answer": a}, text) for a, text in zip(answer, texts_of(completions), strict=True)]


def paper_reward(completions: list, answer: list, **_) -> list[float]:
    """:func:`grade` of every completion, in TRL's signature: what ART trains on (arXiv 2606.11854)."""
    return [grade({"answer": a}, text) for a, text in zip(answer, texts_of(completions), strict=True)]


def _end(text: object) -> str:
    """The end of a completion, as the patterns want it; nothing for what is no text."""
    return plain(text[-MAX_TEXT:]) if isinstance(text, str) else ""


def _stated(text: str) -> Found | None:
    """The number behind the last "Answer:" that has one."""
    for mark in reversed([*_MARK.finditer(text)][-MAX_ANSWERS:]):
        begin = mark.end()
        line = text[begin : begin + MAX_LINE].partition("\n")[0]
        if not _DIGIT.search(line):
            continue
        end = begin + len(line)
        first = _START.match(text, begin, end)
        value = value_of(first) if first else None
        stop = _STOP.search(text, first.end() if first else begin, end)
        found = _equated(text, begin, stop.start() if stop else end)
        # Behind words that only lead up to it, an equation has to be all there is.
        if found and (value is not None or not (stop and _DIGIT.search(text, stop.end(), end))):
            return found
        if first and value is not None:
            return first.end(), value
    return None


def _equated(text: str, begin: int, end: int) -> Found | None:
    """The last side of an equation that is a number, None without an equation or such a side."""
    signs = [match.span() for match in _EQUALS.finditer(text, begin, end)]
    starts, ends = [begin, *(stop for _, stop in signs)], [*(start for start, _ in signs), end]
    for start, stop in zip(reversed(starts), reversed(ends), strict=True) if signs else ():
        side = _SIDE.fullmatch(text, start, stop)
        if side and (value := value_of(side)) is not None:
            return stop, value
    return None


def _boxed(text: str) -> Found | None:
    r"""The number in the last closed ``\boxed{}`` that has one; of an equation, as behind "Answer:"."""
    for begin, end in boxes(text):
        if found := _equated(text, begin, end) or first_number(text[begin:end].rpartition("=")[2]):
            return end, found[1]
    return None
