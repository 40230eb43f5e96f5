"""Words in front of a request: read from a file, and joined with what a conversation starts with."""

from __future__ import annotations

import json
from pathlib import Path

from pixeltune.data.messages import Message
from pixeltune.errors import UserError

MAX_BYTES = 1 << 20


def read_instruction(path: str | Path) -> list[Message]:
    """What a model is to be told: a text file is a system message, a JSON file a list of messages (few-shot).

    Raises:
        ValueError: there is no such file, or it holds neither.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no instruction file {path}")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path} is larger than 1 MiB: an instruction is a prompt")
    try:
        text = path.read_text(encoding="utf-8").strip()
        messages = json.loads(text) if path.suffix == ".json" else [{"role": "system", "content": text}]
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    whole = isinstance(messages, list) and all(
        isinstance(m, dict) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str)
        for m in messages
    )
    if not whole or not any(m["content"] for m in messages):
        raise UserError(f'{path} must hold a text, or a JSON list of {{"role": ..., "content": "text"}}')
    return [{"role": m["role"], "content": m["content"]} for m in messages]


def tell(messages: list[Message], instruction: list[Message]) -> list[Message]:
    """A conversation with the instruction in front; two system messages become one."""
    if instruction[0]["role"] == "system" and messages[0]["role"] == "system":
        both = f"{instruction[0]['content']}\n\n{messages[0]['content']}"
        return [{"role": "system", "content": both}, *instruction[1:], *messages[1:]]
    if messages[0]["role"] == "system":
        return [messages[0], *instruction, *messages[1:]]
    return [*instruction, *messages]
