"""aqua_rat: algebra with five options and a worked solution (Ling et al., arXiv 1705.04146; Apache-2.0).

A row is right when the completion chooses the right letter (:mod:`pixeltune.tasks.parsing.choices`).
Questions and solutions are crowd-sourced: some solutions name no letter or another one, so each ends here in
the letter that counts. ``google-deepmind/AQuA`` calls the split "validation" dev.
"""

from __future__ import annotations

import re
from pathlib import Path

from pixeltune.errors import UserError
from pixeltune.tasks.base import Task, texts_of
from pixeltune.tasks.benchmarks import dataset
from pixeltune.tasks.parsing.choices import letter

NAME = "aqua_rat"
HUB = ("deepmind/aqua_rat", "raw")
LETTERS = "ABCDE"
SUFFIX = "\n\nEnd your response with: Answer: <letter>"
FILES = {
    "train": ("train.jsonl", "train.json"),
    "validation": ("dev.jsonl", "dev.json", "validation.jsonl", "validation.json"),
    "test": ("test.jsonl", "test.json"),
}

# The many ways in which a solution names its letter last, on a line or in a sentence of its own.
_ENDING = re.compile(
    r"""(?: ^ | \n\s{0,9} | (?<=[.!?])[ ] )
        (?: (?:so|hence|thus|therefore) ,? [ ] )? (?:the[ ])? (?:correct[ ])?
        (?:answer|ans|option|choice)\b (?: \b(?:is|will[ ]be|choice|option)\b | [ \t:.,=(-] ){0,9}
        \b[A-E] (?: \)[^\n]{0,80} | [ \t]is[ ]correct | [). \t]{0,9} ) \Z
      | \n\s{0,9} [A-E] [.) \t]{0,9} \Z""",
    re.VERBOSE | re.IGNORECASE,
)


def _rows(split: str, folder: Path | None, category: str | None) -> list[dict]:
    """Rows with question and options, the worked solution as ``completion``, and the letter in ``answer``.

    A folder holds ``train.jsonl``, ``dev.jsonl`` and ``test.jsonl``, or some of them.
    """
    found = dataset.from_hub(*HUB, split) if folder is None else _from_folder(folder, split)
    return [_row(record, f"{split}-{i}", f"{NAME} {split}, record {i}") for i, record in enumerate(found, 1)]


rows = dataset.rows_from(NAME, dict.fromkeys(FILES, ()), _rows)


def score(row: dict, text: str) -> float:
    """1.0 if the completion chooses the row's letter, else 0.0."""
    return float(letter(text, LETTERS) == row["answer"])


def reward(completions: list, answer: list[str], **_) -> list[float]:
    """:func:`score` of every completion, in TRL's signature, from the rows' column ``answer``."""
    return [score({"answer": right}, text) for right, text in zip(answer, texts_of(completions), strict=True)]


def _from_folder(folder: Path, split: str) -> list[dict]:
    if split == "train" and folder.is_dir() and not any((folder / name).is_file() for name in FILES["train"]):
        raise UserError(
            f"{folder} has no train.jsonl or train.json (dev.jsonl is the split 'validation'): add it, or "
            f"leave the folder out to read {HUB[0]} from the hub"
        )
    return dataset.from_folder(folder, FILES[split])


def _row(record: dict, name: str, where: str) -> dict:
    question, rationale, right = (
        dataset.field(record, key, str, where).strip() for key in ("question", "rationale", "correct")
    )
    options = dataset.field(record, "options", list, where)
    if len(options) != len(LETTERS) or not all(isinstance(option, str) for option in options):
        raise UserError(f"{where}: 'options' are not {len(LETTERS)} texts")
    if not question or len(right) != 1 or right not in LETTERS:
        raise UserError(f"{where}: no question, or 'correct' is {right[:20]!r} and not one of {LETTERS}")
    lines = [
        option.strip() if option.strip().startswith(f"{x})") else f"{x}){option.strip()}"
        for x, option in zip(LETTERS, options, strict=True)
    ]
    return {
        "id": name,
        "prompt": [{"role": "user", "content": "\n".join([question, *lines]) + SUFFIX}],
        "completion": [{"role": "assistant", "content": solution(rationale, right)}],
        "answer": right,
    }


def solution(rationale: str, right: str) -> str:
    """A worked solution that ends in "Answer: X" once, however it named its letter."""
    ending = _ENDING.search(rationale.strip())
    worked = rationale.strip()[: ending.start()] if ending else rationale
    return f"{worked.strip()}\nAnswer: {right}".lstrip()


TASK = Task(
    name=NAME,
    instruction=(
        "Work the problem out step by step, one short line each, and compare the result with the options; if "
        "none fits, look for the slip. End with Answer: and the letter of the option."
    ),
    max_new_tokens=512,
    rows=rows,
    score=score,
    reward=reward,
    benchmark=True,
)
