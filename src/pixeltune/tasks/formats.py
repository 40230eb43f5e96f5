"""A reward for answers in a form, in TRL's signature; name it with ``--reward``.

``pixeltune grpo --data rows.jsonl --reward task pixeltune.tasks.formats:json_schema`` rewards right answers and the
form of the row's column ``schema``.
"""

from __future__ import annotations

from typing import Any

from pixeltune.errors import UserError
from pixeltune.tasks.base import texts_of
from pixeltune.tasks.parsing.tool_calls import load

LONGEST = 100_000  # characters of an answer that are read


def json_schema(completions: list, schema: list, **_) -> list[float]:
    """1.0 where a completion is JSON that fits its row's schema, 0.5 where it is other JSON, else 0.0.

    JSON in a fenced block counts; with text before or behind it does not. References (``$ref``) are
    followed inside the schema only, nothing is fetched. Its patterns are regular expressions, and run as such.

    Args:
        completions: texts or conversations.
        schema: JSON Schema for each completion, as an object or as its text.

    Raises:
        UserError: a row's schema is none, or jsonschema is not installed.
    """
    said = texts_of(completions)
    return [_fits(text, wanted) for text, wanted in zip(said, schema, strict=True)]


def _fits(text: str, schema: Any) -> float:
    validator = _validator(schema)
    if len(text) > LONGEST:
        return 0.0
    try:
        value = load(_unfenced(text))
    except ValueError:
        return 0.0
    from referencing.exceptions import Unresolvable

    try:
        return 1.0 if validator.is_valid(value) else 0.5
    except (Unresolvable, RecursionError) as error:
        raise UserError(
            f"the row's schema {schema!r:.60} leads out of itself or in a circle ({error}): write it in full"
        ) from None


def _unfenced(text: str) -> str:
    """What stands in a fenced block, if the text is one."""
    plain = text.strip()
    if not (plain.startswith("```") and plain.endswith("```") and "\n" in plain):
        return plain
    return plain.partition("\n")[2][:-3]


def _validator(schema: Any) -> Any:
    try:
        from jsonschema import SchemaError
        from jsonschema.validators import validator_for
        from referencing import Registry
    except ImportError:
        raise UserError("the jsonschema package is missing: pip install jsonschema") from None
    try:
        wanted = load(schema) if isinstance(schema, str) else schema
        if not isinstance(wanted, dict):
            raise ValueError("an object is wanted")
        kind = validator_for(wanted)
        kind.check_schema(wanted)
    except (ValueError, SchemaError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"the row's schema {schema!r:.60} is no JSON Schema: {reason}") from None
    return kind(wanted, registry=Registry())  # an empty one: the default one fetches references from the net
