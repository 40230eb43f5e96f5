"""svamp: short word problems with one or two operations (Patel et al., arXiv 2103.07191; MIT).

The original file has 1,000 problems that are all for testing. The hub's copy parts them into 700 for training
and 300 for testing, which is what ART trains and scores on (arXiv 2606.11854); the two must not be mixed.
Questions, answers and scores are as in :mod:`pixeltune.tasks.benchmarks.gsm8k`. Scores are also reported per
operation.
"""

from __future__ import annotations

from pathlib import Path

from pixeltune.errors import UserError
from pixeltune.tasks.base import Task
from pixeltune.tasks.benchmarks import dataset
from pixeltune.tasks.benchmarks.gsm8k import ask, held_out, plain_number
from pixeltune.tasks.parsing import answers

NAME = "svamp"
HUB = "ChilleD/SVAMP"
SPLITS = {"train": (), "validation": (), "test": ()}
FILES = {"train": ("train.jsonl", "train.json"), "test": ("test.jsonl", "test.json")}
ORIGINAL = ("SVAMP.json", "svamp.jsonl", "svamp.json")

score = answers.score
reward = answers.binary_reward
shaped_reward = answers.paper_reward


def _rows(split: str, folder: Path | None, category: str | None) -> list[dict]:
    """Rows with the problem, its calculation as ``completion``, the number in ``answer``, a ``group``.

    "validation" is one in ten of the training questions. A folder holds ``train.jsonl`` and ``test.jsonl``,
    or the original ``SVAMP.json``, which is "test" as a whole.
    """
    part = "test" if split == "test" else "train"
    found = dataset.from_hub(HUB, None, part) if folder is None else _from_folder(folder, part)
    made = [_row(record, part, i) for i, record in enumerate(found, start=1)]
    return held_out(made, split) if part == "train" else made


rows = dataset.rows_from(NAME, SPLITS, _rows)


def _from_folder(folder: Path, part: str) -> list[dict]:
    parted = any((folder / name).is_file() for names in FILES.values() for name in names)
    if part == "train" and folder.is_dir() and not parted:
        raise UserError(
            f"{folder} has no train.jsonl or train.json, and the original SVAMP file is all 'test': take the "
            f"training part from the hub ({HUB})"
        )
    # Beside a training file the original would put its questions into the test.
    return dataset.from_folder(folder, FILES[part] + (() if parted else ORIGINAL))


def _row(record: dict, part: str, i: int) -> dict:
    where = f"{NAME} {part}, record {i}"
    keys = ("ID", "Body", "Question", "Equation", "Type")
    name, body, question, equation, kind = (dataset.field(record, key, str, where).strip() for key in keys)
    answer = plain_number(str(dataset.field(record, "Answer", (str, int, float), where)), where)
    text = f"{_readable(equation)} = {answer}\nAnswer: {answer}"
    return {
        "id": name,
        "prompt": ask(f"{body} {question}", where),
        "completion": [{"role": "assistant", "content": text}],
        "answer": answer,
        "group": kind.replace("Divison", "Division"),  # one record's slip
    }


def _readable(equation: str) -> str:
    """``( ( 4.0 - 2.0 ) + 3.0 )`` as ``(4 - 2) + 3``."""
    words = [word.removesuffix(".0") for word in equation.split()]
    if words[:1] == ["("] and words[-1:] == [")"]:
        words = words[1:-1]
    return " ".join(words).replace("( ", "(").replace(" )", ")")


TASK = Task(
    name=NAME,
    instruction=(
        "Find what is asked for and which of the numbers it needs: some do not matter. Write the calculation "
        "on one line. End with Answer: and the number, without a unit."
    ),
    max_new_tokens=256,
    rows=rows,
    score=score,
    reward=reward,
    benchmark=True,
)
