"""A style as text, such as `3 * l2 + 0.1 * gram("waves.png") + caption("red", "What colour is it?")`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from pixeltune.errors import UserError
from pixeltune.picture.files import check_start
from pixeltune.picture.style import L2, Band, Caption, Content, Gram, Palette, Term, TotalVariation

LONGEST = 2000  # characters

TERMS = {
    "l2": L2,
    "tv": TotalVariation,
    "palette": Palette,
    "band": Band,
    "content": Content,
    "gram": Gram,
    "caption": Caption,
}


def read_style(text: str) -> Term:
    """A style from its text, which is parsed, never run.

    Pictures it names are opened, and refused if they cannot be read.

    Raises:
        ValueError: it is not a sum of weighted terms, or its terms contradict each other.
    """
    if len(text) > LONGEST:
        raise UserError(f"the style has {len(text)} characters; at most {LONGEST}")
    try:
        style = _term(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise UserError(f"cannot read the style {text!r}: write weight * term + weight * term") from error
    _check(style)
    return style


def without_folders(text: str, style: Term) -> str:
    """A style's text as it may be published: pictures go by their names, not by where they lay.

    Args:
        text: as it was given.
        style: what `read_style` made of it; at the end of a training the pictures may be gone.
    """
    for _, term in style.parts():
        if isinstance(term, Content | Gram):
            text = text.replace(term.reference, Path(term.reference).name)
    return text


def _term(node: ast.expr) -> Term:
    match node:
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _term(left) + _term(right)
        case (
            ast.BinOp(left=ast.Constant(value=weight), op=ast.Mult(), right=term)
            | ast.BinOp(left=term, op=ast.Mult(), right=ast.Constant(value=weight))
        ) if isinstance(weight, int | float) and not isinstance(weight, bool):
            return weight * _term(term)
        case ast.Name(id=name):
            return _named(name, [])
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            constants = [argument for argument in arguments if isinstance(argument, ast.Constant)]
            if len(constants) == len(arguments):
                return _named(name, [constant.value for constant in constants])
    raise UserError(f"style: {ast.unparse(node)!r} is neither a term nor weight * term")


def _named(name: str, values: list) -> Term:
    if name not in TERMS:
        raise UserError(f"there is no style term {name!r}; there are {', '.join(TERMS)}")
    kind = {"palette": (str, int), "band": (int, float)}.get(name, str)
    try:
        if not all(isinstance(value, kind) and not isinstance(value, bool) for value in values):
            raise TypeError
        return TERMS[name](*values)
    except TypeError:
        given = ", ".join(repr(value) for value in values)
        raise UserError(f"style: {name}({given}) does not fit; see `{TERMS[name].__name__}`") from None


def _check(style: Term) -> None:
    parts = [term for weight, term in style.parts() if weight > 0]
    if not parts:
        raise UserError("every weight of the style is 0: leave the style out")
    for term in parts:
        if isinstance(term, Content | Gram) and term.reference != "start":
            check_start(term.reference, role="style")
    for one, other in _pairs(parts):
        if isinstance(one, Caption) and isinstance(other, Caption) and one.prompt == other.prompt:
            raise UserError(f"style: {one.caption!r} and {other.caption!r} are two answers to one prompt")
        if isinstance(one, Palette) and isinstance(other, Palette):
            raise UserError("style: two palettes pull pixels to different colours; put them into one")
        bands = [term for term in (one, other) if isinstance(term, Band)]
        if len(bands) == 2 and max(band.low for band in bands) >= min(band.high for band in bands):
            raise UserError("style: two bands that have no frequency in common leave nothing to change")


def _pairs(terms: list[Term]) -> Iterator[tuple[Term, Term]]:
    return ((one, other) for i, one in enumerate(terms) for other in terms[i + 1 :])
