from __future__ import annotations

import json
from pathlib import Path

import pytest

from pixeltune.tasks.parsing.schemas import MAX_DEPTH, json_schema, type_name

SHARED = Path(__file__).parents[4] / "shared" / "data"
JSON_TYPES = {"object", "array", "string", "integer", "number", "boolean", "null"}


@pytest.mark.parametrize(
    ("name", "known_as"),
    [
        ("dict", "object"),
        ("float", "number"),
        ("tuple", "array"),
        ("any", "string"),
        ("str", "string"),
        ("int", "integer"),
        ("bool", "boolean"),
        ("list", "array"),
        ("Boolean", "boolean"),
        ("HashMap", "object"),
        ("List[str]", "array"),
        ("ArrayList<String>", "array"),
        ("number", "number"),
        ("datetime", "string"),
        (["str", "null"], ["string", "null"]),
        (None, "string"),
    ],
)
def test_names_of_types(name, known_as):
    assert type_name(name) == known_as


def test_types_inside_types_and_nothing_else_is_changed():
    given = {
        "type": "dict",
        "required": ["where"],
        "properties": {
            "where": {"type": "tuple", "items": {"type": "float"}, "description": "a dict of int"},
            "of": {"anyOf": [{"type": "str"}, {"type": "int"}], "default": "float"},
            "more": {"type": "dict", "properties": {"n": {"type": "any", "enum": ["int", "list"]}}},
        },
    }
    before = json.dumps(given)
    assert json_schema(given) == {
        "type": "object",
        "required": ["where"],
        "properties": {
            "where": {"type": "array", "items": {"type": "number"}, "description": "a dict of int"},
            "of": {"anyOf": [{"type": "string"}, {"type": "integer"}], "default": "float"},
            "more": {"type": "object", "properties": {"n": {"type": "string", "enum": ["int", "list"]}}},
        },
    }
    assert json.dumps(given) == before


def test_properties_may_be_called_like_keywords():
    given = {
        "properties": {"type": {"type": "str"}, "items": {"type": "int"}, "properties": {"type": "dict"}}
    }
    assert json_schema(given) == {
        "type": "object",
        "properties": {
            "type": {"type": "string"},
            "items": {"type": "integer"},
            "properties": {"type": "object"},
        },
    }


def test_no_parameters_are_an_object_without_properties():
    assert json_schema({}) == {"type": "object", "properties": {}}


def test_a_schema_as_deep_as_a_well_is_refused():
    deep: dict = {"type": "list"}
    for _ in range(MAX_DEPTH - 1):
        deep = {"type": "list", "items": deep}
    json_schema({"items": deep})
    with pytest.raises(ValueError, match="flatten them"):
        json_schema({"items": {"items": deep}})


def types_in(schema: object) -> list:
    """Every type that a schema names, found without the code under test."""
    if not isinstance(schema, dict):
        return []
    inside = [*schema.get("properties", {}).values(), schema.get("items")]
    return [schema["type"]] * ("type" in schema) + [name for one in inside for name in types_in(one)]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the full data is not here")
@pytest.mark.parametrize(
    "file", ["simple_python", "multiple", "parallel", "parallel_multiple", "irrelevance"]
)
def test_every_schema_of_bfcl(file):
    for line in (SHARED / "bfcl" / f"{file}.jsonl").read_text().splitlines():
        for function in json.loads(line)["function"]:
            schema = json_schema(function["parameters"])
            assert set(types_in(schema)) <= JSON_TYPES
            assert len(types_in(schema)) == len(types_in(function["parameters"]))
            assert schema["type"] == "object"
