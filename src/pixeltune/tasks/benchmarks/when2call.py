"""when2call: When2Call (Ross et al., arXiv 2504.18851), whether to call a tool, to ask or to give up.

Each question has four replies, one of each kind; the one with the highest log-likelihood per token is
chosen, and right if it is the reference's. That is upstream's multiple choice, on the 300 questions that
upstream gives a judge (github.com/NVIDIA/When2Call, Apache-2.0; on the hub nvidia/When2Call). The kind
``direct`` is never right.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pixeltune.errors import UserError
from pixeltune.tasks.base import Task, texts_of
from pixeltune.tasks.benchmarks import dataset
from pixeltune.tasks.parsing.schemas import json_schema
from pixeltune.tasks.parsing.tool_calls import render

NAME = "when2call"
KINDS = ("direct", "tool_call", "request_for_info", "cannot_answer")
HUB = ("nvidia/When2Call", "test", "llm_judge")
FILES = ("test_llm_judge.jsonl", "when2call_test_llm_judge.jsonl", "data/test/when2call_test_llm_judge.jsonl")


def _rows(split: str, folder: Path | None, category: str | None) -> list[dict]:
    """Rows with ``prompt``, ``options`` (JSON), ``answer`` (the right one's index), its kind as ``group``.

    A folder holds ``test_llm_judge.jsonl``, under this or upstream's name. A category is a kind of reply:
    rows where it is the right one.
    """
    read = dataset.from_hub(*HUB) if folder is None else dataset.from_folder(folder, FILES)
    found = [_row(record, f"{NAME} {split}, record {number}") for number, record in enumerate(read, start=1)]
    return [row for row in found if category in (None, row["group"])]


rows = dataset.rows_from(NAME, {"test": KINDS[1:]}, _rows)


def options(row: dict) -> list[str]:
    """The four replies in the order of ``KINDS``."""
    return json.loads(row["options"])


def score(row: dict, text: str) -> float:
    """1.0 if the text is the right one of the options, word by word, else 0.0."""
    return float(_kind(row, text) == KINDS[row["answer"]])


def reward(completions: list, options: list[str], answer: list[int], **_) -> list[float]:
    """:func:`score` of every completion, in TRL's signature."""
    return [
        score({"options": replies, "answer": right}, text)
        for replies, right, text in zip(options, answer, texts_of(completions), strict=True)
    ]


def metrics(rows: Sequence[dict], answers: Sequence[str]) -> dict[str, float]:
    """``macro_f1`` over the kinds that are right or chosen anywhere, and ``tool_hallucination``.

    The kinds counted are scikit-learn's rule: once ``direct`` is chosen, its F1 of 0 is one of four. A text
    that is no option is a miss of the right kind and no choice. ``tool_hallucination`` is upstream's: the
    share of rows without tools where a call is chosen (0 where all rows have tools).
    """
    wanted = [KINDS[row["answer"]] for row in rows]
    chosen = [_kind(row, text) for row, text in zip(rows, answers, strict=True)]
    said, due = Counter(kind for kind in chosen if kind), Counter(wanted)
    right = Counter(kind for kind, one in zip(chosen, wanted, strict=True) if kind == one)
    f1 = [2 * right[kind] / (said[kind] + due[kind]) for kind in said.keys() | due.keys()]
    bare = [kind for row, kind in zip(rows, chosen, strict=True) if not row.get("tools")]
    return {
        "macro_f1": sum(f1) / max(1, len(f1)),
        "tool_hallucination": bare.count("tool_call") / max(1, len(bare)),
    }


def _kind(row: dict, text: str) -> str | None:
    replies = options(row)
    return KINDS[replies.index(text)] if text in replies else None


def _row(record: dict, where: str) -> dict[str, Any]:
    right = dataset.field(record, "correct_answer", str, where)
    answers = dataset.field(record, "answers", dict, where)
    if right not in KINDS:
        raise UserError(f"{where}: 'correct_answer' is {right[:80]!r}, not one of {', '.join(KINDS)}")
    replies = [dataset.field(answers, kind, str, f"{where}, answers").strip() for kind in KINDS]
    replies[1] = render([_read(replies[1], f"{where}: the 'tool_call' of 'answers'")])
    if len(set(replies)) < len(KINDS) or "" in replies:
        raise UserError(f"{where}: two of the four 'answers' are the same, or one is empty")
    tools = []
    for tool in dataset.field(record, "tools", list, where):
        tool = _read(tool, f"{where}: one of the 'tools'")
        function = {
            "name": dataset.field(tool, "name", str, f"{where}, tools"),
            "description": str(tool.get("description") or ""),
            "parameters": json_schema(dataset.field(tool, "parameters", dict, f"{where}, tools")),
        }
        tools.append({"type": "function", "function": function})
    row = {
        "id": dataset.field(record, "uuid", str, where),
        "group": right,
        "prompt": [{"role": "user", "content": dataset.field(record, "question", str, where).strip()}],
        "completion": [{"role": "assistant", "content": replies[KINDS.index(right)]}],
        "options": json.dumps(replies),
        "answer": KINDS.index(right),
    }
    return row | ({"tools": json.dumps(tools)} if tools else {})


def _read(text: object, what: str) -> dict:
    """An object that stands in a record as JSON text, or as itself."""
    try:
        value = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError) as error:
        raise UserError(f"{what} is not JSON ({error})") from error
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise UserError(f"{what} is no object with a 'name'")
    return value


TASK = Task(
    name=NAME,
    instruction=(
        "Call a tool if one fits. Ask if a value it needs is missing. If none fits, say that you cannot."
    ),
    max_new_tokens=256,
    rows=rows,
    score=score,
    reward=reward,
    options=options,
    metrics=metrics,
    benchmark=True,
)
