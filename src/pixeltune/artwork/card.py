"""The card of an artwork, README.md beside it: for whoever comes upon the picture and was not there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pixeltune.artwork.provenance import Provenance

FILE = "artwork.png"
"""Name of the picture beside the card."""

SEND = """\
```python
from openai import OpenAI
from pixeltune import with_artwork

client = with_artwork(OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="-"), "{file}")
client.chat.completions.create(model={model}, messages=[{{"role": "user", "content": "..."}}])
```
"""


def card(p: Provenance, facts: Sequence[tuple[str, str]]) -> str:
    """Markdown with a metadata header, as the hub reads it.

    Args:
        p: of the artwork.
        facts: labels and values, for the table at the end.
    """
    parts = [
        _header(p),
        f"# An artwork for {p.base_model}" + (f": {p.data}" if p.data else ""),
        f"![the artwork]({FILE})",
        "This picture fine-tunes a frozen model: send it with each request to an unmodified engine "
        f"(placement: {p.placement}) and the model behaves as it was painted to.",
        _painted(p),
        _scores(p.scores),
        "## How to send it",
        f"Check it first: `pixeltune check {FILE} --model {p.base_model}`. Then with any engine that speaks "
        "OpenAI's protocol and serves the base model:",
        SEND.format(file=FILE, model=json.dumps(p.base_model)),
        "Without this package: an `image_url` part with the picture, at the very front of the first user "
        "message.",
        "## Licence",
        f"The picture: {p.licence}." if p.licence else "Nobody has said under which licence the picture is.",
        "## Provenance",
        _table(("", ""), facts),
    ]
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _header(p: Provenance) -> str:
    bases = p.bases if len(p.bases) > 1 else p.base_model
    head = {"library_name": "pixeltune", "base_model": bases, "tags": ["pixeltune", p.objective]}
    if p.licence:
        head["license"] = p.licence.lower()
    # JSON strings and lists are valid YAML, whatever stands in the name.
    return "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in head.items()), "---"])


def _painted(p: Provenance) -> str:
    """What it was painted for, in a sentence; what is not known is left out."""
    rows, steps = p.training.get("rows"), p.steps
    return (
        f"It was painted by `{p.objective}` for {' and '.join(p.bases)}"
        + (f" on {rows} rows" if rows else "")
        + (f" of {p.data}" if p.data else "")
        + (f" in {steps} steps" if steps is not None else "")
        + f", and takes {p.image_tokens} image tokens of each prompt."
    )


def _scores(scores: dict[str, Any]) -> str:
    """A table of the scores on rows that were held out, with their 95 % intervals."""
    rows = []
    for name, reading in scores.items():
        if not isinstance(reading, dict):
            continue
        if isinstance(before := reading.get("before"), dict):
            rows += _row("start picture", {"n": reading.get("n"), **before})
        rows += _row("artwork" if name == "held_out" else name, reading)
    return "## Scores\n\n" + _table(("held-out rows", "score", "95 % interval", "n"), rows) if rows else ""


def _row(name: str, reading: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    score = reading.get("score", reading.get("accuracy"))
    ends: Any = reading.get("ci95")
    if not isinstance(score, int | float):
        return []
    pair = isinstance(ends, list | tuple) and len(ends) == 2 and all(isinstance(x, int | float) for x in ends)
    between = f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f} %" if pair else "not known"
    return [(name, f"{100 * score:.1f} %", between, str(reading.get("n", "not known")))]


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
