"""Tool calls in a completion: one parser for rewards and scores, and equality as JSON has it.

Two ways of writing a call are read: JSON (Qwen2.5, Qwen3, the bundled model), and tags (Qwen3.5):

    <tool_call>
    {"name": "get_weather", "arguments": {"city": "Oslo"}}
    </tool_call>

    <tool_call>
    <function=get_weather>
    <parameter=city>
    Oslo
    </parameter>
    </function>
    </tool_call>

What a model thinks, the text before the last ``</think>``, calls nothing. Completions are hostile text:
reading them takes time linear in their length, and values that lie too deep in each other are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from pixeltune.errors import UserError

MAX_DEPTH = 64  # lists and objects inside each other; equality and writing recurse

_CALL = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
_FUNCTION = re.compile(r"\s*<function=([^<>\s]+)>(.*)</function>\s*", re.DOTALL)
_PARAMETER = re.compile(r"\s*<parameter=([^<>\s]+)>")
_END = "</parameter>"


class Written(str):
    """An argument between tags. Whether `5` is a number or a text there, only the tool's schema knows."""


def parse(text: str) -> list[dict] | None:
    """The calls in a completion: [] for none, None if one of them cannot be read.

    Arguments are JSON values, or :class:`Written` where they stood between tags.
    """
    calls = _calls(text)
    found = [call for call in calls if call is not None]
    return found if len(found) == len(calls) else None


def readable(text: str) -> list[dict]:
    """Those calls in a completion that can be read, without the others."""
    return [call for call in _calls(text) if call is not None]


def same_calls(said: list[dict] | None, wanted: list[dict]) -> bool:
    """Whether exactly the wanted calls were made, with the wanted arguments, in any order.

    Args:
        said: from :func:`parse`; None, a call that cannot be read, is never right.
        wanted: names and arguments.
    """
    if said is None or len(said) != len(wanted):
        return False
    left = list(said)
    for call in wanted:
        fits = (one["name"] == call["name"] and right_arguments(one, call) == 1.0 for one in left)
        match = next((i for i, fit in enumerate(fits) if fit), None)
        if match is None:
            return False
        del left[match]
    return True


def render(calls: list[Any]) -> str:
    """Calls in JSON, as the chat templates of Qwen2.5 and Qwen3 write them; nothing for none.

    A closing tag inside of an argument is written ``<\\/``, which JSON reads as ``</``.
    """
    bodies = [json.dumps(call).replace("</", "<\\/") for call in calls]
    return "\n".join(f"<tool_call>\n{body}\n</tool_call>" for body in bodies)


def from_openai(tool_calls: Iterable[Any] | None) -> str:
    """The ``tool_calls`` of an OpenAI message as text, so that one parser serves parsed calls, too.

    Args:
        tool_calls: dicts or objects with ``function.name`` and ``function.arguments``, a JSON text (some
            servers give the object itself). Those that are none become a text that :func:`parse` cannot read.
    """
    return "\n".join(_from_openai(call) for call in tool_calls or [])


def _from_openai(call: Any) -> str:
    function = _get(call, "function")
    name, arguments = _get(function, "name"), _get(function, "arguments")
    try:
        if isinstance(arguments, str):
            arguments = load(arguments)
        if isinstance(name, str) and isinstance(arguments, dict) and _shallow(arguments):
            return render([{"name": name, "arguments": arguments}])
    except (ValueError, TypeError):  # TypeError: not of JSON's types
        pass
    said = [part if isinstance(part, str) else None for part in (name, arguments)]
    return render([said])  # a list, so not a call


def _get(thing: Any, name: str) -> Any:
    return thing.get(name) if isinstance(thing, dict) else getattr(thing, name, None)


def _calls(text: str) -> list[dict | None]:
    bodies = _CALL.findall(text.rpartition("</think>")[2])
    return [_read_tags(b) if b.lstrip().startswith("<function=") else _read_json(b) for b in bodies]


def _read_json(body: str) -> dict | None:
    try:
        call = load(body)
    except ValueError:
        return None
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return None
    return {"name": call["name"], "arguments": call.get("arguments")}


def _read_tags(body: str) -> dict | None:
    if (function := _FUNCTION.fullmatch(body)) is None:
        return None
    name, inside = function.groups()
    arguments, end = {}, 0
    while parameter := _PARAMETER.match(inside, end):
        close = inside.find(_END, parameter.end())
        if close < 0 or parameter[1] in arguments:
            return None
        value = inside[parameter.end() : close].removeprefix("\n").removesuffix("\n")
        arguments[parameter[1]], end = Written(value), close + len(_END)
    return None if inside[end:].strip() else {"name": name, "arguments": arguments}


def load(text: str) -> Any:
    """JSON in a completion.

    Raises:
        ValueError: it is none, or lies too deep.
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise UserError("too deep") from error
    if not _shallow(value):
        raise UserError("too deep")
    return value


def _shallow(value: Any, depth: int = MAX_DEPTH) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth >= 0 and all(_shallow(one, depth - 1) for one in inside)


def typed(value: Any, kind: object) -> Any:
    """An argument as the type in its tool's schema has it; only what was written between tags changes.

    Args:
        value: an argument from :func:`parse`.
        kind: a type's name in JSON Schema. For "string" all that was written is the text; for others it is
            JSON, or Python's True, False, None, as which Qwen3.5's own chat template renders them, and a text
            only where it is neither.
    """
    if not isinstance(value, Written):
        return value
    if kind != "string":
        try:
            return load({"True": "true", "False": "false", "None": "null"}.get(value, value))
        except ValueError:
            pass
    return str(value)


def same(given: object, wanted: object) -> bool:
    """Equality with JSON's types: in Python ``True == 1``, in a tool call it is not.

    What was written between tags is a text where a text is wanted, else :func:`typed`.
    """
    given = typed(given, "string" if isinstance(wanted, str) else None)
    return json.dumps(given, sort_keys=True) == json.dumps(wanted, sort_keys=True)


def right_arguments(call: dict, wanted: dict) -> float:
    """Share of arguments that are right, of those given or wanted; 1.0 where there are none."""
    given = call["arguments"] if isinstance(call["arguments"], dict) else {}
    names, both = given.keys() | wanted["arguments"].keys(), given.keys() & wanted["arguments"].keys()
    right = sum(same(given[name], wanted["arguments"][name]) for name in both)
    return right / len(names) if names else 1.0
