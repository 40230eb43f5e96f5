"""The results of `accuracy.py` as markdown: scores, learning curves, training rows, and what is lost."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from pixeltune.evaluation.statistics import bootstrap, holm, mcnemar, wilson

NAMES = {
    "off": "no adaptation",
    "text": "text prompt",
    "few-shot": "few-shot",
    "artwork": "artwork",
    "lora4": "LoRA r=4",
    "lora16": "LoRA r=16",
    "lora64": "LoRA r=64",
    "prompt": "soft prompt",
    "full": "full fine-tuning",
}


def tables(report: dict, before: dict | None = None) -> str:
    """All tables of a report, those without a cell left out.

    Args:
        report: see `cells.read`.
        before: the report of the trainings that these went on from.
    """
    parts = [
        scores(report),
        gains(report, before) if before else "",
        transfers(report),
        curves(report),
        rows(report),
        lost(report),
        lost_of_few(report),
    ]
    return "\n\n".join(part for part in parts if part)


def scores(report: dict) -> str:
    """Test scores by task and method, and the artwork against each method on the same rows."""
    pairs = compared(report)
    corrected = dict(zip(pairs, holm([mcnemar(*pair) for pair in pairs.values()]), strict=True))
    lines = []
    for name in tasks(report):
        for method in NAMES:
            if not (cells := finals(report, name, method)):
                lines += [f"| {name} | {NAMES[method]} | {why} |" for why in unlearnt(report, name, method)]
                continue
            right = pooled(cells)
            each = [100 * share(cell["right"]) for cell in cells.values()]
            against = "| |"
            if (name, method) in pairs:
                points, low, high = (100 * value for value in bootstrap(*pairs[name, method])[:3])
                p = corrected[name, method]
                p = "<0.001" if p < 0.001 else f"{p:.3f}"
                against = f"{points:+.1f} ({low:+.1f} to {high:+.1f}) | {p} |"
            first = next(iter(cells.values()))
            seconds = [cell["seconds"] for cell in cells.values() if "seconds" in cell]
            cost = f"{first['trained_numbers']:,} | {statistics.median(seconds):.0f}" if seconds else "|"
            lines.append(
                f"| {name} | {NAMES[method]} | {chosen(report, method, first)} | {interval(right)} "
                f"| {statistics.mean(each):.1f} ({min(each):.1f} to {max(each):.1f}) | {against} "
                f"{cost} |"
            )
    return table(
        "task|method|chosen on validation rows|right on test rows, all seeds (95 %)|mean of seeds (range)"
        "|artwork minus method, points (95 %)|p (McNemar, Holm)|trained numbers|seconds of training",
        lines,
    )


def gains(report: dict, before: dict) -> str:
    """Test scores before and after, on the same rows of the same seeds."""
    lines = []
    for name in tasks(report):
        for method in NAMES:
            ours, theirs = finals(report, name, method), finals(before, name, method)
            both = [seed for seed in ours if seed in theirs and "trained_numbers" in ours[seed]]
            if not both:
                continue
            after, start = ("".join(cells[seed]["right"] for seed in both) for cells in (ours, theirs))
            points, low, high = (100 * value for value in bootstrap(floats(after), floats(start))[:3])
            gain = f"{points:+.1f} ({low:+.1f} to {high:+.1f})"
            lines.append(f"| {name} | {NAMES[method]} | {interval(start)} | {interval(after)} | {gain} |")
    return table("task|method|before (95 %)|after (95 %)|gain, points (95 %)", lines)


def transfers(report: dict) -> str:
    """Test scores on tasks that nothing was trained on, of what was trained, or told, for another."""
    lines = []
    for name in tasks(report):
        for method in NAMES:
            found: dict[str, str] = {}
            for cell in finals(report, name, method).values():
                for other, right in cell.get("transfers", {}).items():
                    found[other] = found.get(other, "") + right
            lines += [f"| {name} | {NAMES[method]} | {other} | {interval(found[other])} |" for other in found]
    return table("trained on, or told for|method|asked|right on test rows, all seeds (95 %)", lines)


def curves(report: dict) -> str:
    """Validation scores after so many steps, with the seconds of training until then; means over seeds."""
    lines, every = [], [point for cell in report["cells"].values() for point in cell.get("curve", [])]
    steps = sorted({point[0] for point in every})
    for name in tasks(report):
        for method in NAMES:
            taken = [cell["curve"] for cell in finals(report, name, method).values() if cell.get("curve")]
            points = [[p for curve in taken for p in curve if p[0] == step] for step in steps]
            shown = [
                f"{100 * statistics.mean(p[2] for p in at):.1f} ({statistics.mean(p[1] for p in at):.1f} s)"
                if at
                else ""
                for at in points
            ]
            lines += [f"| {name} | {NAMES[method]} | {' | '.join(shown)} |"] if taken else []
    return table("|".join(["task", "method", *(f"step {step}" for step in steps)]), lines)


def rows(report: dict) -> str:
    """Test scores after training on fewer rows."""
    lines, fewer = [], {}
    for key, cell in report["cells"].items():
        name, method, *rest = key.split("/")
        if rest[0] == "rows":
            fewer.setdefault((name, method), {}).setdefault(int(rest[1]), []).append(cell)
    sizes = sorted({n for sizes in fewer.values() for n in sizes})
    for (name, method), by_size in fewer.items():
        counts = sorted({len(cells) for cells in by_size.values()})
        seeds = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
        usual = list(finals(report, name, method).values())[: counts[-1]]
        taken = [by_size.get(n, []) for n in sizes] + [usual]
        shown = [interval("".join(cell["right"] for cell in cells)) if cells else "" for cells in taken]
        lines.append(f"| {name} | {NAMES[method]} | {seeds} | {' | '.join(shown)} |")
    usual = f"{report['plan']['rows']} rows" if lines else ""
    return table("|".join(["task", "method", "seeds", *(f"{n} rows" for n in sizes), usual]), lines)


def lost(report: dict) -> str:
    """Other tasks with an adaptation on, and the same task with it off."""
    lines = []
    for name in tasks(report):
        for method in NAMES:
            for seed, cell in finals(report, name, method).items():
                off = f"{cell['off_identical']} of {len(cell['right'])}" if "off_identical" in cell else ""
                others = cell.get("others") or ({"": {}} if off else {})
                for other, kinds in others.items():
                    shown = ["", "", ""]
                    base = report["cells"].get(f"{other}/off/{seed}")
                    if kinds and base:
                        points, low, high = bootstrap(floats(kinds["told"]), floats(base["told"]))[:3]
                        shown = [interval(base["told"]), interval(kinds["told"])]
                        shown.append(f"{100 * points:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})")
                    lines.append(f"| {name} | {NAMES[method]} | {other} | {' | '.join(shown)} | {off} |")
                    off = ""
    return table(
        "trained on|method|asked and told|base model|with the adaptation|difference, points (95 %)"
        "|switched off: texts identical to the base model's",
        lines,
    )


def lost_of_few(report: dict) -> str:
    """Other tasks with an adaptation that was trained on a few rows, seeds together."""
    found: dict[tuple[str, int, str, str], list[tuple[str, str]]] = {}
    for key, cell in report["cells"].items():
        name, method, *rest = key.split("/")
        for other, kinds in cell.get("others", {}).items() if rest[0] == "rows" else ():
            if base := report["cells"].get(f"{other}/off/{rest[2]}"):
                place = found.setdefault((name, int(rest[1]), method, other), [])
                place.append((kinds["told"], base["told"]))
    lines = []
    for (name, n, method, other), pairs in sorted(found.items()):
        ours, theirs = ("".join(marks) for marks in zip(*pairs, strict=True))
        points, low, high = (100 * value for value in bootstrap(floats(ours), floats(theirs))[:3])
        difference = f"{points:+.1f} ({low:+.1f} to {high:+.1f})"
        lines.append(
            f"| {name} | {n} | {NAMES[method]} | {other} | {len(pairs)} | {interval(theirs)} | {interval(ours)} "
            f"| {difference} |"
        )
    return table(
        "trained on|rows|method|asked and told|seeds|base model|with the adaptation|difference, points (95 %)",
        lines,
    )


def tasks(report: dict) -> list[str]:
    return list(dict.fromkeys(key.split("/")[0] for key in report["cells"]))


def finals(report: dict, name: str, method: str) -> dict[int, dict]:
    """The test cells of a method by seed."""
    words = {key: key.split("/") for key in report["cells"]}
    found = [key for key, parts in words.items() if parts[:2] == [name, method] and len(parts) == 3]
    return {int(words[key][2]): report["cells"][key] for key in sorted(found)}


def compared(report: dict) -> dict[tuple[str, str], tuple[list[float], list[float]]]:
    """For each task and method: the artwork's and the method's scores on the same rows of the same seeds."""
    out = {}
    for name in tasks(report):
        ours = finals(report, name, "artwork")
        for method in NAMES:
            theirs = finals(report, name, method)
            both = [seed for seed in ours if seed in theirs]
            if method != "artwork" and both:
                a, b = ("".join(cells[seed]["right"] for seed in both) for cells in (ours, theirs))
                out[name, method] = floats(a), floats(b)
    return out


def chosen(report: dict, method: str, cell: dict) -> str:
    """The configuration, and whether it lies at the edge of the grid, where a better one may be beyond."""
    if "choice" not in cell:
        return ""
    if method == "text":
        return f'"{cell["choice"]}"'
    if method == "few-shot":
        return f"{cell['choice']} shown"
    rates = report["rates"][method]
    return f"{cell['choice']:g}{' (edge)' if cell['choice'] in (rates[0], rates[-1]) else ''}"


def unlearnt(report: dict, name: str, method: str) -> list[str]:
    """Why a method that was tuned has no test score."""
    tuned = [cell for key, cell in report["cells"].items() if key.startswith(f"{name}/{method}/tune/")]
    n = report.get("plan", {}).get("batch", 0)
    return [
        f"no group of completions was rewarded unevenly ({cell['steps'] * n} completions) | | | | | | "
        for cell in tuned
        if cell.get("lessons") == 0
    ]


def pooled(cells: dict[int, dict]) -> str:
    return "".join(cell["right"] for cell in cells.values())


def share(right: str) -> float:
    return right.count("1") / len(right)


def floats(right: str) -> list[float]:
    return [float(mark) for mark in right]


def interval(right: str) -> str:
    low, high = wilson(right.count("1"), len(right))
    return f"{share(right):.1%} ({low:.1%} to {high:.1%}), n = {len(right)}"


def table(head: str, lines: Sequence[str]) -> str:
    """A markdown table, nothing without lines."""
    if not lines:
        return ""
    columns = head.split("|")
    return "\n".join([f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}", *lines])
