"""BFCL's conversations of several turns, without the world that their functions act on.

STRICTER THAN UPSTREAM, AND NOT COMPARABLE WITH THE LEADERBOARD. Upstream runs each turn's calls against
Python classes, lets the model go on until it calls no more, and compares the state of the classes and what
they returned (``multi_turn_checker.py`` in bfcl-eval, github.com/ShishirPatil/gorilla). Here nothing is run:
a turn of the user gets one completion, and its calls must be those of the reference, in order, with equal
arguments. Another way to the same state is wrong, and so is one call more that only looks around; results
are not simulated, so an argument that only a result tells has to be guessed.
"""

from __future__ import annotations

import ast
import json
from typing import Any

from pixeltune.errors import UserError
from pixeltune.tasks.benchmarks import dataset
from pixeltune.tasks.benchmarks.bfcl_rules import plain
from pixeltune.tasks.parsing.tool_calls import parse, same, typed

CLASSES = {
    "GorillaFileSystem": "gorilla_file_system",
    "MathAPI": "math_api",
    "MessageAPI": "message_api",
    "TwitterAPI": "posting_api",
    "TicketAPI": "ticket_api",
    "TradingBot": "trading_bot",
    "TravelAPI": "travel_booking",
    "VehicleControlAPI": "vehicle_control",
}
"""The file in ``multi_turn_func_doc`` that describes a class."""

RESULT = json.dumps({"status": "accepted", "output": "not simulated"})
MAX_CALL = 10_000  # characters of a reference call


def classes_of(record: dict, where: str) -> list[str]:
    """The classes whose functions are on offer.

    Raises:
        ValueError: none, or one that nobody knows.
    """
    names = dataset.field(record, "involved_classes", list, where)
    for name in names:
        if not isinstance(name, str) or name not in CLASSES:
            raise UserError(f"{where}: 'involved_classes' has {name!r}; known are {', '.join(CLASSES)}")
    return names


def offered(record: dict, documents: list[dict], where: str) -> list[dict]:
    """The documents of the functions on offer: all but those in ``excluded_function``."""
    excluded = dataset.field({"excluded_function": [], **record}, "excluded_function", list, where)
    return [document for document in documents if document["name"] not in excluded]


def reference(ground_truth: object, functions: list[dict], turns: int, where: str) -> list[list[dict]]:
    """The calls of each turn, ``name`` and ``arguments``, from call texts such as ``cd(folder='a')``.

    Raises:
        ValueError: there is not one list of calls for each of the turns, or one of them is not a call of a
            function on offer with literal arguments.
    """
    if not isinstance(ground_truth, list) or len(ground_truth) != turns:
        raise UserError(f"{where}: 'ground_truth' has not one list of calls for each turn of 'question'")
    described = {function["name"]: function for function in functions}
    calls = []
    for sources in ground_truth:
        if not isinstance(sources, list):
            raise UserError(f"{where}: a turn in 'ground_truth' is no list of calls")
        calls.append([_call(source, described, where) for source in sources])
    return calls


def _call(source: object, described: dict[str, dict], where: str) -> dict:
    """One call; positional arguments get the names of the function's parameters, in their order."""
    said = source[:80] if isinstance(source, str) else type(source).__name__
    try:
        if not isinstance(source, str) or len(source) > MAX_CALL:
            raise UserError("no text, or a very long one")
        node = ast.parse(source.strip(), mode="eval").body
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            raise UserError("no call of a function")
        name = node.func.id
        positional = [ast.literal_eval(value) for value in node.args]
        named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords}
        if None in named:
            raise UserError("unpacks its arguments")
        json.dumps([positional, named])
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise UserError(f"{where}: {said!r} in 'ground_truth' is no literal Python call ({error})") from error
    if name not in described:
        raise UserError(f"{where}: {said!r} in 'ground_truth' calls what is not on offer")
    names = list(described[name]["parameters"]["properties"])
    if len(positional) > len(names) or named.keys() & set(names[: len(positional)]):
        raise UserError(f"{where}: {said!r} in 'ground_truth' has too many arguments")
    return {"name": name, "arguments": dict(zip(names, positional, strict=False)) | named}


def next_turn(row: dict, texts: list[str]) -> list[dict] | None:
    """The last completion, a neutral result for each of its calls, and the user's next turn; None at the end.

    Wrong turns do not end a conversation: the others still count for :func:`share`.
    """
    turns = json.loads(row["turns"])
    if len(texts) > len(turns):
        return None
    results = [{"role": "tool", "content": RESULT} for _ in parse(texts[-1]) or []]
    return [{"role": "assistant", "content": texts[-1]}, *results, *turns[len(texts) - 1]]


def share(row: dict, texts: list[str]) -> float:
    """The share of turns whose calls are those of the reference."""
    wanted = json.loads(row["ground_truth"])
    right = sum(_right_turn(parse(text), calls) for text, calls in zip(texts, wanted, strict=False))
    return right / max(len(wanted), len(texts))


def _right_turn(calls: list[dict] | None, wanted: list[dict]) -> bool:
    return calls is not None and len(calls) == len(wanted) and all(map(_right_call, calls, wanted))


def _right_call(call: dict, wanted: dict) -> bool:
    given, right = call["arguments"], wanted["arguments"]
    if call["name"] != wanted["name"] or not isinstance(given, dict) or given.keys() != right.keys():
        return False
    return all(_equal(given[name], right[name]) for name in right)


def _equal(given: Any, wanted: Any) -> bool:
    """Equality of texts as in BFCL's rule and of numbers by value, in whatever they lie."""
    given = typed(given, "string" if isinstance(wanted, str) else None)
    return same(_normal(given), _normal(wanted))


def _normal(value: Any) -> Any:
    if isinstance(value, list):
        return [_normal(item) for item in value]
    if isinstance(value, dict):
        return {key: _normal(item) for key, item in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else plain(value)
