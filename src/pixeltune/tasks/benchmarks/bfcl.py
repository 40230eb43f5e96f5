"""bfcl: the Berkeley Function-Calling Leaderboard, version 4: call what is asked for, or nothing.

The categories that need no network and no code of others (github.com/ShishirPatil/gorilla, Apache-2.0), each
of them a group: one function on offer or several, one call or several, no function that fits, and
conversations of several turns. Single turns follow upstream's rule
(:mod:`pixeltune.tasks.benchmarks.bfcl_rules`).

``multi_turn_base`` DOES NOT FOLLOW UPSTREAM'S RULE: nothing is run, calls are compared with the reference. It
is stricter, and not comparable with the leaderboard (:mod:`pixeltune.tasks.benchmarks.bfcl_turns`).

Single turns deviate from upstream's handler of Qwen models in what is read, not in the rule: a call may lack
its line breaks or, at the end, its closing tag; the tags of Qwen3.5 are read as well; and an answer with a
call that cannot be read is wrong, where upstream scores its other calls. Names of functions keep their dots,
as for Qwen upstream; its hint in every description that the function is in Python is left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pixeltune.errors import UserError
from pixeltune.tasks.base import Task
from pixeltune.tasks.benchmarks import bfcl_rules, bfcl_turns, dataset
from pixeltune.tasks.parsing.schemas import json_schema, type_name
from pixeltune.tasks.parsing.tool_calls import parse, readable, render, typed

NAME = "bfcl"
HUB = "gorilla-llm/Berkeley-Function-Calling-Leaderboard"
IRRELEVANCE, MULTI_TURN = "irrelevance", "multi_turn_base"
CATEGORIES = ("simple_python", "multiple", "parallel", "parallel_multiple", IRRELEVANCE, MULTI_TURN)

_V3 = {"simple_python": "simple"}  # what version 3 called a category
_ANSWERS, _DOCUMENTS = "possible_answer/", "multi_turn_func_doc/"


def _rows(split: str, folder: Path | None, category: str | None) -> list[dict]:
    """Rows with the category as ``group`` and the reference in ``ground_truth`` (JSON).

    Rows of single turns have the documents of the functions of the reference in ``functions``, types named in
    BFCL's way; rows of several turns have what the user says later in ``turns``. All of it is JSON. Where no
    call is right there is no ``completion``: the data has no words for it.

    A folder holds ``CATEGORY.jsonl`` or, as ``bfcl_eval/data`` in upstream's package, files such as
    ``BFCL_v4_CATEGORY.json``, answers of the same name in ``possible_answer``, and ``multi_turn_func_doc``.
    """
    return [row for name in ([category] if category else CATEGORIES) for row in _category(name, folder)]


rows = dataset.rows_from(NAME, {"test": CATEGORIES}, _rows)


def next_turn(row: dict, texts: list[str]) -> list[dict] | None:
    """What follows the completions so far in a conversation of several turns; None for all other rows."""
    return bfcl_turns.next_turn(row, texts) if row["group"] == MULTI_TURN else None


def score(row: dict, text: str | list[str]) -> float:
    """1.0 if the completion is right, of a conversation if all are, else 0.0.

    Args:
        row: from :func:`rows`.
        text: a completion, or the list of those of a conversation.
    """
    return float(grade(row, text) == 1.0)


def grade(row: dict, text: str | list[str]) -> float:
    """:func:`score`, and for a conversation the share of turns that are right."""
    texts = [text] if isinstance(text, str) else text
    if row["group"] == MULTI_TURN:
        return bfcl_turns.share(row, texts)
    if row["group"] == IRRELEVANCE:
        return float(not _calls_something(texts[-1]))
    functions = json.loads(row["functions"])
    calls = [_typed(call, functions) for call in parse(texts[-1]) or []]
    return float(bfcl_rules.right_calls(functions, calls, json.loads(row["ground_truth"])))


def reward(completions: list, group: list[str], functions: list, ground_truth: list, **_) -> list[float]:
    """Binary reward in TRL's signature: :func:`score` of every completion.

    In TRL's loop nobody plays the user: a conversation of several turns ends with the first, and is wrong.
    """
    return [
        score({"group": g, "functions": f, "ground_truth": t}, _said(completion))
        for completion, g, f, t in zip(completions, group, functions, ground_truth, strict=True)
    ]


def shaped_reward(completions: list, group: list, functions: list, ground_truth: list, **_) -> list[float]:
    """:func:`grade` of every completion, in TRL's signature."""
    return [
        grade({"group": g, "functions": f, "ground_truth": t}, _said(completion))
        for completion, g, f, t in zip(completions, group, functions, ground_truth, strict=True)
    ]


