"""Bars for people who wait: on stderr, and only where somebody looks at it."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from pixeltune.errors import escaped


def bars(quiet: bool) -> Progress:
    """Bars that are gone when the work is done.

    Args:
        quiet: draw none; where stderr is a file, none is drawn anyway.
    """
    console = Console(stderr=True)
    watched = console.is_terminal or console.is_jupyter
    return Progress(console=console, transient=True, disable=quiet or not watched)


def titled(text: str) -> str:
    """A text that may hold names of files, as the title of a bar."""
    return escape(escaped(text))
