"""Rows of the user's own, from a file, a folder or the hub, checked and in TRL's forms."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path

from pixeltune.data import conversion
from pixeltune.data.forms import Forms, with_tools
from pixeltune.data.images import check
from pixeltune.data.lines import kind, parse
from pixeltune.data.messages import Message, Unused, read_messages, says_nothing, text_of
from pixeltune.data.origin import Row
from pixeltune.data.sources import JSONL, Source, find
from pixeltune.data.turns import diverging_step, first_difference, is_said
from pixeltune.errors import UserError


class Rows(list[dict]):
    """Rows, and what there is to say of how they were read."""

    notes: tuple[str, ...] = ()
    """A line each; none of JSONL in TRL's own forms."""


def read_rows(
    data: str | Path,
    columns: tuple[str, ...] = ("prompt", "completion"),
    keep: bool | None = None,
    ids: bool = False,
    names: Iterable[str] | None = None,
) -> Rows:
    """Read and check rows.

    Each is an object with ``prompt`` (a text or a list of messages), perhaps ``tools`` (a list of OpenAI
    tools, or that as a JSON string), perhaps ``images`` (picture files of its own, relative to the file;
    the model sees them behind the artwork), and what else an objective learns from: ``completion``,
    ``chosen`` and ``rejected`` (like prompt), ``label`` (true or false). ``messages``, a whole conversation,
    stands for a prompt and a completion (with `keep` too), or where nobody answers in it and only a prompt is
    wanted for that; ``chosen`` and ``rejected`` may be whole conversations, too. So do the columns of ShareGPT
    and Alpaca.

    Args:
        data: a file, a folder that `datasets` saved, or a name on the hub (see `pixeltune.data.sources`).
        columns: what an objective learns from, the prompt first.
        keep: whether other columns stay as they are, for a reward; by default where `columns` is the prompt
            alone. Else they are named in an `UnusedDataWarning` and left out.
        ids: whether a row's ``id`` stays as it is, whatever becomes of other columns.
        names: which columns stand for which of ours (see `pixeltune.data.forms.read_names`); None: the caller
            has no say in it.

    Returns:
        Each a `Row`, in TRL's conversational form, ``tools`` as a JSON string (Arrow would merge the argument
        names of all rows into every row).

    Raises:
        UserError: naming the file, the line or row and what to mend.
    """
    source, unused = find(data), Unused()
    forms = Forms(source, names or ())
    keep = columns == ("prompt",) if keep is None else keep
    rows = Rows()
    for where, found in source.records(unused, forms.needed):
        line = _split(with_tools(forms.apply(found, where, unused), keep), columns, keep, where)
        if missing := [name for name in columns if name not in line]:
            named = (
                "" if names is None else f", or --columns {' '.join(f'{name}=COLUMN' for name in missing)}"
            )
            raise UserError(
                f"{where}: {missing[0]} must be there; columns found: {', '.join(sorted(found)) or 'none'}; "
                f"expected: {_example(columns)}{_inside(found, source) or named}"
            )
        given = {"id": line.pop("id")} if ids and "id" in line else {}
        row = Row(_row(line, columns, keep, where, unused) | given)
        row.where = where
        if line.get("images"):
            if source.folder is None:
                raise UserError(f"{where}: pictures are read of files on this machine only: leave images out")
            row["images"] = check(line["images"], source.folder, where)
        rows.append(row)
    if not rows:
        example = f"write one JSON object per line, {_example(columns)}"
        raise UserError(f"{data} holds no rows" + (f": {example}" if source.form == JSONL else ""))
    forms.check_names()
    for name, none in (("tools", None), ("images", [])):
        if any(name in row for row in rows):
            for one in rows:
                one.setdefault(name, none)
    unused.warn()
    rows.notes = forms.said(len(rows))
    return rows


def given_lines(data: str | Path, names: Iterable[str], wanted: Collection[str]) -> list[tuple[str, dict]]:
    """Rows as the user gave them, but for what columns are called, each with where it stands.

    Args:
        data, names: see `read_rows`.
        wanted: places of those to return.
    """
    source, unused = find(data), Unused()
    forms = Forms(source, names)
    found = ((where, line) for where, line in source.records(unused, forms.needed) if where in wanted)
    return [(where, forms.apply(line, where, unused)) for where, line in found]


