"""What a terminal may be shown of a stranger's text: control characters in it can rewrite lines already read."""

from __future__ import annotations


def escaped(text: object) -> str:
    """A text as one line of printable characters; the others stand as Python writes them, ``\\x1b``.

    Those are everything that `str.isprintable` refuses: controls, line ends, what turns the direction of writing,
    spaces but the usual one, and halves of surrogate pairs.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))
