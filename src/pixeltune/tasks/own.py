"""A task of the user's own: rows from a file or the hub, scored by a function or against their completions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pixeltune.data.lines import kind
from pixeltune.data.messages import text_of
from pixeltune.data.origin import origin
from pixeltune.data.rows import Rows, read_rows
from pixeltune.data.sources import title
from pixeltune.errors import UserError, suggestion
from pixeltune.tasks.base import Task, texts_of
from pixeltune.tasks.lookup import find_object
from pixeltune.tasks.parsing import answers, choices
from pixeltune.tasks.parsing.tool_calls import parse, render, same, same_calls

LETTERS = "ABCDEFGHIJ"
MAX_NEW_TOKENS = 512
"""Of an answer where nothing is said."""
SHORT = 60
"""Characters of an answer that may be asked for word for word without anybody saying so."""


def read(
    path: str | Path,
    *,
    reward: str | None = None,
    score: str | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
    columns: Sequence[str] | None = None,
) -> tuple[Task, Rows]:
    """A task with ``score``, and its rows.

    Args:
        path: a file, a folder or a name on the hub: rows with ``prompt``, with ``completion`` or whatever columns
            the reward takes; perhaps ``id`` (else a row is called by its number) and ``tools``.
        reward: ``package.module:function``, called with one completion and the row's columns as lists of one, as
            in training with the text of its completion, if it has one, in the column ``reference``; its values are
            scores in [0, 1].
        score: one of `SCORES`, by which an answer is compared with the row's completion; None: see `guess`.
        max_new_tokens: of an answer.
        columns: those that have other names (see `pixeltune.data.rows.read_rows`).

    Raises:
        UserError: there is no such file, function or score, a row is malformed, or an id occurs twice; or a reward
            and a score are given.
    """
    if score and reward:
        raise UserError("--score and --reward both say how rows are scored: give one")
    name = title(path)
    if reward:
        function = find_object(reward, "reward")
        rows = read_rows(path, ("prompt",), ids=True, names=columns)
        task = Task(name=name, max_new_tokens=max_new_tokens, score=_by_function(function, reward))
    else:
        if score is not None and score not in SCORES:
            raise UserError(f"there is no score {score!r}{suggestion(score, SCORES)}: {', '.join(SCORES)}")
        rows = read_rows(path, ("prompt", "completion"), ids=True, names=columns)
        score = score or guess(rows)
        if score is None:
            raise UserError(
                f"the completions of {path} are free texts, which have no plain score: give --reward "
                f"package.module:function, or --score {' | '.join(SCORES)}"
            )
        check(rows, score)
        task = own_task(name, score, max_new_tokens)
    _identify(rows)
    if reward:
        task.score(rows[0], "7")  # what is wrong with a function is said before the model loads
    return task, rows


def _identify(rows: list[dict]) -> None:
    """Give every row its ``id`` as a text: its own, or its number where it has none.

    Raises:
        UserError: one is no text or whole number, or is there twice: answers could not be told apart.
    """
    first: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        where, given = origin(row, number - 1), row.get("id")
        given = number if given is None else given
        if type(given) not in (str, int):
            raise UserError(
                f"{where}: id must be a text or a whole number, not {kind(given)}: or leave it out"
            )
        row["id"] = str(given)
        if row["id"] in first:
            raise UserError(
                f"{where}: the id {row['id']!r} occurs twice, first in {first[row['id']]}; a score per row needs "
                "one of each"
            )
        first[row["id"]] = where


def own_task(name: str, score: str, max_new_tokens: int) -> Task:
    """A task that scores against completions, and rewards against the column ``reference``, their texts.

    Args:
        name: of the task.
        score: one of `SCORES`.
        max_new_tokens: of an answer.
    """
    judge = SCORES[score]

    def reward(completions: list, reference: list[str], **columns: Any) -> list[float]:
        pairs = zip(texts_of(completions), reference, strict=True)
        return [judge({"completion": wanted}, text) for text, wanted in pairs]

    reward.__name__ = score  # TRL logs it as rewards/<name>/mean
    return Task(name=name, max_new_tokens=max_new_tokens, score=judge, reward=reward)


def guess(rows: Sequence[dict]) -> str | None:
    """The plainest of `SCORES` that every completion has what it takes for; None where they are free texts."""
    for name in ("calls", "json", "number", "letter"):
        if name == "calls" and not any(wanted_of(row, name) for row in rows):
            continue
        if all(wanted_of(row, name) is not None and _plainly(reference(row), name) for row in rows):
            return name
    short = all(0 < len(reference(row)) <= SHORT for row in rows)
    return "exact" if short else None


def check(rows: Sequence[dict], score: str) -> None:
    """
    Raises:
        UserError: a completion does not have what it is to be scored by.
    """
    for number, row in enumerate(rows):
        if wanted_of(row, score) is None:
            raise UserError(
                f"{origin(row, number)}: the completion {reference(row)[:60]!r} has nothing for --score {score}: "
                "choose another"
            )


def reference(row: dict) -> str:
    """The text of a row's completion, or chosen one, calls written as Qwen writes them."""
    turns = row.get("completion") or row.get("chosen") or []
    turns = turns if isinstance(turns, list) else [{"role": "assistant", "content": turns}]
    first: dict[str, Any] = next((turn for turn in turns if turn.get("role") == "assistant"), {})
    calls = [call.get("function", call) for call in first.get("tool_calls") or []]
    return text_of(first.get("content")) + (render([_plain(call) for call in calls]) if calls else "")


