"""The tools that a row offers, which rows hold as JSON."""

from __future__ import annotations

import json


def tools_of(row: dict) -> list[dict] | None:
    """The tools of a row in OpenAI's form, None for none.

    Rows hold them as a JSON text: Arrow would merge the argument names of all rows into every row.
    """
    return json.loads(row["tools"]) if row.get("tools") else None
