"""docs/results/released.md: the results of `accuracy.py` on released models, written from its files."""

from __future__ import annotations

from pathlib import Path

from benchmarks.common.accuracy_plans import RELEASED_FOLDER, RESULTS
from benchmarks.common.accuracy_table import NAMES, table, tables
from benchmarks.common.cells import read
from benchmarks.figures import OUT, RANDOM, figures, scores
from pixeltune.writing import write_atomically

PAGE = OUT.parent / "released.md"
HEAD = """# Released models: methods compared

Written by `python benchmarks/accuracy.py --config recipes/comparison/NAME.yaml --data FOLDER` from the files of
`benchmarks/results/accuracy_released/`, one for each model. The comparison is that of [accuracy](accuracy.md): no
adaptation, the best words, examples in the prompt (few-shot), artwork, LoRA, soft prompt and full fine-tuning, on GSM8K
and on Seal-Tools' single calls. What was trained on the one is also scored on SVAMP, on the other on BFCL and on
When2Call (knowing when not to call). What a recipe needs is said in its first lines.
"""


def write_page() -> None:
    """The page, and all figures."""
    folder = RESULTS / RELEASED_FOLDER
    write_atomically(PAGE, page(folder))
    for figure in figures():
        write_atomically(OUT / f"{figure.name}.svg", figure.svg())


def page(folder: Path) -> str:
    """Its markdown, of all files of a folder; models with random weights come last and have no scores."""
    reports = {path.stem: read(path) for path in sorted(folder.glob("*.json"))}
    released = {name: report for name, report in reports.items() if not name.startswith(RANDOM)}
    parts = [HEAD] if released else [HEAD, "**No released model has been run yet.**\n"]
    for name, report in released.items():
        shown = [figure.line() for figure in scores(f"released_{name}", report, name)]
        parts += [
            f"## {name}\n",
            *(f"{line}\n" for line in shown),
            f"{tables(report)}\n",
            f"{measured(report)}\n",
        ]
    if tried := [name for name in reports if name.startswith(RANDOM)]:
        parts.append(
            "## Tried on random weights\n\nThe true configuration with random weights, the bundled model's "
            "tokenizer and a few steps on the longest of a few rows: it runs, and takes so much memory. Scores "
            "would mean nothing, and seconds on that machine little.\n"
        )
        for name in tried:
            plan, on = reports[name]["plan"], reports[name]["machines"][0]
            parts.append(
                f"`{name}`: {plan['batch']} rows a step, on {on.get('gpu', on['processor'])}, {on['threads']} "
                f"thread{'s' * (on['threads'] > 1)}.\n\n{measured(reports[name], clock=False)}\n"
            )
    return "\n".join(parts)


def measured(report: dict, clock: bool = True) -> str:
    """What the check of the machine found: the longest rows, a step of each method; with its seconds or without."""
    lines = []
    for key, cell in report["cells"].items():
        task, method, *rest = key.split("/")
        if rest[0] == "measured":
            what = f"a step, {NAMES[method]}" if rest[1] == "step" else "an answer, no adaptation"
            seconds = f" {cell['seconds']:.2f} |" if clock else ""
            lines.append(f"| {task} | {what} | {cell['bytes'] / 2**30:.1f} |{seconds}")
    return table("task|what|GiB at the peak" + ("|seconds" if clock else ""), lines)
