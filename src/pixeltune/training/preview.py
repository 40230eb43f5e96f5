"""One row as it would be trained on, without loading the model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pixeltune.data.origin import origin
from pixeltune.data.preview import Preview
from pixeltune.data.preview import preview as preview_row
from pixeltune.data.tool_errors import failed_turns
from pixeltune.training.arguments import read_settings
from pixeltune.training.objectives import OBJECTIVES
from pixeltune.training.paint import Painting
from pixeltune.training.preparation import Preparation
from pixeltune.training.rows import place_rows


def preview(objective: str = "sft", **settings: Any) -> Preview:
    """The first row as `paint` with these settings would train on it: rendered, counted in tokens.

    Of a file that is the row of its first line, also where the run holds it out. Of a row with several turns that
    are each trained the last is shown, because those before it are in its prompt. Of a task's rows for dpo
    and kto, which are made of the model's own answers, the good side is shown.

    Above it stands what there is to know of the rows, and of where they are from, as `paint` says it.

    Nothing is written, so the folder may hold a run.

    Raises:
        UserError: whatever else `paint` refuses before the model loads.
    """
    painting = Painting(objective, *read_settings(objective, settings), quiet=True)
    painting.prepare(writes=False)
    ready, art = painting.ready, painting.art
    first = first_row(ready)
    rows = [_as_trained(first), *(row for row in ready.train_rows if row is not first)]
    pictures = ready.pictures or bool(first.get("images"))
    ready = replace(ready, train_rows=rows, pictures=pictures, skip_errors=False)
    placed, _ = place_rows(ready, art, painting.block, painting.processor)
    notes, asked = painting.ready.notes, painting.arguments
    if asked.contexts and not painting.ready.contexts:
        share = f"{asked.context_share:.0%} of the rows"
        notes = (*notes, f"{share} will stand behind histories, which the model makes when the run begins")
    line = "\n".join([*notes, heading(painting.ready, _name(asked.task))])
    return preview_row(
        placed[_shown(first, painting.ready) - 1], painting.processor, painting.block, art.image_tokens, line
    )


def first_row(ready: Preparation) -> dict:
    """The first row that was given, held out or not."""
    first, held_out = ready.train_rows[0], ready.held_out
    return held_out[0] if ready.own and held_out and _line(held_out[0]) < _line(first) else first


def heading(ready: Preparation, task: str | None) -> str:
    """Which row is shown, and what becomes of it."""
    first, verb = first_row(ready), ready.objective
    which = origin(first, 0) if task is None else f"{task}, {origin(first, 0)}"
    which += f", one of {len(ready.train_rows)} rows that {verb} trains on"
    if first is not ready.train_rows[0]:
        which = f"{origin(first, 0)}, held out; {verb} trains on {len(ready.train_rows)} other rows in the same way"
    turns, shown = _turns(first, ready), _shown(first, ready)
    if ready.skip_errors and shown in _failed(first):
        which += ", but not on its calls, which failed"
    return f"{which}; turn {shown} of {turns}, each is a row of its own:" if turns > 1 else f"{which}:"


def _name(tasks: list[str]) -> str | None:
    """Of the task, where rows do not say it themselves: those of files and of several tasks do."""
    return tasks[0] if len(tasks) == 1 else None


def _line(row: dict) -> int:
    """Where a row of a file stands in it."""
    return int(origin(row, 0).rpartition(" ")[2])


def _as_trained(row: dict) -> dict:
    """A row without the completion that one which is held out, of dpo, got to be scored against."""
    return {name: value for name, value in row.items() if name != "completion"} if "chosen" in row else row


def _shown(row: dict, ready: Preparation) -> int:
    """The last turn that is learned, counted from 1; of a row of which nothing is, the last one."""
    turns = _turns(row, ready)
    failed = _failed(row) if ready.skip_errors else set()
    return max(set(range(1, turns + 1)) - failed, default=turns)


def _failed(row: dict) -> set[int]:
    """Which of the assistant's turns, counted from 1, are calls that failed."""
    places = [place for place, turn in enumerate(row["completion"]) if turn["role"] == "assistant"]
    failed = failed_turns(row)
    return {number for number, place in enumerate(places, start=1) if place in failed}


def _turns(row: dict, ready: Preparation) -> int:
    """Of how many turns each is trained as a row of its own."""
    if OBJECTIVES[ready.objective].signal != "completions":
        return 1
    return sum(turn["role"] == "assistant" for turn in row["completion"])
