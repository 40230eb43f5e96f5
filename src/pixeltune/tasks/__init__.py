"""Tasks: each file owns its rows, its reward and its score, and one parser serves both."""

from importlib import import_module
from types import ModuleType

NAMES = ("calls", "sums", "turns")


def find_task(name: str) -> ModuleType:
    """The module of a bundled task.

    Raises:
        ValueError: there is no such task.
    """
    if name not in NAMES:
        raise ValueError(f"there is no task {name!r}; the bundled ones are {', '.join(NAMES)}")
    return import_module(f"pixeltune.tasks.{name}")
