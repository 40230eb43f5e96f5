"""Parameters of tools as JSON Schema: public data sets name types as Python, Java or BFCL do.

Only where the place is a type's is a name changed: a property may itself be called ``type`` or ``items``.
The table follows the type names that occur in BFCL (github.com/ShishirPatil/gorilla), When2Call and
Seal-Tools; that ``any`` becomes ``string`` is BFCL's own rule.
"""

from __future__ import annotations

from typing import Any

from pixeltune.errors import UserError

MAX_DEPTH = 32  # schemas inside schemas; those of the data sets have at most five

TYPES = {
    "object": "object",
    "dict": "object",
    "dictionary": "object",
    "hashmap": "object",
    "map": "object",
    "array": "array",
    "list": "array",
    "tuple": "array",
    "set": "array",
    "arraylist": "array",
    "integer": "integer",
    "int": "integer",
    "long": "integer",
    "short": "integer",
    "number": "number",
    "float": "number",
    "double": "number",
    "boolean": "boolean",
    "bool": "boolean",
    "string": "string",
    "str": "string",
    "any": "string",
    "null": "null",
    "none": "null",
}


def json_schema(parameters: dict) -> dict:
    """The parameters of a tool as the JSON Schema of an object.

    Args:
        parameters: a schema that names types in its own way, perhaps without ``type`` or ``properties``.

    Raises:
        ValueError: schemas lie more than ``MAX_DEPTH`` deep in each other.
    """
    return {"type": "object", "properties": {}, **_converted(parameters, 0)}


def type_name(name: object) -> object:
    """A type's name in JSON Schema, in a list of names each of them; one that nobody knows is a ``string``.

    A generic type is its outer one: ``List[str]`` is an ``array``.
    """
    if isinstance(name, list):
        return [type_name(one) for one in name if isinstance(one, str)]
    if not isinstance(name, str):
        return "string"
    return TYPES.get(name.partition("[")[0].partition("<")[0].strip().lower(), "string")


def _converted(schema: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise UserError(f"a tool's schemas lie more than {MAX_DEPTH} deep in each other: flatten them")
    if isinstance(schema, list):
        return [_converted(one, depth + 1) for one in schema]
    if not isinstance(schema, dict):
        return schema
    new = dict(schema)
    if "type" in schema:
        new["type"] = type_name(schema["type"])
    if isinstance(schema.get("properties"), dict):
        new["properties"] = {name: _converted(one, depth + 1) for name, one in schema["properties"].items()}
    for inside in ("items", "additionalProperties", "anyOf", "oneOf", "allOf"):
        if inside in schema:
            new[inside] = _converted(schema[inside], depth + 1)
    return new
