"""Figures of docs/results: what the results of `accuracy.py` and `accuracy_seconds.py` say, one for each claim.

    python benchmarks/figures.py

Writes docs/results/figures/NAME.svg for every figure whose results are there, and prints for each the line of
markdown that shows it, with the numbers as its alternative text. An SVG holds the points that it draws, as JSON in
its description. Score against image tokens is not among them: no file of results has it yet.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from benchmarks.accuracy_seconds import seconds
from benchmarks.common.accuracy_plans import RELEASED_FOLDER, RESULTS
from benchmarks.common.accuracy_table import NAMES, finals, pooled, share, tasks, unlearnt
from benchmarks.common.baselines import RATES
from benchmarks.common.cells import read
from pixeltune.evaluation.statistics import wilson
from pixeltune.writing import write_atomically

OUT = Path(__file__).parents[1] / "docs" / "results" / "figures"
GREY = "#7a7a7a"  # as far from white as from the dark pages of GitHub and of the site
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pixeltune",
    "font.size": 11,
    "font.family": "sans-serif",
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), GREY),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
}
LOOKS = {  # colour and mark; each at least 3 to 1 on white and on black
    "off": (GREY, "x"),
    "text": ("#8a7a00", "v"),
    "few-shot": ("#b8693d", "P"),
    "artwork": ("#d9480f", "o"),
    "lora4": ("#4f86c6", "s"),
    "lora16": ("#1c7ed6", "s"),
    "lora64": ("#6b7ff0", "s"),
    "prompt": ("#2b8a5e", "^"),
    "full": ("#9c4fc4", "D"),
}
RANDOM = "random"  # begins the name of a model whose weights are: its scores mean nothing
UNLEARNT = "no reward to learn from"
ZOOM = 80  # a panel begins here, in percent, where all of it lies above


@dataclass(frozen=True)
class Figure:
    """One claim."""

    name: str
    alt: str
    """What it shows, with the numbers."""
    points: dict
    """What is drawn, as JSON: panels, of lines by method, of points."""
    draw: Callable[[dict], Canvas]

    def svg(self) -> str:
        """The file's text, the same for the same points and version of matplotlib."""
        with mpl.rc_context(STYLE):
            out = io.StringIO()
            about = {"Date": None, "Title": self.name, "Description": json.dumps(self.points)}
            self.draw(self.points).savefig(out, format="svg", transparent=True, metadata=about)
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"

    def line(self) -> str:
        """Of markdown."""
        return f"![{self.alt}](figures/{self.name}.svg)"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=OUT, help="where they are written")
    arguments = parser.parse_args(argv)
    for figure in figures():
        arguments.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(arguments.folder / f"{figure.name}.svg", figure.svg())
        print(figure.line() + "\n")


def figures(results: Path = RESULTS) -> Iterator[Figure]:
    """All that the files there have points for."""
    for verb in ("sft", "grpo"):
        yield from scores(f"accuracy_{verb}", read(results / f"accuracy_{verb}.json"), verb.upper())
    yield from against_seconds(results)
    yield from against_rows(read(results / "accuracy_sft.json"))
    smol = read(results / "accuracy_smol_sft.json")
    yield from scores("accuracy_smol_sft", smol, "SFT of the second model")
    for path in sorted((results / RELEASED_FOLDER).glob("*.json")):
        if not path.name.startswith(RANDOM):
            yield from scores(f"released_{path.stem}", read(path), path.stem)


def scores(name: str, report: dict, what: str) -> Iterator[Figure]:
    """Right on test rows by task and method, with Wilson intervals."""
    panels: dict[str, dict] = {}
    for task in tasks(report):
        for method in NAMES:
            if cells := finals(report, task, method):
                panels.setdefault(task, {})[method] = _interval(pooled(cells))
            elif unlearnt(report, task, method):
                panels.setdefault(task, {})[method] = []
    panels = {task: panels[task] for task in _ordered(panels) if any(map(panels[task].get, RATES))}
    if panels:
        said = [f"{task}: {_listed(found)}" for task, found in panels.items()]
        alt = f"Right answers on test rows by method, {what}, with 95 % intervals. {'. '.join(said)}."
        yield Figure(name, alt, panels, _dots)


def against_seconds(results: Path) -> Iterator[Figure]:
    """Validation scores against the seconds of training until then."""
    cells, panels, said = read(results / "accuracy_seconds.json")["cells"], {}, []
    for verb in ("sft", "grpo"):
        report = read(results / f"accuracy_{verb}.json")
        for task in _ordered(tasks(report)):
            lines = {}
            for method in NAMES:
                curves = [cell["curve"] for cell in finals(report, task, method).values() if "curve" in cell]
                if curves and (taken := seconds(cells, verb, task, method)):
                    step = statistics.median(taken)
                    means = [
                        (at[0][0] * step, 100 * statistics.mean(point[2] for point in at))
                        for at in zip(*curves, strict=True)
                    ]
                    lines[method] = [[round(x, 2), round(y, 1)] for x, y in means]
            if lines:
                panels[f"{task}, {verb.upper()}"] = lines
                each = (
                    f"{NAMES[m]} {p[0][1]:g} % at {p[0][0]:.1f} s, {p[-1][1]:g} % at {p[-1][0]:.1f} s"
                    for m, p in lines.items()
                )
                said.append(f"{task} by {verb.upper()}: {'; '.join(each)}")
    if panels:
        alt = f"Validation score against seconds of training, first and last point. {'. '.join(said)}."
        yield Figure("accuracy_seconds", alt, panels, partial(_lines, "seconds of training", False))


