"""Rows as the `datasets.Dataset` that TRL's trainers take, every row as it was written."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from datasets import Dataset, Features, Image, Json, List, Value
from datasets.features.features import register_feature
from datasets.table import array_cast

_EXACT = "exactly"


@dataclass
class ExactJson(Json):
    """`datasets.Json` that gives back what was put in.

    That of datasets 5.2 rounds numbers to ten decimals, makes numbers of texts such as "3", texts of large
    numbers: https://github.com/huggingface/datasets/blob/5.2.0/src/datasets/features/features.py. What
    `Dataset.map` writes goes around this class and is as inexact as before; TRL reads rows before it maps.
    """

    _type: str = field(default="ExactJson", init=False, repr=False)

    def encode_example(self, example_data: Any) -> str | None:
        """A value as JSON text, in an object of one name; None stays None."""
        return None if example_data is None else json.dumps({_EXACT: example_data})

    def decode_example(self, example_data: str | None, token_per_repo_id: Any = None) -> Any:
        """The value of a JSON text, also of one that `datasets` wrote as a text once more, or itself."""
        value = None if example_data is None else json.loads(example_data)
        if isinstance(value, str) and value.startswith('{"' + _EXACT):
            value = json.loads(value)
        return value[_EXACT] if isinstance(value, dict) and list(value) == [_EXACT] else value

    def cast_storage(self, storage: pa.Array) -> pa.Array:
        """JSON texts as the type that Arrow keeps them in."""
        return storage if isinstance(storage, pa.JsonArray) else array_cast(storage, self.pa_type)


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # datasets announces that this may change
    register_feature(ExactJson, "ExactJson")


def as_dataset(rows: list[dict]) -> Dataset:
    """A dataset whose rows are equal to `rows`, with None where one lacks a column.

    Arrow gives all objects of a column the same names: a tool call would get the argument names of all other
    rows, with null as value, and a message the fields of all other messages; and `Dataset.from_list` takes
    only the first row's columns. So what is not plain is kept as JSON text inside.

    Args:
        rows: TRL's; ``images`` are as `datasets.Image` stores them (see `pixeltune.data.images`).
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    features = Features({name: _feature(name, [row.get(name) for row in rows]) for name in names})
    return Dataset.from_list([{name: row.get(name) for name in names} for row in rows], features=features)


def _feature(name: str, values: list) -> Any:
    if name == "images":
        return List(Image(mode="RGB"))
    kinds = {type(value) for value in values} - {type(None)}
    if kinds == {list} and all(isinstance(item, dict) for value in values for item in value or []):
        return List(ExactJson())
    if kinds & {list, dict, tuple} or (len(kinds) > 1 and kinds <= {str, bool, int, float}):
        return ExactJson()
    if kinds == {int} and not all(-(1 << 63) <= value < 1 << 63 for value in values if value is not None):
        return ExactJson()
    plain = {bool: "bool", int: "int64", float: "float64", str: "string"}
    if len(kinds) <= 1 and kinds <= set(plain):
        return Value(plain[kinds.pop()] if kinds else "null")
    return Dataset.from_dict({name: values}).features[name]
