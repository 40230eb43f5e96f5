"""What is said of errors of libraries."""

import pytest

from pixeltune.errors import first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("\n  one\ntwo"), "one"),
        (OSError(), "OSError"),
        (RuntimeError(" \n "), "RuntimeError"),
        (KeyError("a"), "'a'"),
    ],
)
def test_the_first_line_of_an_error_or_else_its_name(error, line):
    assert first_line(error) == line
