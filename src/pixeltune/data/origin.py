"""Where a row came from, so that whatever is found wrong with it later can name its file and line."""

from __future__ import annotations


class Row(dict):
    """A row that remembers where it came from. Copies made of it as plain dicts do not."""

    where: str = ""
    """File and line."""


def origin(row: dict, number: int) -> str:
    """What to call a row in messages: file and line, or a task row's id, or which one it is.

    Args:
        row: of a file or a task.
        number: its place, from 0.
    """
    return getattr(row, "where", "") or f"row {row.get('id', number + 1)}"
