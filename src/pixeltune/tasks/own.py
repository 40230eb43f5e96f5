"""A task of the user's own: rows from a JSONL file, scored by a function in TRL's reward signature."""

from __future__ import annotations

from pathlib import Path

from pixeltune.data import rows as row_files
from pixeltune.errors import UserError
from pixeltune.lookup import find_object
from pixeltune.tasks.base import Task
from pixeltune.tasks.benchmarks import dataset


def read(path: str | Path | None, reward: str, max_new_tokens: int) -> tuple[Task, list[dict]]:
    """A task with ``score``, and its rows.

    Args:
        path: JSONL with ``prompt`` and whatever columns the reward takes; perhaps ``id`` and ``tools``.
        reward: ``package.module:function``, called with one completion and the row's columns as lists of one;
            its values are scores in [0, 1].
        max_new_tokens: of an answer.

    Raises:
        ValueError: there is no such file or function, a row is malformed, or an id occurs twice.
    """
    if path is None:
        raise UserError("--reward scores rows of your own: give them with --data rows.jsonl")
    function, rows = find_object(reward, "reward"), row_files.read(path, ("prompt",))
    for number, row in enumerate(rows, start=1):
        row["id"] = str(row.get("id", number))
    dataset.unique(rows, str(path))

    def score(row: dict, text: str) -> float:
        columns = {name: [value] for name, value in row.items() if name != "prompt"}
        said = [{"role": "assistant", "content": text}]
        (value,) = function(prompts=[row["prompt"]], completions=[said], **columns)
        if not isinstance(value, int | float) or not 0 <= value <= 1:
            raise UserError(f"{reward} gave {value!r} for the row {row['id']}: scores are from 0 to 1")
        return float(value)

    name = Path(path).stem
    return Task(name=name, max_new_tokens=max_new_tokens, score=score), rows
