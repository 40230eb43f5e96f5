"""Files that hold rows in another form than JSONL of prompts: a shell command that makes rows of each.

Every command reads the whole of a file, keeps columns that it does not know, and writes another file.
"""

from __future__ import annotations

import shlex
from pathlib import Path

_LINES = "map(json.loads,filter(bytes.strip,sys.stdin.buffer))"
"""Rows of a JSONL file."""


def from_array(path: Path, name: str = "") -> str:
    """Of one JSON list of objects, or of a JSON object that holds one under a name."""
    return _command("json,sys", f"json.load(sys.stdin.buffer){f'[{name!r}]' if name else ''}", "r", path)


def from_printed(path: Path) -> str:
    """Of JSON objects one below the other, each over several lines."""
    text = r"re.sub(r'\}\s*\n\s*\{','},{',sys.stdin.buffer.read().decode('utf-8-sig'))"
    return _command("json,re,sys", f"json.loads('['+{text}+']')", "r", path)


def from_table(path: Path, delimiter: str = ",") -> str:
    """Of a table with a line of column names, CSV or the like; every value is a text."""
    text = "io.TextIOWrapper(sys.stdin.buffer,'utf-8-sig',newline='')"
    sep = "" if delimiter == "," else f",delimiter={delimiter!r}"
    return _command("csv,io,json,sys", f"csv.DictReader({text}{sep})", "r", path)


def from_sharegpt(path: Path) -> str:
    """Of JSONL with ``conversations``, lists of ``from`` and ``value``."""
    names = "n={'human':'user','gpt':'assistant','bot':'assistant','observation':'tool'}"
    role = "n.get(m.get('from'),m.get('from',m.get('role')))"
    turn = f"{{'role':{role},'content':m.get('value',m.get('content'))}}"
    row = f"{{'messages':[{turn} for m in r.pop('conversations')],**r}}"
    return _command("json,sys", _LINES, row, path, names)


def from_alpaca(path: Path) -> str:
    """Of JSONL with ``instruction``, perhaps ``input``, and ``output``."""
    prompt = r"'\n\n'.join(filter(None,[r.pop('instruction'),r.pop('input','')]))"
    return _command("json,sys", _LINES, f"{{'prompt':{prompt},'completion':r.pop('output'),**r}}", path)


def _command(modules: str, rows: str, row: str, path: Path, first: str = "") -> str:
    """A command that prints each row as a line of JSON.

    Args:
        modules: that it imports.
        rows: an expression, what to go through.
        row: an expression, what becomes of one of them, ``r``.
        path: of the file; the new one lies beside it.
        first: a statement before.
    """
    code = f"import {modules}; {first + '; ' if first else ''}[print(json.dumps({row})) for r in {rows}]"
    files = f"< {shlex.quote(str(path))} > {shlex.quote(str(path.with_suffix('.rows.jsonl')))}"
    return f'python -c "{code}" {files}'
