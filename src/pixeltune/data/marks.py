"""Tokens with which a chat template marks turns: where a text quotes one, a turn would end in its middle."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pixeltune.data.placeholders import quoted
from pixeltune.errors import UserError

_ASK, _SAID = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
_SAMPLES = (
    [_ASK, _SAID, _ASK],
    [{"role": "system", "content": "s"}, _ASK],
    [_ASK, _SAID, {"role": "tool", "content": "r"}],
)


def turn_marks(processor: Any) -> tuple[str, ...]:
    """The special tokens that a chat template writes around what is said, and those that end a text.

    Of the tokenizer's added tokens only special ones count. ``<think>`` and ``<tool_call>``, which answers
    may hold, are none with most models, and neither are marks inside of what is said, of boxes or of calls.

    Args:
        processor: or tokenizer, with a chat template.
    """
    from jinja2 import TemplateError

    tokenizer = getattr(processor, "tokenizer", processor)
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    special = {str(token) for token in added if getattr(token, "special", False)}
    named = {getattr(tokenizer, f"{name}_token", None) for name in ("bos", "eos", "pad")}
    written = ""
    for sample in _SAMPLES:
        try:
            written += processor.apply_chat_template(sample, tokenize=False, add_generation_prompt=True)
        except (TemplateError, TypeError):
            continue  # a template without this role
    return tuple(sorted(token for token in special if token in written or token in named))


def check_marks(rows: Iterable[dict], marks: Iterable[str]) -> None:
    """Refuse rows whose words quote a mark of turns: in a prompt, a completion, a call, tools.

    Args:
        rows: of a file or a task.
        marks: from `turn_marks`.

    Raises:
        UserError: naming the row and the token.
    """
    for where, name, token in quoted(rows, tuple(marks)):
        raise UserError(
            f"{where}: {name} holds {token!r}, a special token that the model's chat template or tokenizer "
            "puts between turns: here it would end one in the middle of the text. Leave it out where it was "
            "meant to (it is written anyway), else write it otherwise, with a space in it"
        )
