"""seal_tools: Seal-Tools (Wu et al., arXiv 2405.08355), requests that take one to six calls of five tools.

The queries are upstream's (github.com/fairyshine/Seal-Tools, Apache-2.0), and so are the five tools on offer,
found by upstream's retriever: in 8 of 2,054 queries a tool that is needed is not among them, and those rows
stay. "train" is nine tenths of upstream's ``dev`` and "validation" the last tenth; its own training part is
not read. Upstream asks for one JSON list; here every call is a ``<tool_call>``.

The values that calls return are numbered ``API_call_0``, ``API_call_1``, ... over all calls, and a parameter
may be such a name (in 85 of the queries). How many values a tool returns is said in its description.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pixeltune.errors import UserError
from pixeltune.tasks.base import Task, texts_of
from pixeltune.tasks.benchmarks import dataset
from pixeltune.tasks.parsing.schemas import json_schema
from pixeltune.tasks.parsing.tool_calls import Written, parse, render, same

NAME = "seal_tools"
DOMAINS = ("in_domain", "out_domain")
SINGLE = {"single": 5, "single_of_two": 2}
"""Categories of the requests that take one call, a quarter of all, and how many tools are on offer."""
SPLITS = {"train": tuple(SINGLE), "validation": tuple(SINGLE), "test": (*DOMAINS, *SINGLE)}
RESULT = "API_call_"

_SUFFIX = (
    "\n\nMake all calls at once. The values they return are named API_call_0, API_call_1 and so on, over all "
    "calls in order; where a parameter needs a value that an earlier call returns, give its name."
)


def _rows(split: str, folder: Path | None, category: str | None) -> list[dict]:
    """Rows with ``prompt``, ``tools``, ``completion``, ``calls`` (JSON) and, in the test, ``group``.

    In a category of `SINGLE` nothing is said of several calls, and of two tools on offer the other one is the
    retriever's first that is not needed; before or after, by the row's id.

    A folder is upstream's ``Seal-Tools_Dataset`` (or a clone around it), and in it ``candidates.jsonl`` with
    the ``id`` of every query and the names of its ``candidates``, the tools on offer.
    """
    if folder is None:
        raise UserError(
            "Seal-Tools needs a folder: fetch Seal-Tools_Dataset from github.com/fairyshine/Seal-Tools, add "
            "candidates.jsonl (id, candidates: names of the tools on offer) and give it with --data"
        )
    tools = dict(
        _tool(record, f"{NAME} tool.jsonl, record {number}")
        for number, record in enumerate(_records(folder, "tool.jsonl"), start=1)
    )
    offers: dict[str, list] = {}
    for number, record in enumerate(_records(folder, "candidates.jsonl"), start=1):
        where = f"{NAME} candidates.jsonl, record {number}"
        offers[dataset.field(record, "id", str, where)] = dataset.field(record, "candidates", list, where)
    found: list[dict] = []
    for domain in ((category,) if category in DOMAINS else DOMAINS) if split == "test" else (None,):
        name = f"test_{domain}.jsonl" if domain else "dev.jsonl"
        for number, record in enumerate(_records(folder, name), start=1):
            row = _row(record, offers, tools, f"{NAME} {name}, record {number}")
            if category in SINGLE:
                if len(calls := json.loads(row["calls"])) > 1:
                    continue
                row = _single(row, calls[0]["name"], SINGLE[category])
            found.append({**row, "group": domain} if domain else row)
    return found if split == "test" else dataset.validation(found, split, lambda row: row["id"])


rows = dataset.rows_from(NAME, SPLITS, _rows)


def score(row: dict, text: str) -> float:
    """1.0 if the calls are exactly the right ones, else 0.0.

    Values are compared as strings, upstream's rule: "1999" is 1999, but 10 is not 10.0. The order is free,
    unless a parameter refers to a result: the numbers depend on the order, so it must be the reference's.
    """
    wanted, given = json.loads(row["calls"]), parse(text)
    if given is None or len(given) != len(wanted):
        return 0.0
    if RESULT in row["calls"]:
        return float(all(_equal(one, right) for one, right in zip(given, wanted, strict=True)))
    for right in wanted:
        place = next((i for i, one in enumerate(given) if _equal(one, right)), None)
        if place is None:
            return 0.0
        del given[place]
    return 1.0


def reward(completions: list, calls: list[str], **_) -> list[float]:
    """Binary reward in TRL's signature: :func:`score` of every completion."""
    return [score({"calls": right}, text) for right, text in zip(calls, texts_of(completions), strict=True)]


