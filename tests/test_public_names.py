"""What ``import pixeltune`` gives: everything that is promised, and nothing heavy before it is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import pixeltune


@pytest.mark.parametrize("name", pixeltune.__all__)
def test_every_public_name_is_there_and_documented(name):
    assert name in dir(pixeltune)
    assert getattr(pixeltune, name).__doc__


def test_nothing_else_is_offered():
    assert dir(pixeltune) == sorted([*pixeltune.__all__, "__version__"])


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Sight'"):
        pixeltune.Sight  # noqa: B018


def test_the_package_and_its_light_names_import_no_torch():
    code = (
        "import sys; from pixeltune import Artwork, UserError, place_dataset, with_artwork; "
        "assert not {'torch', 'transformers', 'peft', 'trl'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
