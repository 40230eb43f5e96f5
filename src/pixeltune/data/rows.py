"""Rows of the user's own: a JSONL file with one TRL prompt-completion row per line."""

from __future__ import annotations

import json
from pathlib import Path

from pixeltune.data.images import check
from pixeltune.errors import UserError

MAX_BYTES = 2 << 30
MAX_LINE = 4 << 20


def read(path: str | Path, columns: tuple[str, ...] = ("prompt", "completion")) -> list[dict]:
    """Read and check a JSONL file.

    Each line is an object with ``prompt`` (a text or a list of messages), perhaps ``tools`` (a list of OpenAI
    tools, or that as a JSON string), perhaps ``images`` (picture files of its own, relative to the JSONL
    file; the model sees them behind the artwork), and what else an objective learns from: ``completion``,
    ``chosen`` and ``rejected`` (like prompt), ``label`` (true or false). Other columns are dropped, unless
    ``columns`` is the prompt alone: then they are what a reward may need, and kept as they are.

    Returns:
        Rows in TRL's conversational form, ``tools`` as a JSON string (Arrow would merge the argument names
        of all rows into every row).

    Raises:
        ValueError: naming the file, the line and what to mend.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path} is larger than 2 GiB: split it")
    rows = []
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            where = f"{path}, line {number}"
            if len(line) > MAX_LINE:
                raise UserError(f"{where}: longer than 4 MiB")
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{where}: not JSON ({error})") from error
            if not isinstance(row, dict):
                raise UserError(f"{where}: not an object")
            checked = _check(row, columns, where)
            if row.get("images"):
                checked["images"] = check(row["images"], path.parent, where)
            rows.append(checked)
    if not rows:
        raise UserError(f"{path} holds no rows")
    for name, none in (("tools", None), ("images", [])):
        if any(name in row for row in rows):
            for row in rows:
                row.setdefault(name, none)
    return rows


def each_turn(rows: list[dict]) -> list[dict]:
    """One row for every turn of the assistant in a ``completion``, what comes before it as the ``prompt``.

    The loss is taken on all of a completion; in one of several turns that would be on tool results, too.
    """
    return [
        {**row, "prompt": row["prompt"] + row["completion"][:number], "completion": [turn]}
        for row in rows
        for number, turn in enumerate(row["completion"])
        if turn["role"] == "assistant"
    ]


def _check(row: dict, columns: tuple[str, ...], where: str) -> dict:
    out = dict(row) if columns == ("prompt",) else {}
    out["prompt"] = _messages(row.get("prompt"), "prompt", "user", where)
    for name in columns[1:]:
        if name == "label":
            if not isinstance(row.get(name), bool):
                raise UserError(f"{where}: label must be true (a good completion) or false")
            out[name] = row[name]
        else:
            out[name] = _messages(row.get(name), name, "assistant", where)
    if not any(message["role"] == "user" for message in out["prompt"]):
        raise UserError(f"{where}: prompt has no user message, so there is no place for the artwork")
    tools = row.get("tools")
    if isinstance(tools, str):
        try:
            tools = json.loads(tools)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where}: tools is no JSON ({error})") from error
    if tools:
        if not isinstance(tools, list) or not all(isinstance(t, dict) and "function" in t for t in tools):
            raise UserError(f'{where}: tools must be a list of {{"type": "function", "function": ...}}')
        out["tools"] = json.dumps(tools)
    return out


def _messages(value: object, name: str, role: str, where: str) -> list[dict]:
    if isinstance(value, str) and value:
        return [{"role": role, "content": value}]
    if (
        not isinstance(value, list)
        or not value
        or not all(isinstance(m, dict) and isinstance(m.get("role"), str) for m in value)
        or not all(isinstance(m.get("content"), str) for m in value)
    ):
        raise UserError(
            f'{where}: {name} must be a text or a list of {{"role": ..., "content": "text"}} messages'
        )
    return [{"role": m["role"], "content": m["content"]} for m in value]
