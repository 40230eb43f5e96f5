"""Words in front of a request: read from a file, and joined with what a conversation starts with."""

from __future__ import annotations

from pathlib import Path

from pixeltune.data.lines import parse
from pixeltune.data.messages import Message, Unused, join, read_messages, says_nothing
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
        given = parse(text) if path.suffix == ".json" else [{"role": "system", "content": text}]
    except ValueError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if not isinstance(given, list):
        raise UserError(f'{path} must hold a text, or a JSON list of {{"role": ..., "content": "text"}}')
    unused = Unused()
    try:
        messages = read_messages(given, "system", "it", unused)
    except UserError as error:
        raise UserError(f"{path} must hold a text, or a JSON list of messages: {error}") from error
    if all(says_nothing(message) for message in messages):
        raise UserError(f"{path} must hold a text, or messages that say something")
    unused.warn()
    return messages


def tell(messages: list[Message], instruction: list[Message]) -> list[Message]:
    """A conversation with the instruction in front; two system messages become one."""
    if instruction[0]["role"] == "system" and messages[0]["role"] == "system":
        both = {**messages[0], **instruction[0], "content": join(instruction[0], messages[0])}
        return [both, *instruction[1:], *messages[1:]]
    if messages[0]["role"] == "system":
        return [messages[0], *instruction, *messages[1:]]
    return [*instruction, *messages]