def _row(line: dict, columns: tuple[str, ...], keep: bool, where: str, unused: Unused) -> dict:
    out = dict(line) if keep else {}
    for name in columns:
        if name == "label":
            if not isinstance(line[name], bool):
                raise UserError(
                    f"{where}: label must be true (a good completion) or false, not {kind(line[name])}"
                )
            out[name] = line[name]
        else:
            role = "user" if name == "prompt" else "assistant"
            value = line[name]
            if value == "" and (name == "rejected" or (name == "completion" and line.get("label") is False)):
                value = [{"role": role, "content": ""}]  # to say nothing may well be the bad answer
            out[name] = read_messages(value, role, f"{where}: {name}", unused)
    if "chosen" in columns:
        _without_prompt(out, where)
    if not any(message["role"] == "user" for message in out["prompt"]):
        raise UserError(f"{where}: prompt has no user message, so there is no place for the artwork")
    for name in columns[1:]:
        if name != "label":
            contrast = columns != ("prompt", "completion")
            _check_turns(out[name], contrast, name, where, unused)
            while contrast and out[name][-1]["role"] != "assistant":
                del out[name][-1]
            _check_said(out[name], name, where, good=name != "rejected" and out.get("label", True))
    if "chosen" in columns:
        if out["chosen"] == out["rejected"]:
            raise UserError(
                f"{where}: chosen and rejected are the same, so there is nothing to prefer: leave the row out"
            )
        step = diverging_step(out["chosen"], out["rejected"])
        out["prompt"] += out["chosen"][:step]
        out |= {name: out[name][step:] for name in ("chosen", "rejected")}
    if tools := _tools(line.get("tools"), where):
        out["tools"] = json.dumps(tools)
    else:
        out.pop("tools", None)
    spoken = [message for name in columns if name != "label" for message in out[name]]
    _note_calls(spoken, tools or [], where, unused)
    for name in [name for name in line if name not in (*columns, "tools", "images")]:
        if not keep and line[name] not in (None, "", [], {}):
            unused.add(
                f"the column {name!r} is not used; used are {', '.join(columns)}, tools, images", where
            )
    return out


def _split(line: dict, columns: tuple[str, ...], keep: bool, where: str) -> dict:
    """A line whose ``messages`` became a prompt and a completion, and whose ``chosen`` gave up its prompt."""
    line = dict(line)
    whole = line.get("messages")
    wanted = keep or "completion" in columns
    if "prompt" not in line and wanted and "completion" not in line and whole is not None:
        turns = whole if isinstance(whole, list) else []
        roles = [turn.get("role") if isinstance(turn, dict) else None for turn in turns]
        if columns == ("prompt",) and turns and "assistant" not in roles:
            line["prompt"] = line.pop("messages")
            return line
        if "assistant" not in roles:
            raise UserError(f"{where}: messages must be a conversation in which the assistant says something")
        first = roles.index("assistant")
        if "label" in columns:  # of what answers the last question, with all its calls
            last = len(roles) - 1 - roles[::-1].index("assistant")
            asked = max((i for i in range(last) if roles[i] == "user"), default=-1)
            first = roles.index("assistant", asked + 1)
        del line["messages"]
        line |= {"prompt": whole[:first], "completion": whole[first:]}
    chosen, rejected = line.get("chosen"), line.get("rejected")
    if "prompt" not in line and isinstance(chosen, list) and isinstance(rejected, list):
        alike, step = first_difference(chosen, rejected), diverging_step(chosen, rejected)
        differ = [turn for turn in (chosen[alike], rejected[alike]) if not _is_from_tool(turn)]
        if not all(is_said(turn) for turn in (*differ, chosen[step], rejected[step])):
            raise UserError(
                f"{where}: the prompts of chosen and rejected differ, in message {alike + 1}: both must be the "
                "same conversation up to a turn of the assistant"
            )
        if step > 0:
            line |= {"prompt": chosen[:step], "chosen": chosen[step:], "rejected": rejected[step:]}
    return line