def metrics(rows: Sequence[dict], answers: Sequence[str]) -> dict[str, float]:
    """Upstream's figures over all rows: ``format``, and precision, recall and F1 of tools and of parameters.

    Upstream's (``calculate_score_ToolLearning`` in its ``llm_tools/evaluation/calculate.py``): ``format`` is
    the share of answers with calls that can be read, others count as no calls; a call is right if the
    reference calls the same tool, whatever the order; a parameter is right if the call is and the reference's
    has the same name and the same value as a string. Ours: calls are ``<tool_call>`` blocks; a call of the
    reference is matched once (upstream counts one that is repeated as right every time, so that its recall
    can exceed one); what is undefined is 0.
    """
    read, tools, parameters = 0, [0, 0, 0], [0, 0, 0]  # right, given, wanted
    for row, text in zip(rows, answers, strict=True):
        left, given = json.loads(row["calls"]), parse(text) or []
        read += bool(given)
        tools[1] += len(given)
        tools[2] += len(left)
        parameters[2] += sum(len(right["arguments"]) for right in left)
        for call in given:
            arguments = call["arguments"] if isinstance(call["arguments"], dict) else {}
            parameters[1] += len(arguments)
            place = next((i for i, right in enumerate(left) if right["name"] == call["name"]), None)
            if place is not None:
                wanted = left.pop(place)["arguments"]
                tools[0] += 1
                both = arguments.keys() & wanted.keys()
                parameters[0] += sum(_same(arguments[name], wanted[name]) for name in both)
    return {
        "format": read / max(1, len(rows)),
        **_figures("tool", *tools),
        **_figures("parameter", *parameters),
    }


def _figures(what: str, right: int, given: int, wanted: int) -> dict[str, float]:
    return {
        f"{what}_precision": right / max(1, given),
        f"{what}_recall": right / max(1, wanted),
        f"{what}_f1": 2 * right / max(1, given + wanted),
    }


def _equal(call: dict, right: dict) -> bool:
    given, wanted = call["arguments"], right["arguments"]
    if call["name"] != right["name"] or not isinstance(given, dict) or given.keys() != wanted.keys():
        return False
    return all(_same(given[name], wanted[name]) for name in wanted)


def _same(given: object, wanted: object) -> bool:
    """Equality as strings; what stood between tags may also be the JSON of a list or a truth value."""
    return str(given) == str(wanted) or (isinstance(given, Written) and same(given, wanted))


def _records(folder: str | Path, name: str) -> list[dict]:
    return dataset.from_folder(folder, [name, f"Seal-Tools_Dataset/{name}"])


def _tool(record: dict, where: str) -> tuple[str, dict]:
    """A tool's name, and the tool."""
    name = dataset.field(record, "api_name", str, where)
    parameters = {
        "properties": dataset.field(record, "parameters", dict, where),
        "required": dataset.field(record, "required", list, where),
    }
    returns = ", ".join(dataset.field(record, "responses", dict, where))
    description = f"{dataset.field(record, 'api_description', str, where).rstrip('. ')}. Returns {returns}."
    function = {"name": name, "description": description, "parameters": json_schema(parameters)}
    return name, {"type": "function", "function": function}


def _row(record: dict, offers: dict[str, list], tools: dict[str, dict], where: str) -> dict[str, Any]:
    identity = dataset.field(record, "id", str, where)
    if identity not in offers:
        raise UserError(f"{where}: candidates.jsonl has no {identity!r}")
    if unknown := [str(name) for name in offers[identity] if name not in tools]:
        raise UserError(f"{where}: its candidates {', '.join(unknown)[:200]} are not in tool.jsonl")
    calls = []
    for call in dataset.field(record, "calling", list, where):
        if not isinstance(call, dict):
            raise UserError(f"{where}: 'calling' holds something else than objects")
        name, arguments = (
            dataset.field(call, key, kind, where) for key, kind in (("api", str), ("parameters", dict))
        )
        calls.append({"name": name, "arguments": arguments})
    if not calls:
        raise UserError(f"{where}: 'calling' is empty")
    query = dataset.field(record, "query", str, where).strip()
    return {
        "id": identity,
        "prompt": [{"role": "user", "content": query + _SUFFIX}],
        "completion": [{"role": "assistant", "content": render(calls)}],
        "tools": json.dumps([tools[name] for name in offers[identity]]),
        "calls": json.dumps(calls),
    }


def _single(row: dict, needed: str, offered: int) -> dict:
    """The row of a single call, without what is said of several, and with so many tools on offer."""
    (message,), offer = row["prompt"], json.loads(row["tools"])
    if offered < len(offer):
        others = [tool for tool in offer if tool["function"]["name"] != needed][: offered - 1]
        offer = [tool for tool in offer if tool["function"]["name"] == needed]
        offer = offer + others if sum(row["id"].encode()) % 2 else others + offer
    return {
        **row,
        "prompt": [{**message, "content": message["content"].removesuffix(_SUFFIX)}],
        "tools": json.dumps(offer),
    }


TASK = Task(
    name=NAME,
    instruction=(
        "Call every tool that the request needs, in order, with exactly the values it names. Be brief."
    ),
    max_new_tokens=512,
    rows=rows,
    score=score,
    reward=reward,
    metrics=metrics,
    benchmark=True,
)
