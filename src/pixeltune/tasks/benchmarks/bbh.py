"""bbh: BIG-Bench Hard, 27 tasks of reasoning (Suzgun et al., arXiv 2210.09261; MIT).

A row is right by upstream's rule: the text behind the last "So the answer is", without its full stop, is
the target. "Answer:" will do as well, Markdown's stars around the answer do not matter, and "B" is as good as
"(B)". The score of all is the mean over tasks (:func:`metrics`), each of which is a category and a group.

The question is asked alone, and its end says what form the answer has. The category "few_shot" puts
upstream's three worked examples of the task in front instead, the setting of the published scores; it takes a
folder with ``cot_prompts.jsonl`` (``task``, ``prompt``), for the hub's copy has no examples.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from pixeltune.errors import UserError
from pixeltune.tasks.base import Task, texts_of
from pixeltune.tasks.benchmarks import dataset
from pixeltune.tasks.parsing.characters import to_ascii

NAME = "bbh"
HUB = "SaylorTwift/bbh"  # a config for each task; lm-eval reads it
SUFFIX = "\n\nEnd your response with: So the answer is X.\nX is {}."
FEW_SHOT = "few_shot"
MAX_TEXT = 100_000  # characters of a completion, from the end

_OPTION = "the letter of an option in brackets, such as (B)"
CATEGORIES = {
    "boolean_expressions": "True or False",
    "causal_judgement": "Yes or No",
    "date_understanding": _OPTION,
    "disambiguation_qa": _OPTION,
    "dyck_languages": "what is missing at the end of the sequence, with spaces between",
    "formal_fallacies": "valid or invalid",
    "geometric_shapes": _OPTION,
    "hyperbaton": _OPTION,
    "logical_deduction_five_objects": _OPTION,
    "logical_deduction_seven_objects": _OPTION,
    "logical_deduction_three_objects": _OPTION,
    "movie_recommendation": _OPTION,
    "multistep_arithmetic_two": "a number",
    "navigate": "Yes or No",
    "object_counting": "a number in digits",
    "penguins_in_a_table": _OPTION,
    "reasoning_about_colored_objects": _OPTION,
    "ruin_names": _OPTION,
    "salient_translation_error_detection": _OPTION,
    "snarks": _OPTION,
    "sports_understanding": "yes or no",
    "temporal_sequences": _OPTION,
    "tracking_shuffled_objects_five_objects": _OPTION,
    "tracking_shuffled_objects_seven_objects": _OPTION,
    "tracking_shuffled_objects_three_objects": _OPTION,
    "web_of_lies": "Yes or No",
    "word_sorting": "the words in order, with spaces between",
}
"""The tasks, and the form of their answers."""

_MARK = re.compile(r"\bso[ \t]{1,4}the[ \t]{1,4}answer[ \t]{1,4}is\b|\banswer[*_ \t]{0,4}:", re.IGNORECASE)


def _rows(split: str, folder: Path | None, category: str | None) -> list[dict]:
    """Rows with the target in ``answer`` and the task as ``group``.

    A folder holds ``bbh.jsonl`` (``task``, ``index``, ``input``, ``target``), or upstream's ``TASK.json``. A
    category is a task, or "few_shot" for all of them with worked examples; None is all without.
    """
    examples = few_shot(folder) if category == FEW_SHOT else None
    tasks = [category] if category in CATEGORIES else list(CATEGORIES)
    return [_row(*found, examples) for found in _read(tasks, folder)]


rows = dataset.rows_from(
    NAME, {"test": (*CATEGORIES, FEW_SHOT)}, _rows, ": its authors ask not to train on it"
)


def few_shot(folder: str | Path | None) -> dict[str, str]:
    """Upstream's three worked examples of each task, from ``cot_prompts.jsonl``.

    Raises:
        ValueError: there is no such file, or a record lacks its task or its prompt.
    """
    if folder is None:
        raise UserError(f"bbh:{FEW_SHOT} needs a folder with cot_prompts.jsonl: the hub has no examples")
    prompts = {}
    for number, record in enumerate(dataset.from_folder(folder, ("cot_prompts.jsonl",)), start=1):
        where = f"cot_prompts.jsonl, record {number}"
        prompts[dataset.field(record, "task", str, where)] = dataset.field(record, "prompt", str, where)
    return prompts


def said(text: object) -> str | None:
    """The answer of a completion: the rest of the line behind the last "So the answer is" or "Answer:"."""
    if not isinstance(text, str):
        return None
    text = to_ascii(text[-MAX_TEXT:])
    marks = [*_MARK.finditer(text)]
    if not marks:
        return None
    line = text[marks[-1].end() :].lstrip(" \t\r\n*_`:").partition("\n")[0]
    return " ".join(line.split()).rstrip(" *_`").removesuffix(".").rstrip(" *_`") or None


def score(row: dict, text: str) -> float:
    """1.0 if the completion's answer is the row's target, else 0.0."""
    given, target = said(text), " ".join(row["answer"].split())
    if given is not None and re.fullmatch(r"\([A-Z]\)", target):
        given, target = given.strip("()"), target.strip("()")
    return float(given == target)


def reward(completions: list, answer: list[str], **_) -> list[float]:
    """:func:`score` of every completion, in TRL's signature, from the rows' column ``answer``."""
    return [score({"answer": right}, text) for right, text in zip(answer, texts_of(completions), strict=True)]


def metrics(rows: Sequence[dict], answers: Sequence[str]) -> dict[str, float]:
    """``mean_over_tasks``: what the paper reports, the mean of the tasks' accuracies."""
    scores = defaultdict(list)
    for row, text in zip(rows, answers, strict=True):
        scores[row["group"]].append(score(row, text))
    return {"mean_over_tasks": sum(sum(s) / len(s) for s in scores.values()) / max(1, len(scores))}


