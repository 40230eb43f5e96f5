r"""Numbers as people and models write them, read exactly, as fractions.

Read are signs, currency, thousands (``1,234``, ``1 234``, ``1'234`` and LaTeX's ``1{,}234``, ``1\,234``),
decimals, fractions (``3/4``, ``\frac{3}{4}``, ``¾``), mixed numbers (``2 1/2``) and powers of ten (``1.5e3``,
``1.5 x 10^3``, ``1.5\times10^{3}``). A comma is never a decimal point: ``1,5`` is a 1 and a 5, ``1.234,50``
a 1.234 and a 50, because a text does not say whose way of writing it follows. Every repetition in the
patterns is bounded, and digits are capped.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from fractions import Fraction

from pixeltune.tasks.parsing.characters import to_ascii

CURRENCY = "[$\N{EURO SIGN}\N{POUND SIGN}\N{YEN SIGN}\N{INDIAN RUPEE SIGN}]"
_THOUSANDS = "[ '_\N{RIGHT SINGLE QUOTATION MARK}]"
_DECIMALS = r"(?:\.[0-9]{1,30}(?![0-9]))?+"
_WHOLE = r"(?: [0-9]{1,3} (?:,[0-9]{3}){1,9} (?! ,?[0-9] ) | [0-9]{1,30} (?! [0-9] ) )"
_PART = rf"[-+]?[ ]? {_WHOLE} {_DECIMALS}"
_FRACTION = r"\\(?:[cdt]?frac|nicefrac|sfrac)"
_POWER = r"(?: \^ | \*\* ) [ ]? [{(]? [ ]? (?P<%s> [-+]?[0-9]{1,3} ) (?! [0-9] ) [ ]? [})]?"


def _fraction(top: str, bottom: str) -> str:
    return rf"""{_FRACTION} (?: \{{ [ ]? (?P<{top}> {_PART} ) [ ]? \}} | [ ]? (?P<{top}_digit> [0-9] ) )
                 (?: \{{ [ ]? (?P<{bottom}> {_PART} ) [ ]? \}} | [ ]? (?P<{bottom}_digit> [0-9] ) )"""


# A sign behind a digit or bracket is an operator: 10-5 ends in 5. A digit behind a letter is part of a name.
# Two numbers side by side are thousands if the second has three digits, but not in "15 200-gram bags".
VALUE = rf"""
    (?: (?<! [0-9A-Za-z)\]}}%] ) (?P<sign>[-+]) | (?<= [:=][ ] ) (?P<far>[-+]) [ ]
      | \b (?P<word>(?i:negative)) [ ] )?
    (?: \\?{CURRENCY} [ ]? (?P<inner>[-+])? )?
    (?: {_fraction("top", "bottom")}
      | (?<! [0-9A-Za-z] ) (?<! [0-9]\. )
        (?P<digits> [0-9]{{1,3}} (?:,[0-9]{{3}}){{1,9}} (?! ,?[0-9] ) {_DECIMALS}
                  | [0-9]{{1,3}} (?:{_THOUSANDS}[0-9]{{3}}){{1,9}}
                    (?! [0-9] | -[A-Za-z] ) {_DECIMALS}
                  | [0-9]{{1,30}} (?! [0-9] ) {_DECIMALS}
                  | (?<! \. ) \.[0-9]{{1,30}} (?! [0-9] ) )
        (?! [eE][-+]?[0-9]{{4}} )
        (?: [ ] (?P<mixed>[0-9]{{1,4}}) [ ]?/[ ]? (?P<of>[0-9]{{1,4}}) (?! [0-9] | [./][0-9] )
          | [ ]? {_fraction("mixed_top", "mixed_bottom")}
          | [ ]?/[ ]? (?P<under> {_WHOLE} {_DECIMALS} )
          | [eE] (?P<exponent>[-+]?[0-9]{{1,3}}) (?! [0-9A-Za-z] )
          | [ ]? [xX*] [ ]? (?: 10 | \{{10\}} ) {_POWER % "power"}
          | (?<= 10 ) (?<! [0-9.,]10 ) {_POWER % "ten"} )? )
