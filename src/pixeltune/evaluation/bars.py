"""Bars for people who wait: on stderr, and only where somebody looks at it."""

from __future__ import annotations

import time

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


class Standing:
    """How far the rows of a task are: partial score, tokens a second, and how long the rest will take.

    Rows that a journal has already take no time and are not counted.

    Args:
        name: of what is scored.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.scores: list[float] = []
        self.tokens, self.asked, self.begin = 0, 0, time.perf_counter()

    def after(self, records: list[dict], left: int) -> str:
        """The title of the bar after some more rows, given their records and how many rows are left."""
        self.asked += len(records)
        self.scores += [record["score"] for record in records if not record["error"]]
        self.tokens += sum(record["completion_tokens"] or 0 for record in records)
        seconds = max(time.perf_counter() - self.begin, 1e-9)
        rest = seconds * left / max(1, self.asked)
        said = [f"{self.tokens / seconds:.0f} tokens/s", f"{_duration(rest)} left"]
        if self.scores:
            said.insert(0, f"{sum(self.scores) / len(self.scores):.1%} of {len(self.scores)}")
        return titled(f"{self.name}: {', '.join(said)}")


def _duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever is short."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def titled(text: str) -> str:
    """A text that may hold names of files, as the title of a bar."""
    return escape(escaped(text))
