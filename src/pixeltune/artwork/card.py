"""The card of an artwork, README.md beside it: for whoever comes upon the picture and was not there."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from pixeltune.artwork.folder import ARTWORK
from pixeltune.artwork.provenance import Provenance

MAX_TASKS = 50
"""Whose scores a card shows: the PNG may be anybody's."""

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)

HUB_LICENCES = frozenset(
    "apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m "
    "afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 "
    "cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 "
    "cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 "
    "cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 agpl-3.0 gfdl gpl "
    "gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc lppl-1.3c ms-pl mpl-2.0 odc-by odbl openrail++ osl-3.0 postgresql "
    "ofl-1.1 ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license llama2 gemma unknown other".split()
)
"""Names of licences that the hub takes, in small letters: https://huggingface.co/docs/hub/repositories-licenses"""

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
        f"![the artwork]({ARTWORK})",
        "This picture fine-tunes a frozen model: send it with each request to an unmodified engine "
        f"(placement: {p.placement}) and the model behaves as it was painted to.",
        _painted(p),
        _scores(p.scores),
        "## How to send it",
        f"Check it first: `pixeltune check {ARTWORK} --model {p.base_model}`. Then with any engine that speaks "
        "OpenAI's protocol and serves the base model:",
        SEND.format(file=ARTWORK, model=json.dumps(p.base_model)),
        "Without this package: an `image_url` part with the picture, at the very front of the first user "
        "message.",
        "## Licence",
        f"The picture: {p.licence}." if p.licence else "Nobody has said under which licence the picture is.",
        "## Provenance",
        _table(("", ""), facts),
    ]
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _header(p: Provenance) -> str:
    # The hub would take any other name for a repository, too.
    on_hub = [base for base in p.bases if _HUB_ID.fullmatch(base)]
    head: dict[str, Any] = {"library_name": "pixeltune", "pipeline_tag": "image-text-to-text"}
    if on_hub:
        head |= {"base_model": on_hub[0] if len(on_hub) == 1 else on_hub, "base_model_relation": "adapter"}
    head["tags"] = ["pixeltune", "visual-prompting", p.objective]
    if p.licence:
        head |= _licence(p.licence.lower())
    head["widget"] = [{"text": "The artwork", "output": {"url": ARTWORK}}]  # the hub's preview of the page
    head |= _results(p)
    # JSON strings and lists are valid YAML, whatever stands in the name.
    return "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in head.items()), "---"])


def _licence(name: str) -> dict[str, str]:
    """As the hub takes it, which refuses names that it does not know."""
    if name in HUB_LICENCES:
        return {"license": name}
    return {"license": "other", "license_name": re.sub(r"[^a-z0-9.+]+", "-", name).strip("-") or "unnamed"}


def _results(p: Provenance) -> dict[str, Any]:
    """The artwork's own score on held-out rows, as the hub lists results; empty where it is not known."""
    reading = _reading(p.scores, "held_out")
    if not isinstance(score := reading.get("score"), int | float):
        return {}
    data = p.data or "rows"
    known = {"n": reading.get("n"), "ci95": reading.get("ci95")}
    result = {
        "task": {"type": "image-text-to-text"},
        "dataset": {"type": data, "name": f"held-out rows of {data}"},
        "metrics": [{"type": "score", "value": score, "name": "score, 0 to 1", "args": known}],
    }
    return {"model-index": [{"name": f"artwork for {p.base_model}", "results": [result]}]}


def _painted(p: Provenance) -> str:
    """What it was painted for, in a sentence; what is not known is left out."""
    rows, steps = p.training.get("rows"), p.steps
    return (
        f"It was painted by `{p.objective}` for {' and '.join(p.bases)}"
        + (f" on {rows} rows" if rows else "")
        + (f" of {p.data}" if p.data else "")
        + (f" in {steps} steps" if steps is not None else "")
        + f", and takes {p.image_tokens} image tokens of each prompt."
        + "".join(f" {base} is {_whereabouts(base, p)}." for base in p.bases if not _HUB_ID.fullmatch(base))
    )


def _whereabouts(base: str, p: Provenance) -> str:
    """What a model is whose name is not one on the hub."""
    if base == p.base_model and isinstance(origin := p.training.get("origin"), str):
        return f"a model that comes with pixeltune: {origin}"
    return "the model that comes with pixeltune" if base == "tiny" else "a folder's name, not one on the hub"


def _scores(scores: dict[str, Any]) -> str:
    """A table of the scores on rows that were held out, with their 95 % intervals."""
    after = _reading(scores, "held_out")
    before = {"n": after.get("n"), **_reading(after, "before")}
    rows = [*_row("start picture", before), *_row("artwork", after)]
    for name in list(_reading(after, "tasks"))[:MAX_TASKS]:
        rows += _row(f"artwork, {name:.80}", _reading(after["tasks"], name))
    return "## Scores\n\n" + _table(("held-out rows", "score", "95 % interval", "n"), rows) if rows else ""


def held_out(scores: dict[str, Any]) -> float | None:
    """The artwork's own score on rows that were held out, from 0 to 1, where it is known."""
    score = _reading(scores, "held_out").get("score")
    return score if isinstance(score, int | float) else None


def _reading(facts: dict[str, Any], name: str) -> dict[str, Any]:
    """A score with its interval, as `held_out_scores` of training writes it; empty where there is none."""
    return reading if isinstance(reading := facts.get(name), dict) else {}


def _row(name: str, reading: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    score: Any = reading.get("score")
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