def _plain(call: dict) -> dict:
    arguments = call.get("arguments", {})
    return {
        "name": call["name"],
        "arguments": json.loads(arguments) if isinstance(arguments, str) else arguments,
    }


def wanted_of(row: dict, score: str) -> Any:
    """What an answer to this row is compared with; None where its completion has no such thing."""
    text = reference(row)
    if score == "exact":
        return _spaced(text) or None
    if score == "number":
        return answers.number(text)
    if score == "letter":
        return choices.letter(text, LETTERS)
    if score == "calls":  # to call none of the tools that are there may be right, too
        calls = parse(text)
        return calls if calls or (text and calls == [] and row.get("tools")) else None
    return _object(text)


def _plainly(text: str, score: str) -> bool:
    """Whether a completion is so obviously of this kind that nobody need say so."""
    if score == "number":
        marked = answers.stated(text) is not None or "####" in text or "\\boxed" in text
        return marked or len(text.split()) <= 2
    if score == "json":
        return text.strip().startswith("{")
    return score == "calls" or len(text) <= SHORT or "Answer:" in text


def _object(text: str) -> dict | None:
    """The JSON object that a text is or, between its first and last brace, holds."""
    begin, end = text.find("{"), text.rfind("}")
    if begin < 0 or end < begin or "<tool_call>" in text:
        return None
    try:
        found = json.loads(text[begin : end + 1])
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and found else None


def _spaced(text: str) -> str:
    return " ".join(text.split())


def _exact(row: dict, text: str) -> float:
    """The same text, but for white space."""
    return float(_spaced(text) == wanted_of(row, "exact"))


def _number(row: dict, text: str) -> float:
    """The same final number."""
    return float(answers.number(text) == wanted_of(row, "number"))


def _letter(row: dict, text: str) -> float:
    """The same option."""
    return float(choices.letter(text, LETTERS) == wanted_of(row, "letter"))


def _calls(row: dict, text: str) -> float:
    """The same calls with the same arguments, in any order; none where none is wanted."""
    return float(same_calls(parse(text), parse(reference(row)) or []))


def _json(row: dict, text: str) -> float:
    """The share of the wanted fields that have the wanted value; a field too many counts as one missed."""
    wanted, said = wanted_of(row, "json"), _object(text) or {}
    right = sum(name in said and same(said[name], value) for name, value in wanted.items())
    return right / (len(wanted) + len(said.keys() - wanted.keys()))


SCORES: dict[str, Callable[[dict, str], float]] = {
    "exact": _exact,
    "number": _number,
    "letter": _letter,
    "calls": _calls,
    "json": _json,
}
"""How an answer is compared with a row's completion, in [0, 1]."""


def _by_function(function: Callable, name: str) -> Callable[[dict, str], float]:
    def score(row: dict, text: str) -> float:
        columns = {column: [value] for column, value in row.items() if column not in ("prompt", "completion")}
        if row.get("completion"):
            columns.setdefault("reference", [reference(row)])
        said = [{"role": "assistant", "content": text}]
        try:
            values = list(function(prompts=[row["prompt"]], completions=[said], **columns))
        except Exception as error:
            raise UserError(
                f"{name} raised {error!r} for the row {row['id']}; besides prompts and completions it was given "
                f"{', '.join(columns)}"
            ) from error
        value = values[0] if len(values) == 1 else values
        if not isinstance(value, int | float) or not 0 <= value <= 1:
            raise UserError(f"{name} gave {value!r:.60} for the row {row['id']}: scores are from 0 to 1")
        return float(value)

    return score
