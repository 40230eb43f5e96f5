"""Messages of a conversation, as OpenAI's clients and chat templates know them."""

from __future__ import annotations

import warnings
from typing import Any

from pixeltune.data.lines import kind, parse
from pixeltune.errors import UserError

Message = dict[str, Any]

FIELDS = (
    *("role", "content", "name", "tool_calls", "tool_call_id", "refusal"),
    *("reasoning_content", "reasoning", "thinking", "tool_plan", "tool_responses"),
)
"""What chat templates are known to write of a message, or OpenAI's logs hold."""

TEXT_PARTS = ("text", "output_text", "input_text")
"""Types of content parts that are what was said: of chats, and of OpenAI's Responses API."""

THOUGHT_PARTS = ("thinking", "reasoning")


class UnusedDataWarning(UserWarning):
    """Something in the user's data changes nothing. Said once for each name, with its first place."""


class Unused:
    """What turns out to be unused while data is read, to be said once for each name."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[str, int]] = {}
        """By what is unused: its first place, and how often it is there."""

    def add(self, what: str, where: str) -> None:
        first, count = self.found.get(what, (where, 0))
        self.found[what] = first, count + 1

    def warn(self) -> None:
        """Say it all, one `UnusedDataWarning` for each name."""
        for what, (where, count) in self.found.items():
            often = f" (here and {count - 1} times more)" if count > 1 else ""
            warnings.warn(f"{where}: {what}{often}", UnusedDataWarning, stacklevel=3)


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


def join(*messages: Message) -> str | list[dict[str, Any]]:
    """The contents of messages as one, with an empty line between them: a text if all are texts."""
    contents = [message["content"] for message in messages]
    if all(isinstance(content, str) for content in contents):
        return "\n\n".join(contents)
    out: list[dict[str, Any]] = []
    for content in contents:
        out += [{"type": "text", "text": "\n\n"}] if out else []
        out += content if isinstance(content, list) else [{"type": "text", "text": content}]
    return out


def says_nothing(message: Message) -> bool:
    """Whether a message has neither text, beyond white space, nor calls nor anything else to be written."""
    rest = any(message.get(name) for name in message if name not in ("role", "content", "name"))
    parts = message.get("content")
    thought = isinstance(parts, list) and any(part.get("type") in THOUGHT_PARTS for part in parts)
    return not (text_of(parts).strip() or thought or rest)


def read_messages(value: object, role: str, where: str, unused: Unused) -> list[Message]:
    """A conversation of a row, as chat templates take it.

    A text is one message. Of messages all fields are kept but those that are null. Arguments of calls become
    objects where they are JSON texts, as OpenAI's logs hold them: engines hand templates objects, too. Null
    content becomes "", and so it is served. ``refusal`` without content is the content, and a
    ``function_call`` of OpenAI's older logs a tool call.

    Args:
        value: a text, or a list of messages.
        role: whose message a text is.
        where: file, line and column, for messages.
        unused: gets the fields that no template is known to use.

    Raises:
        UserError: it is no conversation; naming the message and what to mend.
    """
    must = f'{where} must be a text or a list of {{"role": ..., "content": ...}} messages'
    if isinstance(value, str) and value and not value.strip():
        raise UserError(f"{must}, and it is white space alone")
    if not isinstance(value, str | list) or not value:
        raise UserError(f"{must}, and it is {kind(value)}")
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    out = []
    for number, message in enumerate(value, start=1):
        try:
            out.append(_message(message))
        except ValueError as error:
            raise UserError(f"{must}, but message {number} {error}") from error
        _note_unknown(out[-1], f"{where}, message {number}", unused)
    return out


def _message(message: object) -> Message:
    """
    Raises:
        ValueError: without the message's place.
    """
    if not isinstance(message, dict):
        raise ValueError(f"is {kind(message)}")
    if not isinstance(message.get("role"), str) or not message["role"]:
        hint = ' (it has "from" and "value": write "role" and "content")' if "from" in message else ""
        raise ValueError(f'has no role, such as "user"{hint}')
    out = {name: value for name, value in message.items() if value is not None}
    if function := out.pop("function_call", None):
        out.setdefault("tool_calls", [{"type": "function", "function": function}])
    if calls := out.pop("tool_calls", None):
        if not isinstance(calls, list):
            raise ValueError(f"has tool_calls that are {kind(calls)}, not a list")
        out["tool_calls"] = [_call(call) for call in calls]
    if not out.get("content") and isinstance(out.get("refusal"), str):
        out["content"] = out.pop("refusal")
    content = out.get("content")
    if content is None:
        if message["role"] != "assistant" or says_nothing(out):
            raise ValueError(
                "has no content: null goes with the tool_calls of an assistant, else write a text"
            )
        content = ""
    if isinstance(content, list):
        content = [_part(part) for part in content]
    elif not isinstance(content, str):
        raise ValueError(f"has content that is {kind(content)}, not a text or a list of parts")
    return {**out, "content": content}


def _call(call: Any) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        wanted = '{"type": "function", "function": {"name": ..., "arguments": {...}}}'
        raise ValueError(f"has a tool call that is not {wanted}")
    name, arguments = function["name"], function.get("arguments")
    if other := next((key for key in ("parameters", "input", "args") if key in function), None):
        raise ValueError(f'has a call of {name} with {other}: write "arguments"')
    if isinstance(arguments, str):
        try:
            arguments = parse(arguments) if arguments.strip() else {}
        except ValueError as error:
            raise ValueError(f"has a call of {name} whose arguments are no JSON ({error})") from error
    if not isinstance(arguments, dict | None):
        raise ValueError(f"has a call of {name} whose arguments are {kind(arguments)}, not an object")
    function = {**function, "arguments": arguments or {}}
    if "function" not in call:
        return {"type": "function", "function": function}
    return {key: value for key, value in call.items() if value is not None} | {"function": function}


def _part(part: object) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if not isinstance(part, dict):
        raise ValueError(f"has a content part that is {kind(part)}")
    what = part.get("type", "text" if "text" in part else None)
    if what == "refusal" and isinstance(part.get("refusal"), str):
        return {"type": "text", "text": part["refusal"]}
    if what in TEXT_PARTS:
        if not isinstance(part.get("text"), str):
            raise ValueError(f"has a text part whose text is {kind(part.get('text'))}")
        return {**part, "type": "text"}
    if what in THOUGHT_PARTS:
        return part
    if isinstance(what, str) and "image" in what:
        raise ValueError(
            f'has a content part of type "{what}": pictures of a row stand in its column "images", as files: '
            '{"prompt": "What is it?", "images": ["chart.png"], ...}'
        )
    raise ValueError(f'has a content part of type {what!r}; parts are {{"type": "text", "text": ...}}')


def _note_unknown(message: Message, where: str, unused: Unused) -> None:
    for name in [name for name in message if name not in FIELDS]:
        if message[name] in ("", [], {}):
            del message[name]
            continue
        what = f"the field {name!r} is none that chat templates are known to use"
        unused.add(
            f"{what}; it is handed to the model's, and changes nothing unless that one reads it", where
        )


def _text_of_part(part: object) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        raise UserError(f"a content part is {type(part).__name__}, not a text or an object")
    text = part.get("text") if part.get("type", "text") in TEXT_PARTS else None
    if isinstance(text, dict):  # OpenAI's Assistants API: {"value": ..., "annotations": []}
        text = text.get("value")
    return text if isinstance(text, str) else ""
