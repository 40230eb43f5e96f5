"""The reward for JSON of a schema, beside the jsonschema package's own verdict."""

from __future__ import annotations

import json

import jsonschema
import pytest

from pixeltune.errors import UserError
from pixeltune.tasks.formats import LONGEST, json_schema

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
    "required": ["city"],
    "additionalProperties": False,
}
ANSWERS = [
    '{"city": "Oslo"}',
    '{"city": "Oslo", "days": 0}',
    '{"days": 2}',
    "[]",
    '"Oslo"',
    '{"city": 1}',
    "null",
]


@pytest.mark.parametrize("schema", [CITY, json.dumps(CITY)])
def test_it_agrees_with_the_package(schema):
    wanted = [
        1.0 if jsonschema.Draft202012Validator(CITY).is_valid(json.loads(text)) else 0.5 for text in ANSWERS
    ]
    assert json_schema(ANSWERS, schema=[schema] * len(ANSWERS)) == wanted
    assert set(wanted) == {0.5, 1.0}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('```json\n{"city": "Oslo"}\n```', 1.0),
        ('```\n{"city": "Oslo"}```\n', 1.0),
        ('Here: {"city": "Oslo"}', 0.0),
        ('{"city": "Oslo"', 0.0),
        ("", 0.0),
        ("```", 0.0),
        ("[" * 100_000, 0.0),
        ('"' + "a" * LONGEST + '"', 0.0),
    ],
)
def test_what_counts_as_json(text, value):
    assert json_schema([text], schema=[CITY]) == [value]
    assert json_schema([[{"role": "assistant", "content": text}]], schema=[CITY]) == [value]


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ("{", "is no JSON Schema"),
        ([], "is no JSON Schema"),
        (None, "is no JSON Schema"),
        ({"type": "strin"}, "is no JSON Schema"),
        ({"$ref": "http://127.0.0.1:9/other.json"}, "leads out of itself or in a circle"),
        ({"$ref": "#"}, "leads out of itself or in a circle"),
    ],
)
def test_schemas_that_cannot_be_used(schema, said):
    with pytest.raises(UserError, match=said):
        json_schema(['{"a": 1}'], schema=[schema])
