"""What was given to a training verb: flags and the YAML file behind ``--config``, as one dict of plain values."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pixeltune.cli.flags import Setting, settings_of
from pixeltune.cli.parser import Parser, UsageError, flag_for
from pixeltune.errors import UserError, suggestion
from pixeltune.errors.checking import check_names, checked
from pixeltune.training.defaults import OBJECTIVE_FACTS

MAX_CONFIG_BYTES = 1 << 20

_TRUE, _FALSE = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0")
_NULL = ("none", "null")


def settings(verb: str, argv: Sequence[str]) -> dict[str, Any]:
    """Values by name, of the types that settings have; flags win over the file. What is not said is left out.

    Raises:
        UsageError: a flag or a word that is not known, or a value that is missing or of another type.
        UserError: the same of the file's keys and values, or it is no YAML mapping.
    """
    argv, path = _without_config(list(argv))
    flags = _read_flags(verb, argv)
    return ({} if path is None else _read_config(path, verb)) | flags


def _read_flags(verb: str, argv: list[str]) -> dict[str, Any]:
    table = settings_of(verb)
    options = f"Options: pixeltune {verb} --help"
    known = {f"--{name}" for name in (*table, "preview", "help", "config")}
    offs = {f"--no_{name}" for name, one in table.items() if one.is_switch}
    for word in argv:  # typos before what is missing: the one may be the other
        flag = word.partition("=")[0]
        if word.startswith("--") and flag not in known | offs:
            raise UsageError(f"there is no {flag}{suggestion(flag, known)}. {options}")
    parser = Parser(f"pixeltune {verb}", OBJECTIVE_FACTS[verb].help)
    add = parser.add_argument
    add("--preview", action="store_const", const=True, default=argparse.SUPPRESS)
    for name, one in table.items():
        count, alone = ("+", None) if one.is_list else ("?", "true") if one.is_switch else (None, None)
        add(f"--{name}", nargs=count, const=alone, default=argparse.SUPPRESS)
        if one.is_switch:
            add(f"--no_{name}", dest=name, action="store_const", const="false", default=argparse.SUPPRESS)
    given, unknown = parser.parse_known_args(argv)
    if unknown:
        raise UsageError(f"{unknown[0]!r} has no flag{_meant(unknown[0], known)}. {options}")
    out = dict(vars(given))
    try:
        return out | {name: value(table[name], out[name], "--") for name in out if name != "preview"}
    except UserError as error:
        raise UsageError(str(error)) from error


def value(setting: Setting, said: Any, source: str) -> Any:
    """A value of the setting's type; texts become numbers, and so on.

    Args:
        setting: that it is for.
        said: a text, a list of texts, or what YAML made of it.
        source: what stands in front of the setting's name in a refusal.

    Raises:
        UserError: it cannot be one.
    """
    if setting.may_be_null and str not in setting.kinds and str(said).lower() in _NULL:
        found: Any = None
    elif setting.is_list and isinstance(said, list):
        item = getattr(setting.kinds[0], "__args__", (str,))[0]
        found = [_from_text(one, (item,)) for one in said]
    else:
        found = _from_text(said, setting.kinds)
    try:
        return checked(setting.name, found, setting.hint, setting.choices)
    except UserError as error:
        raise UserError(f"{source}{error}") from error


def _from_text(said: Any, kinds: Sequence[Any]) -> Any:
    """A text as the plain value that it is meant to be; everything else, and what it cannot be, as it is."""
    if not isinstance(said, str):
        return said
    if any(kind in (dict, Mapping) or getattr(kind, "__origin__", None) is dict for kind in kinds):
        kinds = (json.loads,) if said.lstrip().startswith("{") else (str,)
    if str in kinds:
        return said
    for kind in kinds:
        try:
            if kind is bool:
                return {**dict.fromkeys(_TRUE, True), **dict.fromkeys(_FALSE, False)}[said.lower()]
            if kind in (int, float, json.loads):
                return kind(said)
        except (ValueError, KeyError):
            continue
    return said


def _meant(word: str, known: set[str]) -> str:
    """What a word may be that stands there without a flag."""
    from pixeltune.tasks.base import is_known

    if is_known(word):
        return f" (did you mean --task {word}?)"
    if Path(word).is_file():
        return f" (did you mean --{'config' if Path(word).suffix in ('.yaml', '.yml') else 'data'} {word}?)"
    return flag_for(word, known)


def _without_config(argv: list[str]) -> tuple[list[str], Path | None]:
    """
    Raises:
        UsageError: there is no file after ``--config``.
    """
    argv = [
        part for word in argv for part in (word.split("=", 1) if word.startswith("--config=") else [word])
    ]
    if "--config" not in argv:
        return argv, None
    place = argv.index("--config")
    if argv.count("--config") > 1 or place + 1 == len(argv):
        raise UsageError("--config is followed by the name of one YAML file")
    return argv[:place] + argv[place + 2 :], Path(argv[place + 1])


def _read_config(path: Path, verb: str) -> dict[str, Any]:
    """
    Raises:
        UserError: there is no such file, it is no YAML mapping, a key is not known or stands there twice, or a
            value is of another type.
    """
    import yaml

    if not path.is_file():
        raise UserError(f"there is no file {path} to read settings from (--config)")
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise UserError(f"{path} is larger than 1 MiB and no file of settings")
    try:
        config = _load(path.read_text(encoding="utf-8"), path)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise UserError(f"{path} must hold names and values, such as 'task: sums'")
    table = settings_of(verb)
    try:
        check_names(config, table, f"of pixeltune {verb}")
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return {name: value(table[name], said, f"{path}: ") for name, said in config.items()}


def _load(text: str, path: Path) -> Any:
    """What YAML says, without names that it says twice: of their values PyYAML would take the last.

    Args:
        text: of the file.
        path: its name, for messages.

    Raises:
        UserError: a name stands there twice.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
            lines: dict[str, int] = {}
            for key, _ in node.value:
                name, line = str(key.value), key.start_mark.line + 1
                if name in lines:
                    raise UserError(
                        f"{path}: {name} stands in line {lines[name]} and in line {line}: leave one"
                    )
                lines[name] = line
            return super().construct_mapping(node, deep)

    return yaml.load(text, Loader)
