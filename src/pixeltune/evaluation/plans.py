"""What is to be scored: rows of tasks, and what each candidate is told in front of them, checked beforehand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pixeltune.data.contexts import Context, as_rows, behind
from pixeltune.data.images import check_pictures
from pixeltune.data.marks import check_marks, turn_marks
from pixeltune.data.messages import Message
from pixeltune.data.origin import Row, origin
from pixeltune.data.placeholders import check_rows, placeholder_tokens
from pixeltune.data.rendering import check_rendered
from pixeltune.data.sources import public_name, title
from pixeltune.errors import UserError
from pixeltune.evaluation.candidates import Candidate
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.scoring import opening
from pixeltune.tasks import own, own_turns
from pixeltune.tasks.base import Task, find_rows, find_task, is_benchmark, name_of

SEED = 0  # of the draw of rows and examples


@dataclass(frozen=True)
class Plan:
    """One task to be scored on."""

    name: str
    task: Task
    rows: list[dict]
    heads: dict[str, list[Message]]
    """By candidate, what stands in front of every request."""
    source: str = "test split"
    """Where the rows are from."""
    contexts: list[Context] = field(default_factory=list)
    """What each row stands behind one of; empty: behind none."""

    @property
    def groups(self) -> list[str] | None:
        """By row, what its score is told apart by where it has contexts."""
        return [row.kind for row in self.rows] if self.contexts else None


def task_plan(task: str | Task, n: int | None, data: str | Path | None, field: list[Candidate]) -> Plan:
    """Held-out rows of a task.

    Args:
        task: a name, perhaps with a category, or a task.
        n: how many rows, None for all there are.
        data: folder of a benchmark's files, None for the hub; not looked at for other tasks.
        field: the candidates.

    Raises:
        UserError: there is no such task, or its rows or examples cannot be had.
    """
    folder = data if is_benchmark(task) else None
    rows = find_rows(task, "test", n, SEED, folder)
    heads = {one.name: one.head(task, folder, SEED) for one in field}
    return Plan(name_of(task), find_task(task), rows, heads)


def own_plan(
    name: str | None,
    data: str | Path,
    reward: str | None,
    score: str | None,
    max_new_tokens: int,
    n: int | None,
    field: list[Candidate],
    columns: Sequence[str] | None = None,
) -> Plan:
    """Rows of the user's own, scored by a function or against their completions.

    Args:
        name: in the report; None: that of the data.
        data: a file, a folder or a name on the hub.
        reward, score, max_new_tokens, columns: see `pixeltune.tasks.own.read`.
        n: how many rows, None for all there are; those that are shown as examples are not among them.
        field: the candidates.

    Raises:
        UserError: the file, the function or the candidates do not go together.
    """
    name = name or title(data)
    task, rows = own.read(data, reward=reward, score=score, max_new_tokens=max_new_tokens, columns=columns)
    if bad := next((one.name for one in field if one.best), None):
        raise UserError(f"{bad} needs a task that knows its best prompt: use prompt:FILE")
    shots = max((one.shots for one in field), default=0)
    numbered = all(row["id"] == str(number) for number, row in enumerate(rows, start=1))
    source = f"rows of {public_name(data)}, by their {'numbers' if numbered else 'ids'}"
    if shots:
        source += f", without the first {shots}, which are shown as examples"
    source += "".join(f" ({note})" for note in rows.notes)
    examples, rest = rows[:shots], rows[shots:][:n]
    if not rest:
        raise UserError(f"{data} has {shots} rows, all of them shown as examples: none is left to score on")
    heads = {one.name: one.examples(examples, name) if one.shots else list(one.told) for one in field}
    if (turns := own_turns.played(task, rest)) is not task:
        task, source = turns, f"{source}, turn by turn"
    return Plan(name, task, rest, heads, source)


def in_contexts(plan: Plan, contexts: list[Context]) -> Plan:
    """The same rows once more, each behind a context.

    Raises:
        UserError: a row has pictures, or its prompt cannot stand behind a context.
    """
    if any(row.get("images") for row in plan.rows):
        raise UserError(f"--contexts is for rows of text, and those of {plan.name} have images: leave it out")
    rows = behind(plan.rows, contexts, 1.0, SEED)
    return replace(plan, name=f"{plan.name} in contexts", rows=rows, contexts=contexts)


def check_plans(
    plans: list[Plan], field: list[Candidate], processor: Any, model: str, revision: str | None
) -> None:
    """What would end an evaluation in its middle, said before the model loads.

    Raises:
        UserError: rows that quote a picture token, have pictures that the processor cannot take, or do not
            fit into the model's context; or a context quotes a mark of turns, or the template cannot write it.
    """
    from pixeltune.model.loading import context_length
    from pixeltune.model.preprocessing import Preprocessor

    limit = context_length(model, revision)
    for plan in plans:
        contexts = as_rows(plan.contexts)
        check_rows(contexts, placeholder_tokens(processor))  # else rows behind them would be named
        check_marks(contexts, turn_marks(processor))
        check_rendered(contexts, processor)
        check_words(plan, placeholder_tokens(processor))
        if any(row.get("images") for row in plan.rows):
            check_pictures(plan.rows, Preprocessor(processor).check_picture)
        if limit is not None:
            _check_lengths(plan, field, processor, limit)


def check_words(plan: Plan, tokens: Sequence[str]) -> None:
    """Refuse rows, and what is told in front of them, that quote a picture token.

    Raises:
        UserError: naming the row, or who is told it.
    """
    check_rows(plan.rows, tokens)
    for name, head in plan.heads.items():
        told = Row(prompt=head)
        told.where = f"what {name} is told"
        check_rows([told], tokens)


def _check_lengths(plan: Plan, field: list[Candidate], processor: Any, limit: int) -> None:
    """Refuse rows that do not fit into the model's context with their answer.

    Raises:
        ValueError: naming the first of them.
    """
    from pixeltune.model.preprocessing import Preprocessor

    preprocessor = Preprocessor(processor)
    pictures: dict[str, int] = {}  # image tokens of the largest picture, by the words in front
    for one in field:
        tokens = preprocessor.tokens(one.picture.height, one.picture.width) if one.picture is not None else 0
        words = json.dumps(plan.heads[one.name])
        pictures[words] = max(tokens, pictures.get(words, 0))
    for words, tokens in pictures.items():
        asked = plan.rows
        if plan.task.next_turn is own_turns.next_turn:
            asked = [{**row, "prompt": own_turns.conversation(row)} for row in asked]
        openings = [opening(row, json.loads(words)) for row in asked]
        lengths = InProcess(None, processor).prompt_lengths(
            [o[0] for o in openings], [o[1] for o in openings]
        )
        most = limit - tokens - plan.task.max_new_tokens
        if long := [i for i, length in enumerate(lengths) if length > most]:
            i = long[0]
            row, more = plan.rows[i], f" (and {len(long) - 1} more)" if len(long) > 1 else ""
            where = origin(row, i) if getattr(row, "where", "") else f"{plan.name}, {origin(row, i)}"
            raise UserError(
                f"{where}{more}: "
                f"{lengths[i] + tokens} tokens and {plan.task.max_new_tokens} of an answer do not fit into "
                f"the model's {limit}: leave them out, or take a model with a longer context"
            )
