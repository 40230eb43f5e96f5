"""Messages of a conversation, as OpenAI's clients and chat templates know them."""

from __future__ import annotations

from typing import Any

from pixeltune.errors import UserError

Message = dict[str, Any]

TEXT_PARTS = ("text", "output_text", "input_text")
"""Types of content parts that are what was said: of chats, and of OpenAI's Responses API."""


def text_of(content: object) -> str:
    """What a message says: its text, or the text parts of a list of content parts, joined.

    Thinking, reasoning and pictures are not part of it. Null, which stands beside tool calls, is "".

    Args:
        content: a message's ``content``: a text, null, or a list of parts (texts, or objects with ``type``).

    Raises:
        UserError: it is none of these.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise UserError(f"content is {type(content).__name__}, not a text, null or a list of parts")
    return "".join(_text_of_part(part) for part in content)


def _text_of_part(part: object) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        raise UserError(f"a content part is {type(part).__name__}, not a text or an object")
    text = part.get("text") if part.get("type", "text") in TEXT_PARTS else None
    if isinstance(text, dict):  # OpenAI's Assistants API: {"value": ..., "annotations": []}
        text = text.get("value")
    return text if isinstance(text, str) else ""
