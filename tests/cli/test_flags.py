"""What is read from TRL's source is what its classes say when they are imported, and what TRL's parser makes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import MISSING, fields

import pytest

from pixeltune.cli.flags import ours, theirs
from pixeltune.training.defaults import OBJECTIVE_FACTS
from pixeltune.training.settings import PaintArguments


@pytest.mark.parametrize("verb", OBJECTIVE_FACTS)
def test_the_settings_are_those_of_the_imported_config(verb):
    from pixeltune.training.objectives import OBJECTIVES

    imported = {field.name: field for field in fields(OBJECTIVES[verb].config)}
    read = theirs(verb)
    assert imported.keys() <= read.keys()
    assert sum(bool(one.help) for one in read.values()) > 0.9 * len(read)
    for name, one in read.items():
        default = imported[name].default if name in imported else MISSING
        if name in OBJECTIVE_FACTS[verb].defaults:
            assert one.default == OBJECTIVE_FACTS[verb].defaults[name]
        elif one.default is not None and default is not MISSING:
            assert one.default == default, name


@pytest.mark.parametrize("verb", OBJECTIVE_FACTS)
def test_flags_take_what_trls_own_parser_takes(verb):
    from trl import TrlParser

    from pixeltune.training.objectives import OBJECTIVES

    read = theirs(verb)
    for action in TrlParser((OBJECTIVES[verb].config,))._actions:
        one = read.get(action.dest)
        if one is None or action.nargs == 0:  # help, and --no_ of switches
            continue
        for kind, called in ((int, "int"), (float, "float"), (bool, "string_to_bool")):
            if one.kinds == (kind,):
                assert action.type.__name__ == called, one.name
        if one.may_be_null and one.kinds in ((int,), (float,)):
            assert action.type("none") is None, one.name
        if one.choices is not None:
            assert [*one.choices] == [*action.choices], one.name
        assert one.is_list == (action.nargs == "+") or one.name == "debug", one.name


def test_our_settings_are_all_there():
    assert list(ours()) == [one.name for one in fields(PaintArguments)]
    assert ours()["reward"].verbs == ("grpo", "rloo")


def test_reading_them_imports_neither_torch_nor_trl():
    code = (
        "import sys; from pixeltune.cli.flags import settings_of; assert settings_of('grpo'); "
        "assert not {'torch', 'trl', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
