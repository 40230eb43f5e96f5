"""The settings of a training verb: our own, and those of TRL's config, read from its source.

Importing a config takes TRL, transformers and torch, ten seconds and more; a mistyped flag, a wrong value and a
page of help should not. Names, types, help texts and defaults stand in the classes as literals.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pixeltune.model.compat.versions import check_versions
from pixeltune.training.defaults import OBJECTIVE_FACTS
from pixeltune.training.settings import PaintArguments

BASES = ("trl/trainer/base_config.py", "transformers/training_args.py")
"""What all configs derive from."""

ENUMS = ("transformers/trainer_utils.py", "transformers/training_args.py")
"""Where the classes stand that list what some settings may be."""

_TYPES = {"int": int, "float": float, "bool": bool, "str": str, "dict": dict, "list": list, "tuple": tuple}
# From Python 3.14 on a union with something of typing's imports typing, by the builtin of this name.
_NAMES = {**_TYPES, "Any": Any, "Literal": Literal, "__builtins__": {"__import__": __import__}}


@dataclass(frozen=True)
class Setting:
    """One setting, as a flag or in YAML."""

    name: str
    hint: Any
    """Its type; `object` where that is a class of TRL's or transformers' own."""
    help: str = ""
    default: Any = None
    """None also where TRL finds it out."""
    choices: tuple[Any, ...] | None = None
    """All values that there are, where they are listed."""
    verbs: tuple[str, ...] = tuple(OBJECTIVE_FACTS)
    """Those that take it."""

    @property
    def kinds(self) -> tuple[Any, ...]:
        """What a value may be, beside null."""
        several = get_origin(self.hint) in (Union, UnionType)
        return tuple(k for k in (get_args(self.hint) if several else (self.hint,)) if k is not type(None))

    @property
    def may_be_null(self) -> bool:
        return type(None) in get_args(self.hint)

    @property
    def is_list(self) -> bool:
        return [get_origin(kind) or kind for kind in self.kinds] == [list]

    @property
    def is_switch(self) -> bool:
        """Whether the flag alone, without a value, says something."""
        return self.kinds == (bool,)


@cache
def settings_of(verb: str) -> dict[str, Setting]:
    """All settings of a training verb by name, ours first.

    Raises:
        ModuleNotFoundError: TRL or transformers is not installed.
    """
    return ours() | theirs(verb)


@cache
def ours() -> dict[str, Setting]:
    """The artwork's and the rows' settings, those of every verb."""
    hints, out = get_type_hints(PaintArguments), {}
    for one in fields(PaintArguments):
        told = {name: one.metadata[name] for name in ("help", "verbs", "choices") if name in one.metadata}
        default = None if one.default is MISSING else one.default
        out[one.name] = Setting(one.name, hints[one.name], default=default, **told)
    return out


@cache
def theirs(verb: str) -> dict[str, Setting]:
    """The settings of TRL's config, those of the bases last, with the defaults that a verb gives them.

    Raises:
        ModuleNotFoundError: TRL or transformers is not installed.
        UserError: a version is installed whose files may be others.
    """
    check_versions()
    out: dict[str, Setting] = {}
    for file in (OBJECTIVE_FACTS[verb].source, *BASES):
        for name, annotation, value in _fields(file):
            if name not in out:
                out[name] = _setting(name, annotation, value, OBJECTIVE_FACTS[verb].defaults)
    return out


def _setting(name: str, annotation: ast.expr, value: ast.expr | None, usual: Any) -> Setting:
    hint, choices = _hint(annotation)
    told = {word.arg: word.value for word in value.keywords} if isinstance(value, ast.Call) else {}
    metadata = told.get("metadata")
    named = metadata.keys if isinstance(metadata, ast.Dict) else []
    about = {
        key.value: text for key, text in zip(named, getattr(metadata, "values", ()), strict=True)
        if isinstance(key, ast.Constant)
    }  # fmt: skip
    listed = _literal(about.get("choices"))
    return Setting(
        name,
        hint,
        " ".join(str(_literal(about.get("help")) or "").split()),
        usual.get(name, _literal(told.get("default") if isinstance(value, ast.Call) else value)),
        tuple(listed) if listed else choices,
    )


def _hint(annotation: ast.expr) -> tuple[Any, tuple[Any, ...] | None]:
    """The type that an annotation says, and the values where it lists them."""
    try:
        hint = eval(ast.unparse(annotation), dict(_NAMES))
    except NameError:
        named = {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)} - _TYPES.keys()
        values = [_enums()[name] for name in named if name in _enums()]
        plain = isinstance(annotation, ast.BinOp)  # a member or its text, not a list of them
        return object, values[0] if values and plain and len(named) == 1 else None
    return hint, get_args(hint) if get_origin(hint) is Literal else None


@cache
def _enums() -> dict[str, tuple[Any, ...]]:
    """Values of the classes of constants in `ENUMS`."""
    found = {}
    for file in ENUMS:
        for one in _classes(file):
            values = [node.value for node in one.body if isinstance(node, ast.Assign)]
            if values and all(isinstance(value, ast.Constant) for value in values):
                found[one.name] = tuple(value.value for value in values)
    return found


def _fields(file: str) -> Iterator[tuple[str, ast.expr, ast.expr | None]]:
    """Annotated names in the bodies of a file's classes, with their types and what is behind the sign."""
    for one in _classes(file):
        for node in one.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                yield node.target.id, node.annotation, node.value


@cache
def _classes(file: str) -> list[ast.ClassDef]:
    package, _, rest = file.partition("/")
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    source = (Path(spec.submodule_search_locations[0]) / rest).read_text("utf-8")
    return [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]


def _literal(value: ast.expr | None) -> Any:
    """What stands there, None where it has to be computed."""
    try:
        return None if value is None else ast.literal_eval(value)
    except ValueError:
        return None
