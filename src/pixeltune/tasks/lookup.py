"""An object of the user's own, by its dotted path."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from pixeltune.errors import UserError


def look_up(path: str, what: str) -> Any:
    """What is at a dotted path, `package.module:name`; modules of the working folder are found.

    Args:
        path: as a user writes it; the module is imported, which runs it.
        what: it should be, for the message.

    Raises:
        UserError: there is nothing.
    """
    module, _, name = path.partition(":")
    if os.getcwd() not in sys.path:  # a console script does not look there, `python -m` does
        sys.path.append(os.getcwd())
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"no {what} {path!r} ({error}): write it as package.module:name") from error


def find_object(path: str, what: str) -> Callable[..., Any]:
    """The function or class at a dotted path.

    Args:
        path: as in :func:`look_up`.
        what: it should be, for the message.

    Raises:
        UserError: there is none.
    """
    found = look_up(path, what)
    if not callable(found):
        raise UserError(f"{path!r} is not a function or class")
    return found