"""
_NUMBER = re.compile(VALUE, re.VERBOSE)

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_OPERATORS = str.maketrans(dict.fromkeys("\u00b7\u00d7\u2022\u2219\u22c5\u2715", "*") | {"\u00f7": "/"})
# A digit right behind a command of LaTeX ends it, where \b sees none: \times10.
_TIMES, _OVER = re.compile(r"\\(?:times|cdot|ast)(?![A-Za-z])"), re.compile(r"\\div(?![A-Za-z])")
_TEN = re.compile(r"(?<![0-9])10([⁺⁻]?[⁰¹²³⁴-⁹]{1,3})")
_VULGAR = re.compile(r"(?:(?<=[0-9])[ ]?)?([¼-¾⅐-⅞↉])")
_SPACING = re.compile(r"\{(?:\\[,;: ]|[ ])\}|\\[,;: ]|\\thinspace\b[ ]?|(?<=[0-9])~(?=[0-9]{3})")


def plain(text: str) -> str:
    r"""A text as the patterns here want it.

    Full width as ASCII, ½ as 1/2, 10³ as 10^3, ``*`` and ``/`` as operators, and no spacing of LaTeX's.
    """
    text = _OVER.sub("/", _TIMES.sub("*", to_ascii(text).translate(_OPERATORS)))
    text = text.replace("{,}", ",").replace("\\!", "").replace("\\%", "%")
    text = _SPACING.sub(" ", text)
    text = _TEN.sub(lambda match: f"10^{match[1].translate(_SUPERSCRIPTS)}", text)
    return _VULGAR.sub(_spelled, text)


def values(matches: Iterable[re.Match[str]]) -> Iterator[tuple[int, Fraction]]:
    """Where each match of a pattern with :data:`VALUE` ends, and its number; a fraction over zero is none."""
    for match in matches:
        if (value := value_of(match)) is not None:
            yield match.end(), value


def value_of(match: re.Match[str]) -> Fraction | None:
    """The number of a match of a pattern with :data:`VALUE`; None for a fraction over zero."""
    if match["digits"] is None:
        value = _quotient(match["top"] or match["top_digit"], match["bottom"] or match["bottom_digit"])
    else:
        value = _exact(match["digits"])
        top, bottom = match["mixed"] or match["mixed_top"] or match["mixed_top_digit"], None
        if top is not None:
            bottom = match["of"] or match["mixed_bottom"] or match["mixed_bottom_digit"]
            part = _quotient(top, bottom)
            if part is None:
                return None
            value += part if 0 < part < 1 and value.denominator == 1 else 0
        elif match["under"]:
            value = _quotient(match["digits"], match["under"])
        elif match["ten"]:
            value = Fraction(10) ** int(match["ten"])
        else:
            value *= Fraction(10) ** int(match["exponent"] or match["power"] or 0)
    signs = [match["sign"] or match["far"] or ("-" if match["word"] else "+"), match["inner"] or "+"]
    return -value if value is not None and "-" in signs else value


def last(pattern: re.Pattern[str], text: str) -> tuple[int, Fraction] | None:
    """Where the last match with a number ends, and that number."""
    return next(values(reversed([*pattern.finditer(text)])), None)


def last_number(text: str) -> tuple[int, Fraction] | None:
    """Where the last number in a text ends, and its value."""
    return last(_NUMBER, text)


def first_number(text: str) -> tuple[int, Fraction] | None:
    """Where the first number in a text ends, and its value."""
    return next(values(_NUMBER.finditer(text)), None)


def _quotient(top: str, bottom: str) -> Fraction | None:
    return _exact(top) / below if (below := _exact(bottom)) else None


def _exact(digits: str) -> Fraction:
    return Fraction(re.sub(f",|{_THOUSANDS}", "", digits))


def _spelled(match: re.Match[str]) -> str:
    fraction = unicodedata.normalize("NFKC", match[1]).replace("\N{FRACTION SLASH}", "/")
    behind = match.start() > 0 and match.string[match.start() - 1].isdecimal()
    return f" {fraction}" if behind else fraction
