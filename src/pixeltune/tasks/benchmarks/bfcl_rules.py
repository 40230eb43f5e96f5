"""BFCL's rule for the calls of one answer, the Python part of its AST check.

The rule is that of ``ast_checker.py`` in bfcl-eval 2026.3.23 (github.com/ShishirPatil/gorilla, Apache-2.0),
oddities included, because scores are compared with published ones;
``tests/tasks/benchmarks/test_bfcl_rules.py`` holds the two against each other. Where upstream's code raises
on a model's call, the call is wrong here. Where it would raise because of the reference, :func:`check`
refuses the reference before anything is scored.

One deviation in form: upstream keeps three checkers, for one call, for one call with several functions on
offer, and for several calls. With one reference call the third does what the others do, so only it is here.
"""

from __future__ import annotations

from typing import Any

from pixeltune.errors import UserError

TYPES: dict[Any, type] = {
    "string": str,
    "integer": int,
    "float": float,
    "boolean": bool,
    "array": list,
    "tuple": list,
    "dict": dict,
    "any": str,
}
_IGNORED = str.maketrans("", "", " ,./-_*^")


def right_calls(functions: list[dict], calls: list[dict], reference: list[dict]) -> bool:
    """Whether the calls are as many as those of the reference and match them, in any order.

    Greedy as upstream: each reference call in turn takes the first call left that matches.

    Args:
        functions: BFCL's documents of the functions, types named in BFCL's way.
        calls: with ``name`` and ``arguments``.
        reference: BFCL's ``ground_truth``, ``{function: {parameter: accepted values}}`` for each call.
    """
    if len(calls) != len(reference):
        return False
    described, left = {function["name"]: function for function in reversed(functions)}, list(calls)
    for wanted in reference:
        ((name, accepted),) = wanted.items()
        found = (i for i, call in enumerate(left) if right_call(described[name], call, accepted))
        if (number := next(found, None)) is None:
            return False
        del left[number]
    return True


def right_call(function: dict, call: dict, accepted: dict[str, list]) -> bool:
    """Whether one call has the function's name and parameters, each with an accepted value.

    A parameter may be left out if it is not required and ``""`` is among its accepted values.
    """
    given, known = call["arguments"], function["parameters"]["properties"]
    if call["name"] != function["name"] or not isinstance(given, dict):
        return False
    if any(name not in given for name in function["parameters"]["required"]):
        return False
    if any(name not in given and "" not in values for name, values in accepted.items()):
        return False
    return all(
        name in known and name in accepted and right_value(value, known[name], accepted[name])
        for name, value in given.items()
    )


def right_value(value: Any, schema: dict, accepted: list) -> bool:
    """Whether a value has the type of its parameter and is accepted.

    A value of another type passes as a "variable" if it has the type of the first accepted value that is not
    ``""``; it must then be equal to an accepted one as it stands, capitals and spaces included. So must every
    value of a parameter whose accepted values have another type than the schema says.
    """
    expected: Any = TYPES[schema["type"]]
    items = None
    if expected is list:
        items = TYPES[schema["items"]["type"]]
    if schema["type"] == "tuple" and type(value) is tuple:
        value = list(value)
    if schema["type"] == "float" and type(value) is int:
        try:
            value = float(value)
        except OverflowError:
            return False
    usual = _usual_type(accepted)
    if type(value) is not expected:
        return type(value) is usual and value in accepted
    if items and not _right_items(value, items, accepted):
        return False
    if usual not in (None, expected):
        return value in accepted
    if expected is dict:
        return any(right_dict(value, one) for one in accepted)
    if items is dict:
        return any(right_dicts(value, one) for one in accepted)
    if expected is str:
        return right_text(value, accepted)
    if expected is list:
        return right_list(value, accepted)
    return value in accepted


def right_text(value: str, accepted: list) -> bool:
    """Whether a text is accepted, up to case, kind of quotes, spaces and ``, . / - _ * ^``."""
    return plain(value) in [plain(one) for one in accepted if type(one) is str]


