"""What is read from TRL's source is what its classes say when they are imported."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields

import pytest

from pixeltune.cli.flags import CONFIGS, trl_flags


@pytest.mark.parametrize("verb", CONFIGS)
def test_the_flags_are_those_of_the_imported_config(verb):
    from pixeltune.training.objectives import OBJECTIVES

    imported = {field.name for field in fields(OBJECTIVES[verb].config)}
    read = trl_flags(verb)
    assert imported <= set(read)
    assert {"learning_rate", "output_dir", "max_steps"} <= set(read)
    assert sum(bool(text) for text in read.values()) > 0.9 * len(read)


def test_reading_them_imports_neither_torch_nor_trl():
    code = (
        "import sys; from pixeltune.cli.flags import trl_flags; assert trl_flags('grpo'); "
        "assert not {'torch', 'trl', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
