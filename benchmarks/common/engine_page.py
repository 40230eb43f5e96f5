"""The matrix of docs/results/engines.md, from what `engines.py` measured."""

from __future__ import annotations

from pathlib import Path

from benchmarks.common.engine_environments import ROOT
from benchmarks.common.engine_servers import ENGINES, OVER_HTTP
from pixeltune.writing import write_atomically

PAGE = ROOT / "docs" / "results" / "engines.md"
MARKS = "<!-- engines: begin -->", "<!-- engines: end -->"
HEAD = (
    "engine | version | precision | prompt tokens | same greedy answer: with artwork | ... text alone "
    "| right with artwork (transformers) | largest log-prob gap | first differences"
)


def table(report: dict) -> str:
    """The matrix in Markdown."""
    lines = [f"| {HEAD} |", "|" + "---|" * (HEAD.count("|") + 1)]
    for name in ENGINES:
        if (cell := report["cells"].get(name)) is None:
            lines.append(f"| {name} |" + " not run |" + " |" * (HEAD.count("|") - 1))
            continue
        art, text = cell["artwork"], cell["text"]
        words = [
            cell["engine"],
            cell["version"],
            cell["precision"],
            ", ".join(cell["prompts"]),
            f"{art['same']} of {art['n']}, by {', '.join(cell['by'])}",
            f"{text['same']} of {text['n']}",
            f"{art['right']} of {art['n']} ({art['right_here']})",
            _gap(cell),
            _margins(cell["differences"]),
        ]
        lines.append("| " + " | ".join(words) + " |")
    cells = {name: report["cells"].get(f"files: {name}") for name in OVER_HTTP}
    cells = {name: cell for name, cell in cells.items() if cell}
    if cells:
        n = next(iter(cells.values()))["n"]
        lines += [
            "",
            f"The artwork for sums in other files, {n} prompts: how many answers are those to the artwork",
        ]
        lines[-1] += " itself, the largest log-prob gap, prompt tokens:"
        lines += ["", "| file | " + " | ".join(cells) + " |", "|" + "---|" * (len(cells) + 1)]
        for label in next(iter(cells.values()))["files"]:
            lines.append(
                f"| {label} | " + " | ".join(_file(cell["files"][label]) for cell in cells.values()) + " |"
            )
    return "\n".join(lines)


def _file(found: dict) -> str:
    gap = "" if found["largest_gap"] is None else f", {found['largest_gap']:.1e}"
    return f"{found['same']}{gap}, {', '.join(found['prompts'])}"


def _gap(cell: dict) -> str:
    if cell["largest_gap"] is not None:
        return f"{cell['largest_gap']:.1e} over {cell['tokens']} tokens"
    if cell["largest_gap_of_an_answer"] is not None:
        return f"{cell['largest_gap_of_an_answer']:.1e}, sum of a whole answer"
    return "gives none"


def _margins(differences: list[dict]) -> str:
    """How far apart the two best tokens were, for transformers, where answers differ first."""
    if not differences:
        return "none"
    margins = [row["margin"] for row in differences if row["margin"] is not None]
    if not margins:
        return f"{len(differences)}, margins unknown"
    return f"{len(differences)}, at margins of {min(margins):.1e} to {max(margins):.1e}"


def write_page(report: dict, page: Path = PAGE) -> None:
    """Put the matrix between its marks.

    Raises:
        ValueError: the page has no marks.
    """
    text = page.read_text()
    if not all(text.count(mark) == 1 for mark in MARKS):
        raise ValueError(f"{page.name}: the marks {' and '.join(MARKS)} must stand in it, once each")
    before, rest = text.split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    write_atomically(page, f"{before}{MARKS[0]}\n{table(report)}\n{MARKS[1]}{after}")
