r"""Answers that are the letter of an option: one parser for the rewards and scores of multiple choice.

The letter is written ``Answer: B``, perhaps in Markdown, brackets, full width, LaTeX's fonts or ``\boxed{}``,
perhaps with the option's text behind it. The English words "A" and "I" are no letters of options, and
neither is the variable in "D = 16". Completions are hostile text: every repetition in the patterns is
bounded, and only the end of a very long completion is read.
"""

from __future__ import annotations

import re
from functools import cache

from pixeltune.tasks.parsing.boxes import boxes
from pixeltune.tasks.parsing.characters import to_ascii

MAX_TEXT = 100_000  # characters, from the end
MAX_LINE = 300  # of a last line that may choose without "Answer:"

_FONT = r"""(?: \\(?:boxed|fbox|mbox|hbox|text[a-z]{0,6}|math[a-z]{0,6}|operatorname|boldsymbol|bm|bf|rm|sf
                  |emph|underline|displaystyle|left|bigl?|Bigl?|Large|large) (?![a-z]) [ ]?\{? )"""
_OPEN = rf"""(?: [\s*_<(\[{{$"'`\\]{{0,8}} {_FONT}? ){{1,5}}"""
_KIND = r"(?i: (?:the[ ])? (?:correct[ ])? (?:option|choice|answer) [ :]{1,2} (?:is[ ])? [*_(\[]{0,3} )"
_WHOLE = r"(?! [\w'\N{RIGHT SINGLE QUOTATION MARK}] | \.\w )"
_CLOSED = r"""(?= [)\]}>*_$"`.,:;!\\] | [ \t\r]*$ | [ \t][-\N{EN DASH}\N{EM DASH}][ \t] )"""
_DOUBT = re.compile(r"\b(?:not|never|cannot|neither|nor|or|and|wrong|incorrect)\b|n't\b|[/&]", re.IGNORECASE)


def letter(text: object, letters: str) -> str | None:
    r"""The option that a completion chooses, None if it does not say so clearly.

    The last ``Answer: X`` or ``\boxed{X}`` counts; without any, a text that ends in "the answer is X", in
    "(X)" behind such a word as "is", or in a line with nothing but X. "Answer: A train" and "Answer: B or C"
    choose nothing. Never raises, and takes time linear in the text.

    Args:
        text: the completion.
        letters: of the options, in capitals: "ABCDE".
    """
    if not isinstance(text, str):
        return None
    text = to_ascii(text[-MAX_TEXT:])
    marked = [(match.end(), _chosen(match)) for match in [*_stated(letters).finditer(text)][-1:]]
    in_boxes = ((end, _boxed(letters).fullmatch(text, begin, end)) for begin, end in boxes(text))
    marked += [(end, _chosen(match)) for end, match in in_boxes if match][:1]
    if marked:
        return max(marked)[1]
    line = text.rstrip()[-MAX_LINE:].rpartition("\n")[2]
    sentence = re.split(r"(?<=[.!?])[ \t]", line)[-1]
    # What is cut off may have said "not".
    if len(line) == MAX_LINE or _DOUBT.search(sentence) or not (found := _last(letters).search(line)):
        return None
    return _chosen(found)


def _chosen(found: re.Match[str]) -> str:
    return next(filter(None, found.groups())).upper()


@cache
def _stated(letters: str) -> re.Pattern[str]:
    """Letters behind "Answer:"."""
    # What could be a word must be closed by a sign or the line; other capitals may have words behind them.
    one = rf"""( [{letters}{letters.lower()}] {_WHOLE} {_CLOSED}
              | (?![AI]) [{letters}] {_WHOLE} (?= [ \t]{{1,4}} [\w$(\[] ) )"""
    alone = rf"""(?! (?: [)\]}}*_"`.$ \t]{{0,6}} (?:[-,/|&+]|\b(?i:or|and|nor)\b) | [)\]}}*_ \t]{{1,6}} )
                  [ \t(*_\[<"]{{0,6}} (?i:option[ ]|choice[ ])? (?: {_FONT} [({{]{{0,2}} ){{0,2}}
                  [{letters}] {_WHOLE} )"""
    stated = rf"(?i:\banswer) [*_ \t]{{0,4}} : {_OPEN} {_KIND}? {one} {alone}"
    return re.compile(stated, re.VERBOSE | re.MULTILINE)


@cache
def _boxed(letters: str) -> re.Pattern[str]:
    r"""The whole inside of a ``\boxed{}``: a letter, perhaps with the option's text behind a bracket."""
    opens = r"\\(?:text|math)[a-z]{0,6}[ ]?\{"  # of the text alone: C\text{. foo}
    text = rf"""[ }}]{{0,2}} (?: {opens} )? [ ]? (?: \) | [.:] (?=[ ]) )
                (?! [ \t(}}]{{0,4}} (?: [{letters}] {_WHOLE} | (?i:or|and|nor)\b | [-,/|&+] ) ) .*"""
    return re.compile(
        rf"{_OPEN} (?i:option[ ])? ([{letters}]) {_WHOLE} (?: [ )\]}}.$\\]* | {text} )",
        re.VERBOSE | re.DOTALL,
    )


@cache
def _last(letters: str) -> re.Pattern[str]:
    """Letters that a last line ends in."""
    said = r"""\b(?i:answer|ans|option|choice) [\s:=,.*_-]{0,4} (?i:(?:is|will[ ]be|must[ ]be)\b)?
               (?i:[ ]{0,2}\boption\b)? [\s:=,*_("'`$-]{1,6}"""
    bracket = r"\b(?i:is|so|thus|hence|therefore) [\s:=,*_-]{1,6} [(\[]"
    nothing = r"""^ [\s*_(\[$"'`\\]{0,8}"""
    return re.compile(
        rf"""(?: {said} | {bracket} | {nothing} ) (?: (?!\\f?boxed) {_FONT} [({{]{{0,2}} ){{0,3}}
             ([{letters}]) [)\]}}*_$.:"'`\s\\]{{0,8}} $""",
        re.VERBOSE,
    )