def _said(completion: str | list[dict]) -> list[str]:
    if isinstance(completion, str):
        return [completion]
    return [str(turn.get("content") or "") for turn in completion if turn["role"] == "assistant"] or [""]


def _calls_something(text: str) -> bool:
    """Whether there is a call with arguments. Upstream counts what it cannot decode as no call, and so here.

    One oddity is not kept: upstream overlooks all calls if one of them has no name or no object of arguments.
    """
    return any(isinstance(call["arguments"], dict) for call in readable(text))


def _typed(call: dict, functions: list[dict]) -> dict:
    """A call whose arguments, if they stood between tags, have the types of the function's document."""
    schemas = {f["name"]: f["parameters"]["properties"] for f in functions}.get(call["name"], {})
    if not isinstance(call["arguments"], dict):
        return call
    return call | {
        "arguments": {
            name: typed(value, type_name(schemas.get(name, {}).get("type")))
            for name, value in call["arguments"].items()
        }
    }


def _category(name: str, folder: str | Path | None) -> list[dict]:
    questions = _read(folder, "", name)
    answers: list[Any] = [None] * len(questions)
    if name != IRRELEVANCE:
        answers = _joined(questions, _read(folder, _ANSWERS, name), name)
    made, documents = [], {}
    for number, (question, answer) in enumerate(zip(questions, answers, strict=True), start=1):
        where = f"{NAME} test {name}, record {number}"
        if name != MULTI_TURN:
            made.append(_single(question, answer, name, where))
            continue
        for kind in bfcl_turns.classes_of(question, where):
            if kind not in documents:
                found = _read(folder, _DOCUMENTS, bfcl_turns.CLASSES[kind])
                documents[kind] = _functions({"function": found}, f"{NAME} {_DOCUMENTS}{kind}")
        made.append(_several(question, answer, documents, where))
    return made


def _read(folder: str | Path | None, place: str, name: str) -> list[dict]:
    """Records of a file in ``place``, whichever way it is named."""
    official = [f"{place}BFCL_v4_{name}.json", f"{place}BFCL_v3_{_V3.get(name, name)}.json"]
    official = [f"{place}{name}.json"] if place == _DOCUMENTS else official
    if folder is None:
        return dataset.from_hub_file(HUB, official)
    return dataset.from_folder(folder, [f"{place}{name}.jsonl", *official])


def _joined(questions: list[dict], answers: list[dict], name: str) -> list[Any]:
    """The ``ground_truth`` of every question: by its id or, as upstream has it, by its place."""
    truths = {
        str(answer.get("id")): dataset.field(
            answer, "ground_truth", list, f"{NAME} {_ANSWERS}{name}, record {number}"
        )
        for number, answer in enumerate(answers, start=1)
    }
    if all(str(question.get("id")) in truths for question in questions):
        return [truths[str(question.get("id"))] for question in questions]
    if len(questions) != len(answers):
        raise UserError(f"{NAME} test {name} has {len(questions)} questions and {len(answers)} answers")
    return [answer["ground_truth"] for answer in answers]


def _single(record: dict, truth: list | None, name: str, where: str) -> dict:
    functions, turns = _functions(record, where), _turns(record, where)
    if len(turns) != 1:
        raise UserError(f"{where}: 'question' has {len(turns)} turns")
    row = _row(record, turns, functions, name, where)
    if truth is None:
        return row
    bfcl_rules.check(functions, truth, where)
    names = {called for call in truth for called in call}
    used = [function for function in functions if function["name"] in names]
    said = render(_reference(used, truth))
    return row | {
        "functions": json.dumps(used),
        "ground_truth": json.dumps(truth),
        "completion": [{"role": "assistant", "content": said}],
    }


