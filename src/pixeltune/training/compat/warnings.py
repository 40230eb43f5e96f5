"""Warnings of libraries in a run that say nothing to its user, each silenced by name, with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_libraries() -> Iterator[None]:
    yield