def right_list(value: list, accepted: list) -> bool:
    """Whether a list is accepted, in its order, the texts in it as in :func:`right_text`; no deeper.

    An accepted ``""``, which means that the parameter may be left out, lets the empty list pass.
    """
    return [plain(item) for item in value] in [[plain(item) for item in one] for one in accepted]


def right_dict(value: dict, accepted: object) -> bool:
    """Whether an object has only accepted keys, each with an accepted value, and lacks only optional ones."""
    if not isinstance(accepted, dict) or any(key not in accepted for key in value):
        return False
    if any(key not in value and "" not in ones for key, ones in accepted.items()):
        return False
    return all(plain(item) in [plain(one) for one in accepted[key]] for key, item in value.items())


def right_dicts(value: list, accepted: list | str) -> bool:
    """Whether a list of objects matches one accepted list, in its order."""
    return len(value) == len(accepted) and all(
        isinstance(item, dict) and right_dict(item, one) for item, one in zip(value, accepted, strict=True)
    )


def plain(value: Any) -> Any:
    """A text without what does not count in comparing texts; any other value as it is."""
    return value.translate(_IGNORED).lower().replace("'", '"') if type(value) is str else value


def check(functions: list[dict], reference: object, where: str) -> None:
    """Refuse a reference that the rule cannot judge by.

    Raises:
        ValueError: it is not of the form above, or names a function or type that is not described.
    """
    described = {function["name"]: function for function in reversed(functions)}
    if not isinstance(reference, list) or not reference:
        raise UserError(f"{where}: 'ground_truth' is no list of calls")
    for wanted in reference:
        pairs = list(wanted.items()) if isinstance(wanted, dict) else []
        if len(pairs) != 1 or not isinstance(pairs[0][1], dict):
            raise UserError(f"{where}: a call in 'ground_truth' is not {{function: {{parameter: values}}}}")
        name, accepted = pairs[0]
        if name not in described:
            raise UserError(f"{where}: 'ground_truth' calls {name!r}, which 'function' does not describe")
        parameters = described[name]["parameters"]
        if not isinstance(parameters.get("required"), list):
            raise UserError(f"{where}: {name!r} in 'function' has no list 'required'")
        for parameter, values in accepted.items():
            problem = _problem(parameters["properties"].get(parameter, {"type": "any"}), values)
            if problem:
                raise UserError(f"{where}: {parameter!r} of {name!r} in 'ground_truth': {problem}")


def _problem(schema: Any, values: object) -> str | None:
    kind = schema.get("type") if isinstance(schema, dict) else None
    inner = schema.get("items") if kind in ("array", "tuple") else None
    item = inner.get("type") if isinstance(inner, dict) else None
    for name in (kind, item) if kind in ("array", "tuple") else (kind,):
        if not isinstance(name, str) or name not in TYPES:
            return f"its type {name!r} is none of {', '.join(TYPES)}"
    if not isinstance(values, list):
        return "no list of accepted values"
    given, expected = [one for one in values if one != ""], TYPES[kind]
    if expected not in (list, dict) or all(type(one) is str for one in given):
        return None
    if not all(type(one) is expected for one in given):
        return f"its accepted values are not all of the type {kind!r}, nor all texts"
    objects = [one for ones in given for one in ones] if item == "dict" else given if kind == "dict" else []
    for one in objects:
        if type(one) is not dict or not all(isinstance(ones, list) for ones in one.values()):
            return "an accepted object has no list of accepted values for each key"
    return None


def _usual_type(accepted: list) -> type | None:
    return next((type(one) for one in accepted if one != ""), None)


def _right_items(value: list, kind: type, accepted: list) -> bool:
    """Whether the items are of the schema's type, or of that of one accepted list; one level deep.

    An accepted value that is no list, such as the ``""`` of a parameter that may be left out, lets any pass.
    """
    return any(
        type(one) is not list or all(type(item) in (kind, _usual_type(one)) for item in value)
        for one in accepted
    )