def _is_from_tool(message: object) -> bool:
    return isinstance(message, dict) and message.get("role") == "tool"


def _without_prompt(row: dict, where: str) -> None:
    """Cut the prompt off chosen and rejected where they repeat it, as some public data sets do.

    Raises:
        UserError: they begin with another one.
    """
    length = len(row["prompt"])
    for name in ("chosen", "rejected"):
        if len(row[name]) > length and row[name][:length] == row["prompt"]:
            row[name] = row[name][length:]
        elif row[name][0]["role"] == "user":
            raise UserError(f"{where}: {name} begins with another prompt than the row's: repeat it, or none")


def _check_turns(messages: list[Message], contrast: bool, name: str, where: str, unused: Unused) -> None:
    """
    Raises:
        UserError: the assistant says nothing, or, in what is contrasted, not the first of it.
    """
    roles = [message["role"] for message in messages]
    if "assistant" not in roles:
        raise UserError(f"{where}: {name} must have a message of the assistant, and has {', '.join(roles)}")
    if contrast and roles[0] != "assistant":
        raise UserError(
            f"{where}: {name} must begin with what the assistant says, and has {', '.join(roles)}: put earlier "
            "turns into the prompt"
        )
    if roles[-1] != "assistant":
        unused.add(f"what comes behind the assistant's last message in {name} is not trained on", where)


def _check_said(messages: list[Message], name: str, where: str, good: bool) -> None:
    """
    Raises:
        UserError: an answer is empty, which only a bad one may be, or has nothing but white space.
    """
    for number, message in enumerate(messages, start=1):
        if message["role"] == "assistant" and says_nothing(message):
            if good:
                raise UserError(
                    f"{where}: {name} must say something, and message {number} is empty: the model would "
                    "learn to end its answer at once"
                )
            if text_of(message["content"]):
                raise UserError(
                    f'{where}: message {number} of {name} is white space alone: write "" for an empty answer'
                )


def _note_calls(messages: list[Message], tools: list[dict], where: str, unused: Unused) -> None:
    """Note calls of tools that the model is not told of."""
    known = {tool["function"]["name"] for tool in tools}
    for call in (call for message in messages for call in message.get("tool_calls", [])):
        name = call["function"]["name"]
        if not tools:
            unused.add(
                "tools are called, and the row has no column tools: the model is not told which there are",
                where,
            )
        elif name not in known:
            unused.add(f"the tool {name!r} is called, and the row's tools do not name it", where)


def _tools(tools: object, where: str) -> list[dict] | None:
    if isinstance(tools, str) and tools.strip():
        try:
            tools = parse(tools)
        except ValueError as error:
            raise UserError(f"{where}: tools is no JSON ({error})") from error
    if tools is None or tools in ("", []):
        return None
    offered = tools if isinstance(tools, list) else [tools]
    functions = [tool.get("function") if isinstance(tool, dict) else None for tool in offered]
    named = [isinstance(f, dict) and isinstance(f.get("name"), str) and bool(f["name"]) for f in functions]
    if not isinstance(tools, list) or not all(named):
        wanted = '{"type": "function", "function": {"name": ..., "parameters": {...}}}'
        raise UserError(f"{where}: tools must be a list of {wanted}")
    return tools


def _example(columns: tuple[str, ...]) -> str:
    values = {"prompt": "question", "completion": "answer", "chosen": "good", "rejected": "bad"}
    return json.dumps({name: values.get(name, True) for name in columns})


def _inside(line: dict, source: Source) -> str:
    """What makes rows of a list that a JSON object holds under a name."""
    name, rows = next(iter(line.items()), ("", None))
    inside = rows[0] if source.form == JSONL and len(line) == 1 and isinstance(rows, list) and rows else None
    if not isinstance(inside, dict) or name in ("conversations", "messages"):
        return ""
    return (
        f"; of a list inside of one object this makes rows: {conversion.from_named(Path(source.name), name)}"
    )
