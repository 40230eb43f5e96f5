"""What pixeltune refuses, as one class, and how it is said: in one line; all else keeps its traceback.

All rooms may import it, and it imports none.
"""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something that the user gave cannot be used; the message names the problem and the remedy.

    Bugs, and errors of libraries, are not of this class: they keep their traceback.
    """


class RunError(UserError, RuntimeError):
    """A run that was stopped on purpose, or something that it needs is gone; the message names the remedy."""


def first_line(error: BaseException) -> str:
    """What an error of a library says, as it fits into a line of ours: its first line, or its name."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def suggestion(word: str, known: Iterable[str]) -> str:
    """ " (did you mean ...?)" if one of the known words is near, else nothing."""
    near = difflib.get_close_matches(word.partition("=")[0], list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]}?)" if near else ""


def escaped(text: object) -> str:
    """A stranger's text for a terminal, where control characters can rewrite lines already read.

    One line of printable characters; the others stand as Python writes them, ``\\x1b``. Those are everything that
    `str.isprintable` refuses: controls, line ends, what turns the direction of writing, spaces but the usual
    one, and halves of surrogate pairs.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))
