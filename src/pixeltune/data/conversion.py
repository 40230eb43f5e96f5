"""Files of JSON that is neither lines nor a list: a shell command that makes rows of each.

Every command reads the whole of a file, and writes another one.
"""

from __future__ import annotations

import shlex
from pathlib import Path


def from_named(path: Path, name: str) -> str:
    """Of a JSON object that holds a list of rows under a name."""
    return _command("json,sys", f"json.load(sys.stdin.buffer)[{name!r}]", path)


def from_printed(path: Path) -> str:
    """Of JSON objects one below the other, each over several lines."""
    text = r"re.sub(r'\}\s*\n\s*\{','},{',sys.stdin.buffer.read().decode('utf-8-sig'))"
    return _command("json,re,sys", f"json.loads('['+{text}+']')", path)


def _command(modules: str, rows: str, path: Path) -> str:
    """A command that prints each row as a line of JSON.

    Args:
        modules: that it imports.
        rows: an expression, what to go through.
        path: of the file; the new one lies beside it.
    """
    code = f"import {modules}; [print(json.dumps(r)) for r in {rows}]"
    files = f"< {shlex.quote(str(path))} > {shlex.quote(str(path.with_suffix('.rows.jsonl')))}"
    return f'python -c "{code}" {files}'
