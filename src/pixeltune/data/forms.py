"""What columns mean: names that the user gives them, the forms of ShareGPT and Alpaca, tools of older logs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pixeltune.data.lines import parse
from pixeltune.data.messages import Unused
from pixeltune.data.sources import ARROW, CSV, JSONL, Source, public_name
from pixeltune.errors import UserError, suggestion

NAMES = ("prompt", "completion", "messages", "chosen", "rejected", "label", "tools", "images", "id")
"""Columns that rows may have."""

OPTIONAL = ("tools", "images", "id")
"""Of them those that not every row need have."""

_SPOKEN = ("prompt", "completion", "messages", "chosen", "rejected", "tools", "conversations")

_CONVERTED = ("conversations", "instruction", "input", "output")

_ROLES = {
    "human": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "function_call": "assistant",
    "observation": "tool",
}
"""Of OpenAI's, by what ShareGPT calls them."""


def read_names(given: Iterable[str]) -> dict[str, str]:
    """The column of the data for each name of ours, from texts such as ``prompt=question``.

    Raises:
        UserError: one is no such text, there is no such name, or it is given twice.
    """
    out: dict[str, str] = {}
    for text in given:
        name, equals, column = text.partition("=")
        if not (equals and name and column):
            raise UserError(f"--columns {text}: write NAME=COLUMN, as in prompt=question completion=answer")
        if name not in NAMES:
            near = suggestion(name, NAMES)
            raise UserError(f"--columns {text}: there is no {name!r}{near}; rows have {', '.join(NAMES)}")
        if name in out:
            raise UserError(f"--columns: {name} is given twice, {out[name]} and {column}")
        out[name] = column
    return out


class Forms:
    """What becomes of the rows of one source. What it did is in `said`."""

    def __init__(self, source: Source, names: Iterable[str] = ()) -> None:
        """
        Args:
            source: of the rows.
            names: see `read_names`.

        Raises:
            UserError: as `read_names` does.
        """
        self.source, self.names = source, read_names(names)
        self.needed = {*NAMES, *self.names.values(), *_CONVERTED}
        """Columns that are read."""
        self.columns: list[str] = []
        self.seen: set[str] = set()
        self.known: list[str] = []

    def apply(self, line: Mapping[str, Any], where: str, unused: Unused) -> dict[str, Any]:
        """A row with columns of our names.

        Args:
            line: of the source.
            where: file and row, for messages.
            unused: gets columns that another one stands in for.

        Raises:
            UserError: there is no such column as the user names, or a text that is to be JSON is none.
        """
        self.columns = self.columns or list(line)
        row = self._named(line, where, unused)
        for name in ("messages", "conversations", "images"):
            if isinstance(row.get(name), str) and row[name].lstrip()[:1] == "[":
                try:
                    row[name] = parse(row[name])
                except ValueError as error:
                    raise UserError(f"{where}: {name} is no JSON ({error})") from error
        if self.source.form == CSV and str(row.get("label")).lower() in ("true", "false"):
            row["label"] = row["label"].lower() == "true"
        if self.source.form in ARROW:
            row |= {name: _without_nulls(row[name]) for name in _SPOKEN if name in row}
        if not set(row) & {"prompt", "completion", "messages", "chosen", "rejected"}:
            row = self._converted(row)
        return row

    def check_names(self) -> None:
        """
        Raises:
            UserError: no row has a column that the user names.
        """
        if self.columns and (missing := next((c for c in self.names.values() if c not in self.seen), None)):
            raise UserError(
                f"{self.source.name} has no column {missing!r} (--columns); columns found: {', '.join(self.columns)}"
            )

    def said(self, count: int) -> tuple[str, ...]:
        """What was read, in a line; none of JSONL in TRL's own form, where it goes without saying.

        Args:
            count: of the rows.
        """
        made = [f"{name} is {column}" for name, column in self.names.items()] + self.known
        if self.source.form == JSONL and not made:
            return ()
        rows = f"{count:,} row{'' if count == 1 else 's'}"
        what = f"{public_name(self.source.name)}: {self.source.form}, {rows} with the columns {', '.join(self.columns)}"
        return ("; ".join([what, ", ".join(made)]) if made else what,)

    def _named(self, line: Mapping[str, Any], where: str, unused: Unused) -> dict[str, Any]:
        taken = set(self.names.values())
        out = {name: value for name, value in line.items() if name not in taken}
        self.seen |= taken & set(line)
        for name, column in self.names.items():
            if column in line:
                if name in out:
                    unused.add(
                        f"the column {name!r} is not used: {column!r} stands in for it (--columns)", where
                    )
                out[name] = line[column]
            elif name not in OPTIONAL:
                found = ", ".join(sorted(line)) or "none"
                raise UserError(f"{where}: there is no column {column!r} (--columns); columns found: {found}")
        return out

    def _converted(self, row: dict[str, Any]) -> dict[str, Any]:
        turns = row.get("conversations")
        if isinstance(turns, list) and turns and all(isinstance(turn, dict) for turn in turns):
            self._note("ShareGPT's conversations are read as messages")
            rest = {name: value for name, value in row.items() if name != "conversations"}
            return {"messages": [_message(turn) for turn in turns], **rest}
        asked = [row.get("instruction"), row.get("input") or ""]
        if "output" in row and all(isinstance(text, str) for text in asked):
            self._note("Alpaca's instruction and input are read as the prompt, output as the completion")
            rest = {
                name: value for name, value in row.items() if name not in ("instruction", "input", "output")
            }
            return {"prompt": "\n\n".join(filter(None, asked)), "completion": row["output"], **rest}
        return row

    def _note(self, what: str) -> None:
        if what not in self.known:
            self.known.append(what)


def with_tools(line: dict, keep: bool) -> dict:
    """A line whose ``functions``, of OpenAI's older logs, became ``tools`` where it has none.

    Args:
        line: of a file.
        keep: whether the column stays as well.
    """
    functions = line.get("functions")
    if isinstance(functions, str) and functions.strip()[:1] == "[":
        try:
            functions = parse(functions)
        except ValueError:
            return line
    if line.get("tools") or not isinstance(functions, list) or not functions:
        return line
    if not all(isinstance(one, dict) and isinstance(one.get("name"), str) for one in functions):
        return line
    rest = {name: value for name, value in line.items() if keep or name != "functions"}
    return rest | {"tools": [{"type": "function", "function": one} for one in functions]}


def _message(turn: dict[str, Any]) -> dict[str, Any]:
    """A message of OpenAI's, of one of ShareGPT's; one that has a role already stays."""
    if "from" not in turn:
        return turn
    said, who = turn.get("value", turn.get("content")), turn["from"]
    rest = {name: value for name, value in turn.items() if name not in ("from", "value", "content")}
    message = {"role": _ROLES.get(who, who) if isinstance(who, str) else who, "content": said, **rest}
    call = _call(said) if who == "function_call" else None
    return message if call is None else message | {"content": "", "tool_calls": [call]}


def _call(said: object) -> dict[str, Any] | None:
    """A tool call that is written as JSON; None: it is none."""
    try:
        call = json.loads(said) if isinstance(said, str) else None
    except (ValueError, RecursionError):
        return None
    named = isinstance(call, dict) and isinstance(call.get("name"), str)
    return {"type": "function", "function": call} if named else None


def _without_nulls(value: Any) -> Any:
    """A value without the names that only other rows' objects have: Arrow gives all of them the same.

    TRL recommends the same (`trl.data_utils.remove_none_values`).
    """
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
