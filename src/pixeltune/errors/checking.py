"""Whether what was given is of the type that an argument or a setting has, said before work begins."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from pixeltune.errors import UserError, suggestion


def checked(name: str, value: Any, hint: Any, choices: Collection[Any] | None = None) -> Any:
    """A value of the type that a field has; paths become texts, one text a list of one, and null an empty list.

    Fields that take more than plain values are left alone: those of TRL's are checked by TRL.

    Args:
        name: of the field.
        value: that was given.
        hint: its type.
        choices: the values that there are, beside null where the type has it; None: no such list.

    Raises:
        UserError: it is of another type, or none of the choices.
    """
    value = _typed(name, value, hint)
    if choices is not None and value is not None and value not in choices:
        near = suggestion(value, map(str, choices)) if isinstance(value, str) else ""
        raise UserError(f"{name} is {value!r:.60}{near}: it must be {', '.join(map(str, choices))}")
    return value


def check_names(given: Iterable[Any], known: Collection[str], where: str) -> None:
    """
    Raises:
        UserError: a name is not known; the message says where, and which may be meant.
    """
    for name in given:
        if name not in known:
            raise UserError(f"there is no setting {name!r} {where}{suggestion(str(name), known)}")


def check_arguments(function: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Refuse what a function is called with if its annotations say otherwise; `data` with a remedy.

    Args:
        function: whose annotations say what is wanted.
        given: its arguments by name.

    Raises:
        UserError: naming the argument.
    """
    check_data(given.get("data"))
    for name, hint in get_type_hints(function).items():
        if name in given:
            checked(name, given[name], hint)


def check_data(data: Any) -> None:
    """
    Raises:
        UserError: it is no name of a file or folder, but rows.
    """
    if not isinstance(data, str | os.PathLike | None):
        raise UserError(
            f"data is a {type(data).__name__} and must be the name of a file with a JSON object a line: "
            "write the rows there (pandas: to_json(name, orient='records', lines=True), datasets: to_json(name), "
            "else json.dumps of each)"
        )


def several(name: str, given: Any) -> list[Any]:
    """What was given as a list; a text or a path alone is a list of one.

    Raises:
        UserError: it is no list, or an empty one.
    """
    items = [given] if isinstance(given, str | os.PathLike) else given
    if not isinstance(items, list | tuple) or not items:
        raise UserError(f"{name} is {given!r:.60}: it must be a list with at least one in it")
    return list(items)


def _typed(name: str, value: Any, hint: Any) -> Any:
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    # A path is given as a text, or becomes one.
    allowed = list(dict.fromkeys(str if kind is Path else get_origin(kind) or kind for kind in kinds))
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if name == "resume_from_checkpoint" and isinstance(value, bool):
        value = str(value).lower()
    if allowed != [list] and not set(allowed) <= {str, int, float, bool, type(None)}:
        return value
    if allowed == [list]:
        items = [value] if isinstance(value, str) else [] if value is None else value
        if isinstance(items, list | tuple) and all(isinstance(item, str | os.PathLike) for item in items):
            return [os.fspath(item) for item in items]
    elif type(value) in allowed or (float in allowed and type(value) is int):
        return value
    wanted = " or ".join("null" if kind is type(None) else kind.__name__ for kind in allowed)
    raise UserError(f"{name} is {value!r:.60}: it must be {wanted}")