def against_rows(report: dict) -> Iterator[Figure]:
    """Test scores against the number of training rows, with Wilson intervals."""
    panels: dict[str, dict] = {}
    for key, cell in report["cells"].items():
        task, method, *rest = key.split("/")
        if rest[0] == "rows":
            line = panels.setdefault(task, {}).setdefault(method, [])
            line.append([int(rest[1]), *_interval(cell["right"])])
            line[:] = sorted(line)
    for task, lines in panels.items():
        for method, line in lines.items():  # and all rows, of the same seed
            first = next(iter(finals(report, task, method).values()))
            line.append([report["plan"]["rows"], *_interval(first["right"])])
    if panels:
        said = [
            f"{task}: "
            + "; ".join(
                f"{NAMES[m]} " + ", ".join(f"{p[1]:g} % from {p[0]}" for p in line)
                for m, line in lines.items()
            )
            for task, lines in sorted(panels.items())
        ]
        alt = f"Right answers on test rows against training rows, with 95 % intervals. {'. '.join(said)}."
        points = {task: panels[task] for task in sorted(panels)}
        yield Figure("accuracy_rows", alt, points, partial(_lines, "training rows", True))


def _interval(right: str) -> list[float]:
    """Percent right, and the ends of its interval."""
    return [round(100 * value, 1) for value in (share(right), *wilson(right.count("1"), len(right)))]


def _listed(found: dict[str, list[float]]) -> str:
    said = {m: f"{p[0]:g} % ({p[1]:g} to {p[2]:g})" if p else UNLEARNT for m, p in found.items()}
    return ", ".join(f"{NAMES[method]} {what}" for method, what in said.items())


def _ordered(names: Iterable[str]) -> list[str]:
    """The same order in every figure, what no method was told of last."""
    return sorted(names, key=lambda name: (name == "boxed", name))


def _dots(panels: dict[str, dict]) -> Canvas:
    """A panel for each task, a line for each method; what lies far below the others is named in the margin."""
    methods = [method for method in NAMES if any(method in found for found in panels.values())]
    wide = 2 if len(panels) > 1 else 1
    high = -(-len(panels) // wide)
    canvas = Canvas(figsize=(4.9 * wide, (0.6 + 0.27 * len(methods)) * high + 0.3), layout="constrained")
    for i, (task, found) in enumerate(panels.items()):
        axes = canvas.add_subplot(high, wide, i + 1)
        low = min(p[1] for m, p in found.items() if p and m != "off")
        start = ZOOM if low >= ZOOM else -2
        for method, values in found.items():
            y, (colour, mark) = -methods.index(method), LOOKS[method]
            if not values:
                axes.annotate(f" {UNLEARNT}", (start, y), color=colour, va="center")
                continue
            middle, least, most = values
            if middle < start:
                axes.annotate(f"◂ {middle:g} %", (start, y), color=colour, va="center")
                continue
            axes.plot([least, most], [y, y], color=colour, linewidth=2.5, solid_capstyle="butt")
            axes.plot(middle, y, mark, color=colour, markersize=8)
        axes.set(xlim=(start, 101), ylim=(-len(methods) + 0.4, 0.6), title=task)
        axes.set_yticks([-methods.index(m) for m in found], [NAMES[m] for m in found])
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("% right" if i >= len(panels) - wide else "")
        axes.grid(axis="x", color=GREY, alpha=0.3)
    canvas.get_layout_engine().set(hspace=0.06)
    return canvas


def _lines(label: str, intervals: bool, panels: dict[str, dict]) -> Canvas:
    """A panel for each task, a line for each method."""
    high = -(-len(panels) // 2)
    canvas = Canvas(figsize=(9.8, 2.9 * high + 0.4), layout="constrained")
    handles = {}
    for i, (task, lines) in enumerate(panels.items()):
        axes = canvas.add_subplot(high, 2, i + 1)
        for j, (method, line) in enumerate(lines.items()):
            colour, mark = LOOKS[method]
            x = [p[0] * (1 + 0.05 * j if intervals else 1) for p in line]  # beside, not behind each other
            y = [p[1] for p in line]
            (handles[method],) = axes.plot(x, y, color=colour, marker=mark, linewidth=2, markersize=7)
            if intervals:
                axes.vlines(x, [p[2] for p in line], [p[3] for p in line], color=colour, linewidth=2)
        if intervals:
            axes.set_xscale("log")
            ticks = [p[0] for p in next(iter(lines.values()))]
            axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_locator(FixedLocator(ticks))
        else:
            axes.set_xlim(left=0)
        axes.set(title=task, xlabel=label if i >= len(panels) - 2 else "", ylim=(None, 101))
        axes.set_ylabel("% right" if i % 2 == 0 else "")
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.grid(color=GREY, alpha=0.3)
    named: dict[str, Any] = {"loc": "outside upper center", "ncols": len(handles), "frameon": False}
    canvas.get_layout_engine().set(hspace=0.06)
    canvas.legend(list(handles.values()), [NAMES[method] for method in handles], **named)
    return canvas


if __name__ == "__main__":
    main()
