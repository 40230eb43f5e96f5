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
"""

from __future__ import annotations

import json
import re

_CALL = re.compile(r"<tool_call>(.*?)(?:</tool_call>|\Z)", re.DOTALL)
_FUNCTION = re.compile(r"\s*<function=([^<>\s]+)>(.*)</function>\s*", re.DOTALL)
_PARAMETER = re.compile(r"\s*<parameter=([^<>\s]+)>\n?(.*?)\n?</parameter>\s*", re.DOTALL)


class Written(str):
    """An argument between tags. Whether `5` is a number or a text there, only the tool's schema knows."""


def parse(text: str) -> list[dict] | None:
    """The calls in a completion: [] for none, None if one of them cannot be read.

    Arguments are JSON values, or :class:`Written` where they stood between tags.
    """
    calls = [
        _read_tags(body) if body.lstrip().startswith("<function=") else _read_json(body)
        for body in _CALL.findall(text)
    ]
    return None if None in calls else calls


def _read_json(body: str) -> dict | None:
    try:
        call = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return None
    return {"name": call["name"], "arguments": call.get("arguments")}


def _read_tags(body: str) -> dict | None:
    if (function := _FUNCTION.fullmatch(body)) is None:
        return None
    name, inside = function.groups()
    arguments, end = {}, 0
    for parameter in _PARAMETER.finditer(inside):
        if inside[end : parameter.start()].strip() or parameter[1] in arguments:
            return None
        arguments[parameter[1]], end = Written(parameter[2]), parameter.end()
    return None if inside[end:].strip() else {"name": name, "arguments": arguments}


def same(given: object, wanted: object) -> bool:
    """Equality with JSON's types: in Python ``True == 1``, in a tool call it is not.

    What was written between tags is a text where a text is wanted, else JSON, or Python's True, False, None,
    as which Qwen3.5's own chat template renders them.
    """
    if isinstance(given, Written) and not isinstance(wanted, str):
        try:
            given = json.loads({"True": "true", "False": "false", "None": "null"}.get(given, given))
        except (ValueError, RecursionError):
            return False
    return json.dumps(given, sort_keys=True) == json.dumps(wanted, sort_keys=True)


def right_arguments(call: dict, wanted: dict) -> float:
    """Share of arguments that are right, of those given or wanted; 1.0 where there are none."""
    given = call["arguments"] if isinstance(call["arguments"], dict) else {}
    names, both = given.keys() | wanted["arguments"].keys(), given.keys() & wanted["arguments"].keys()
    right = sum(same(given[name], wanted["arguments"][name]) for name in both)
    return right / len(names) if names else 1.0
