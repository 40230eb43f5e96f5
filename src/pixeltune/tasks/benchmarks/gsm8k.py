"""gsm8k: grade-school word problems, whose answers are numbers (Cobbe et al., arXiv 2110.14168; MIT).

A row is right when the last answer of the completion, in whatever form, is exactly the reference number
(:mod:`pixeltune.tasks.parsing.answers`); on reference answers that agrees with upstream, which compares the
texts behind ``####`` without their commas. Training rows and references are those of ART (arXiv 2606.11854):
the question asks for ``Answer: <number>``, and the worked solution ends so.
"""

from __future__ import annotations

import re
from pathlib import Path

from pixeltune.errors import UserError
from pixeltune.tasks.base import Task
from pixeltune.tasks.benchmarks import dataset
from pixeltune.tasks.parsing import answers

NAME = "gsm8k"
HUB = ("openai/gsm8k", "main")
SPLITS = {"train": (), "validation": (), "test": ()}
SUFFIX = "\n\nEnd your response with: Answer: <number>"
"""What the questions end with in ART's released evaluation code (arXiv 2606.11854)."""

_ANNOTATION = re.compile(r"<<[^<>]{0,200}>>")  # upstream's calculator reads these

score = answers.score
reward = answers.binary_reward
shaped_reward = answers.paper_reward


def _rows(split: str, folder: Path | None, category: str | None) -> list[dict]:
    """Rows with the question, the worked solution as ``completion``, and the number in ``answer``.

    "validation" is one in ten of upstream's training questions. A folder holds ``train.jsonl`` and
    ``test.jsonl``.
    """
    part = "test" if split == "test" else "train"
    if folder is None:
        found = dataset.from_hub(*HUB, part)
    else:
        found = dataset.from_folder(folder, (f"{part}.jsonl", f"{part}.json"))
    made = [_row(record, part, i) for i, record in enumerate(found, start=1)]
    return held_out(made, split) if part == "train" else made


rows = dataset.rows_from(NAME, SPLITS, _rows)


def held_out(made: list[dict], split: str) -> list[dict]:
    """The training rows that are of ``split``, by their question, wherever in the file it stands."""
    return dataset.validation(made, split, lambda row: row["prompt"][0]["content"].removesuffix(SUFFIX))


def plain_number(text: str, where: str) -> str:
    """A reference answer as rows hold it: "1080" for "1,080.0".

    Raises:
        ValueError: it holds no number; ``where`` names the record.
    """
    if (value := answers.number(text)) is None:
        raise UserError(f"{where}: no number in the answer {text[:80]!r}")
    return str(value) if value.denominator == 1 else text.strip().replace(",", "")


def ask(question: str, where: str) -> list[dict]:
    """The prompt of a question.

    Raises:
        ValueError: there is none.
    """
    if not question.strip():
        raise UserError(f"{where}: the question is empty")
    return [{"role": "user", "content": question.strip() + SUFFIX}]


def _row(record: dict, part: str, i: int) -> dict:
    where = f"{NAME} {part}, record {i}"
    question = dataset.field(record, "question", str, where)
    worked, hashes, final = dataset.field(record, "answer", str, where).rpartition("####")
    if not hashes:
        raise UserError(f"{where}: the answer does not end in '#### <number>' but in {final[-40:]!r}")
    answer = plain_number(final, where)
    text = f"{_ANNOTATION.sub('', worked).strip()}\nAnswer: {answer}".lstrip()
    return {
        "id": f"{part}-{i}",
        "prompt": ask(question, where),
        "completion": [{"role": "assistant", "content": text}],
        "answer": answer,
    }


TASK = Task(
    name=NAME,
    instruction=(
        "Solve the problem step by step, one short calculation a line. Use every number that matters, and "
        "check that the last one is what was asked for. End with Answer: and that number, without a unit."
    ),
    max_new_tokens=512,
    rows=rows,
    score=score,
    reward=reward,
    benchmark=True,
)