def _several(record: dict, truth: list, documents: dict[str, list[dict]], where: str) -> dict:
    turns = _turns(record, where)
    known = [document for name in bfcl_turns.classes_of(record, where) for document in documents[name]]
    functions = bfcl_turns.offered(record, known, where)
    calls = bfcl_turns.reference(truth, functions, len(turns), where)
    row = _row(record, turns, functions, MULTI_TURN, where)
    row |= {"ground_truth": json.dumps(calls), "turns": json.dumps(turns[1:])}
    if not all(calls):
        return row
    completion, texts = [], []
    for called in calls:
        texts.append(render(called))
        completion += bfcl_turns.next_turn(row, texts) or [{"role": "assistant", "content": texts[-1]}]
    return row | {"completion": completion}


def _row(record: dict, turns: list, functions: list[dict], name: str, where: str) -> dict:
    tools = [
        {
            "type": "function",
            "function": {
                "name": function["name"],
                "description": function.get("description", ""),
                "parameters": json_schema(function["parameters"]),
            },
        }
        for function in functions
    ]
    return {
        "id": dataset.field(record, "id", str, where),
        "prompt": turns[0],
        "tools": json.dumps(tools),
        "group": name,
        "functions": "[]",
        "ground_truth": "[]",
        "turns": "[]",
    }


def _turns(record: dict, where: str) -> list[list[dict]]:
    """``question``: turns of the user, each a list of messages."""
    turns = dataset.field(record, "question", list, where)
    for turn in turns or [None]:
        for message in turn if isinstance(turn, list) and turn else [None]:
            if not isinstance(message, dict) or not isinstance(message.get("content"), str):
                raise UserError(f"{where}: 'question' is not a list of turns, each a list of messages")
            dataset.field(message, "role", str, where)
    return turns


def _functions(record: dict, where: str) -> list[dict]:
    """``function``: documents with a name and parameters."""
    functions = dataset.field(record, "function", list, where)
    for function in functions:
        if not isinstance(function, dict):
            raise UserError(f"{where}: 'function' holds something else than objects")
        dataset.field(function, "name", str, where)
        known = dataset.field(dataset.field(function, "parameters", dict, where), "properties", dict, where)
        for name in known:
            dataset.field(known, name, dict, where)
    return functions


def _reference(functions: list[dict], truth: list[dict]) -> list[dict]:
    """Calls with the first accepted values, without what need not be given or is not described.

    ``""`` among the values means that it need not be; where it must be all the same, the next one is taken.
    """
    calls, described = [], {function["name"]: function["parameters"] for function in reversed(functions)}
    for wanted in truth:
        ((name, accepted),) = wanted.items()
        known, required = described[name]["properties"], described[name]["required"]
        arguments = {
            parameter: _first(values, known[parameter])
            for parameter, values in accepted.items()
            if parameter in known and values and (values[0] != "" or parameter in required)
        }
        calls.append({"name": name, "arguments": arguments})
    return calls


def _first(values: list, schema: dict) -> Any:
    """The first accepted value; in an object, or a list of them, each key again has a list of values."""
    value = next((value for value in values if value != ""), "")
    if schema["type"] == "dict" and isinstance(value, dict):
        return {key: ones[0] for key, ones in value.items() if ones and ones[0] != ""}
    if isinstance(value, list) and schema.get("items", {}).get("type") == "dict":
        return [_first([item], {"type": "dict"}) for item in value]
    return value


TASK = Task(
    name=NAME,
    instruction=(
        "Call every function that the request needs, all of them at once, with exactly the values it gives. "
        "If no function fits or a value is missing, call none."
    ),
    max_new_tokens=512,  # the longest reference has 996 characters
    rows=rows,
    score=score,
    reward=reward,
    next_turn=next_turn,
    benchmark=True,
)
