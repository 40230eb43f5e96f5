"""What may stand in front of a row in a conversation: system messages, earlier exchanges, other tools' results."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixeltune.data.instruction import tell
from pixeltune.data.lines import kind, read_lines
from pixeltune.data.messages import Message, Unused, read_messages
from pixeltune.data.origin import Row, origin
from pixeltune.errors import UserError
from pixeltune.writing import write_atomically

OWN = "own"
"""What ``--contexts`` calls the histories that the model makes itself."""

CONTEXTS = "contexts.jsonl"
"""In a run's folder: the histories that the model made for it."""

MAX_BYTES = 64 << 20
MAX_CONTEXTS = 100_000
MAX_KIND = 60

EXAMPLE = (
    '{"messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}], "kind": "chat"}'
)


@dataclass(frozen=True)
class Context:
    """The beginning of a conversation, behind which a user may speak."""

    messages: list[Message]
    kind: str
    """By which scores are told apart."""
    where: str
    """File and line."""


class Behind(Row):
    """A row behind a context, or one that was drawn none. Copies made of it as plain dicts are ordinary rows."""

    alone: dict
    """The row as it was given."""
    kind: str | None
    """Of the context; None: there is none."""


def read_contexts(path: str | Path) -> list[Context]:
    """The contexts of a JSONL file, a line each: ``messages``, and perhaps a ``kind``.

    Raises:
        UserError: naming the file, the line and what to mend.
    """
    path, unused = Path(path), Unused()
    out: list[Context] = []
    if not path.is_file():
        raise UserError(
            f"there is no file of contexts {path} (--contexts): one JSON object a line, {EXAMPLE}"
        )
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path} is larger than {MAX_BYTES >> 20} MiB: give fewer or shorter contexts")
    for where, line in read_lines(path):
        if len(out) == MAX_CONTEXTS:
            raise UserError(f"{path} holds more than {MAX_CONTEXTS:,} contexts: give fewer")
        out.append(_context(line, where, unused))
    if not out:
        raise UserError(f"{path} holds no contexts: write one JSON object a line, {EXAMPLE}")
    unused.warn()
    return out


def write_contexts(path: Path, contexts: Iterable[Context]) -> None:
    """Write them as `read_contexts` takes them."""
    lines = (json.dumps({"messages": one.messages, "kind": one.kind}) + "\n" for one in contexts)
    write_atomically(path, "".join(lines))


def behind(rows: Sequence[dict], contexts: Sequence[Context], share: float, seed: int) -> list[Behind]:
    """Rows behind contexts: each gets one or none, by the seed and its place.

    A row's own system message joins that of the context, behind an empty line (`tell`). A context that asks what
    the row asks is stepped over where there is another, or its answer would stand there already.

    Args:
        rows: with a conversational ``prompt``, without the artwork.
        contexts: to draw from, at least one.
        share: of the rows that get one, on average; 1: all.
        seed: of the draw.

    Raises:
        UserError: a prompt begins with another's turn than the user's, behind its system message.
    """
    check_beginnings(rows)
    out = []
    for number, row in enumerate(rows):
        rng = random.Random(f"context {seed} {number}")
        one = _choose(row["prompt"], contexts, rng) if rng.random() < share else None
        made = Behind(row if one is None else {**row, "prompt": tell(row["prompt"], one.messages)})
        made.alone, made.kind = row, one.kind if one else None
        made.where = (
            getattr(row, "where", "") if one is None else f"{one.where}, in front of {origin(row, number)}"
        )
        out.append(made)
    return out


def check_beginnings(rows: Iterable[dict]) -> None:
    """
    Raises:
        UserError: a prompt begins with another's turn than the user's, behind its system message.
    """
    for number, row in enumerate(rows):
        first = next((turn["role"] for turn in row["prompt"] if turn["role"] != "system"), "nobody")
        if first != "user":
            raise UserError(
                f"{origin(row, number)}: its prompt begins with what {first} says, and a context stands in front of "
                "a user's turn: leave the row or --contexts out"
            )


def alone(row: dict) -> dict:
    """A row without its context, if it has one."""
    return getattr(row, "alone", row)


def as_rows(contexts: Iterable[Context]) -> list[Row]:
    """Contexts as rows in which a user then says a word, for what looks at rows."""
    out = []
    for one in contexts:
        row = Row(prompt=[*one.messages, {"role": "user", "content": "a"}])
        row.where = one.where
        out.append(row)
    return out


def _choose(prompt: list[Message], contexts: Sequence[Context], rng: random.Random) -> Context:
    place = rng.randrange(len(contexts))
    around = [*contexts[place:], *contexts[:place]]
    return next((one for one in around if prompt[-1] not in one.messages), around[0])


def _context(line: dict[str, Any], where: str, unused: Unused) -> Context:
    if not isinstance(line.get("messages"), list) or not line["messages"]:
        raise UserError(f"{where}: messages must be a list, and is {kind(line.get('messages'))}: {EXAMPLE}")
    messages = read_messages(line["messages"], "system", f"{where}: messages", unused)
    named = line.get("kind", "context")
    if not isinstance(named, str) or not named.strip() or len(named) > MAX_KIND or not named.isprintable():
        raise UserError(f"{where}: kind must be a text of one line, at most {MAX_KIND} characters")
    for name in line:
        if name not in ("messages", "kind"):
            unused.add(f"the field {name!r} of a context is not used; used are messages, kind", where)
    roles = [message["role"] for message in messages]
    if "system" in roles[1:]:
        raise UserError(
            f"{where}: message {roles.index('system', 1) + 1} is a system message: it stands first, or nowhere"
        )
    if roles[-1] not in ("assistant", "system") or messages[-1].get("tool_calls"):
        last = "a call" if roles[-1] == "assistant" else f"what {roles[-1]} says"
        raise UserError(
            f"{where}: the context ends with {last}, and a user's turn follows: end it with what the assistant "
            "answers, or with a system message"
        )
    return Context(messages, named, where)
