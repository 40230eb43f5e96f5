"""What a terminal is shown of a stranger's text."""

import pytest

from pixeltune.errors import escaped


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Qwen/Qwen3.5-0.8B, 行 é ½ \\", "Qwen/Qwen3.5-0.8B, 行 é ½ \\"),
        ("\x1b[2J\x07\b\r\n\t\0\x7f", "\\x1b[2J\\x07\\x08\\r\\n\\t\\x00\\x7f"),
        ("\x80\x9b31m\x85", "\\x80\\x9b31m\\x85"),  # C1: 9b is ESC [ in one
        ("a\u202eb\u2066c\u200fd\u061c", "a\\u202eb\\u2066c\\u200fd\\u061c"),
        ("\u2028\u2029\u00a0\u200b\ufeff", "\\u2028\\u2029\\xa0\\u200b\\ufeff"),
        ("\ud800\U000e0001", "\\ud800\\U000e0001"),
        (ValueError("a\nb"), "a\\nb"),
    ],
)
def test_all_that_is_not_printable_is_written_out(text, shown):
    assert escaped(text) == shown
    assert shown.isprintable()
