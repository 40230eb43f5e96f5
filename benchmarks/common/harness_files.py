"""Rows of the bundled tasks as other harnesses read them, and as pixeltune's own evaluation does (`harnesses.py`)."""

from __future__ import annotations

import json
from pathlib import Path

from pixeltune.tasks.base import Task
from pixeltune.tasks.benchmarks import bfcl
from pixeltune.tasks.synthetic import calls, sums

SEED, EXAMPLES = 11, 8
CATEGORIES = ("multiple", "irrelevance")  # BFCL's: one of several functions is called, or none of them
HINT = " Note that the provided function is in Python 3 syntax."  # bfcl-eval's own, behind each description


def write(folder: Path, rows: int) -> None:
    """Files of all harnesses: `sums/` in GSM8K's form, `bfcl/` in BFCL's."""
    for split, count in (("train", EXAMPLES), ("test", rows)):
        lines = [
            {
                "question": row["prompt"][-1]["content"],
                "completion": row["completion"][0]["content"],
                "answer": f"{row['completion'][0]['content']}\n#### {row['answer']}",
            }
            for row in sums.rows(split, count, seed=SEED)
        ]
        _lines(folder / "sums" / f"{split}.jsonl", lines)
    questions: dict[str, list[dict]] = {name: [] for name in CATEGORIES}
    answers: list[dict] = []
    for number, row in enumerate(calls.rows("test", rows, seed=SEED)):
        call = json.loads(row["call"])
        name = CATEGORIES[call is None]
        functions = [tool["function"] for tool in json.loads(row["tools"])]
        for function in functions:
            function["parameters"]["type"] = "dict"  # as BFCL names an object
        identity = f"{name}_{number}"
        questions[name].append({"id": identity, "question": [row["prompt"]], "function": functions})
        if call is not None:
            accepted = {argument: [value] for argument, value in call["arguments"].items()}
            answers.append({"id": identity, "ground_truth": [{call["name"]: accepted}]})
    for name, found in questions.items():
        _lines(folder / "bfcl" / f"BFCL_v4_{name}.json", found)
    _lines(folder / "bfcl" / "possible_answer" / f"BFCL_v4_{CATEGORIES[0]}.json", answers)


def ours(task: str, folder: Path, rows: int) -> tuple[Task, list[dict]]:
    """A task, and its rows as pixeltune scores them: the same words, in the same order as in the files."""
    if task.startswith("calls"):
        words = HINT if task.endswith("hint") else ""
        found = [
            row for name in CATEGORIES for row in bfcl.rows("test", folder=folder / "bfcl", category=name)
        ]
        order = ids(folder)
        found.sort(key=lambda row: order.index(row["id"]))
        return bfcl.TASK, [row | {"tools": _with(words, row["tools"])} for row in found]
    shots = 2 if task.endswith("2 shots") else 0
    shown = [
        m
        for row in sums.rows("train", EXAMPLES, seed=SEED)[:shots]
        for m in row["prompt"] + row["completion"]
    ]
    found = sums.rows("test", rows, seed=SEED)
    return sums.TASK, [row | {"prompt": [*shown, *row["prompt"]]} for row in found]


def ids(folder: Path) -> list[str]:
    """Of the rows in BFCL's form, in order."""
    files = [folder / "bfcl" / f"BFCL_v4_{name}.json" for name in CATEGORIES]
    return [json.loads(line)["id"] for file in files for line in file.read_text().splitlines()]


def _with(words: str, tools: str) -> str:
    known = json.loads(tools)
    for tool in known:
        tool["function"]["description"] += words
    return json.dumps(known)


def _lines(file: Path, rows: list[dict]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
