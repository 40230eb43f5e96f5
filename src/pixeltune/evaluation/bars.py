"""Bars for people who wait: on stderr, and only where somebody looks at it."""

from __future__ import annotations

import time

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from pixeltune.errors import escaped

FIRST_TOKENS = 4
"""Tokens after which the speed of the first rows is told."""


def bars(quiet: bool) -> Progress:
    """Bars that are gone when the work is done.

    Args:
        quiet: draw none; where stderr is a file, none is drawn anyway.
    """
    console = Console(stderr=True)
    watched = console.is_terminal or console.is_jupyter
    return Progress(console=console, transient=True, disable=quiet or not watched)


class Standing:
    """How an evaluation stands: score so far, tokens a second, and how long all the rest of it will take.

    Rows that a journal has already take no time and are not counted, and neither is loading.

    Args:
        rows: of all tasks and candidates.
    """

    def __init__(self, rows: int) -> None:
        self.left, self.later, self.asked, self.tokens, self.seconds = 0, rows, 0, 0, 0.0
        self.name, self.title, self.scores = "", "", list[float]()
        self.mark = 0.0  # when the rows that are answered now were asked
        self.first = 0.0  # when their first tokens came

    def begin(self, name: str, rows: int) -> str:
        """The title while rows of a task and candidate are asked, of which none is answered yet."""
        self.name, self.scores, self.mark = name, [], time.perf_counter()
        self.left, self.later = rows, self.later - rows
        return self._titled()

    def during(self, tokens: int, limit: int, rows: int) -> str:
        """The title after one more token of each of some rows: at once, how long everything may take.

        Once some rows are answered more is known, and the title stays.

        Args:
            tokens: of each row so far.
            limit: tokens at most.
            rows: how many are answered at the same time.
        """
        now = time.perf_counter()
        if tokens == 1:
            self.first = now
        if self.asked or tokens < FIRST_TOKENS:
            return self.title
        a_token = (now - self.first) / (tokens - 1)
        batch = self.first - self.mark + a_token * (limit - 1)
        rest = batch * (self.left + self.later) / rows - (now - self.mark)
        speed = rows / max(a_token, 1e-9)
        return self._titled(f"{speed:.0f} tokens/s", f"up to about {_duration(rest)} left in all")

    def after(self, records: list[dict], left: int) -> str:
        """The title after some more rows, given their records and how many of this name are left."""
        now = time.perf_counter()
        self.left, self.seconds, self.mark = left, self.seconds + now - self.mark, now
        self.asked += len(records)
        self.scores += [record["score"] for record in records if not record["error"]]
        self.tokens += sum(record["completion_tokens"] or 0 for record in records)
        rest = self.seconds * (left + self.later) / max(1, self.asked)
        said = [f"{self.tokens / max(self.seconds, 1e-9):.0f} tokens/s", f"{_duration(rest)} left in all"]
        if self.scores:
            said.insert(0, f"{sum(self.scores) / len(self.scores):.1%} of {len(self.scores)}")
        return self._titled(*said)

    def _titled(self, *parts: str) -> str:
        self.title = titled(f"{self.name}: {', '.join(parts)}" if parts else self.name)
        return self.title


def _duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever is short."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def titled(text: str) -> str:
    """A text that may hold names of files, as the title of a bar."""
    return escape(escaped(text))