def _read(tasks: list[str], folder: Path | None) -> list[tuple[str, int, dict]]:
    """Task, position in it, and record of every question."""
    if folder is None:
        return [(t, i, r) for t in tasks for i, r in enumerate(dataset.from_hub(HUB, t, "test"))]
    if not (folder / "bbh.jsonl").is_file():
        return [(t, i, r) for t in tasks for i, r in enumerate(_examples(folder, t))]
    found = []
    for number, record in enumerate(dataset.from_folder(folder, ("bbh.jsonl",)), start=1):
        where = f"bbh.jsonl, record {number}"
        task, index = (
            dataset.field(record, "task", str, where),
            dataset.field(record, "index", int, where),
        )
        if task not in CATEGORIES:
            raise UserError(f"{where}: there is no task {task[:80]!r}")
        found += [(task, index, record)] if task in tasks else []
    return found


def _examples(folder: Path, task: str) -> list[dict]:
    """Records of a file as upstream has it: one object whose "examples" are the questions."""
    path = folder / f"{task}.json"
    if not path.is_file() or path.stat().st_size > dataset.MAX_BYTES:
        raise UserError(f"{folder} has no bbh.jsonl and no {path.name} that could be read")
    try:
        found = json.loads(path.read_bytes().decode("utf-8-sig"))["examples"]
        if not all(isinstance(record, dict) for record in found):
            raise TypeError("not objects")
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise UserError(f'{path} is no task of BBH: it should hold {{"examples": [...]}}') from error
    return found


def _row(task: str, index: int, record: dict, examples: dict[str, str] | None) -> dict:
    where = f"bbh test, {task} {index}"
    question, target = (dataset.field(record, key, str, where).strip() for key in ("input", "target"))
    if not question or not target:
        raise UserError(f"{where}: 'input' or 'target' is empty")
    if examples is None:
        content = question + SUFFIX.format(CATEGORIES[task])
    elif task in examples:
        content = f"{examples[task].strip()}\n\nQ: {question}\nA: Let's think step by step."
    else:
        raise UserError(f"cot_prompts.jsonl has no examples of {task}")
    return {
        "id": f"{task}-{index}",
        "prompt": [{"role": "user", "content": content}],
        "completion": [{"role": "assistant", "content": f"So the answer is {target}."}],
        "answer": target,
        "group": task,
    }


TASK = Task(
    name=NAME,
    instruction=(
        "Think step by step, briefly, and keep track of every fact. End with the sentence: So the answer is "
        "X. Write X exactly in the form that is asked for, and nothing behind it."
    ),
    max_new_tokens=1024,  # as lm-eval's bbh_cot_fewshot has it
    rows=rows,
    score=score,
    reward=reward,
    metrics=metrics,
    benchmark=True,
)
