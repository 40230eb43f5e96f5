"""The results of `samples.py` as markdown, seeds together: one table for each part."""

from __future__ import annotations

import statistics

from benchmarks.common.accuracy_table import floats, interval, share
from pixeltune.evaluation.statistics import bootstrap

POOL_WAYS = {
    "likeliest": "the likeliest (`--keep likeliest`)",
    "random": "drawn from the pool",
    "sayable": "those that can be said",
}
ROUND_WAYS = {"rounds": "rounds of `sample --keep right` and `sft`", "grpo": "`grpo`"}
PAIRS = {"start": "the first picture", "stale": "`dpo`, stale pairs", "fresh": "`dpo`, fresh pairs"}
OWN = {"none": "no picture", "references": "references", "own": "own right answers"}
OTHERS = {"calls": ["sums", "turns"], "sums": ["calls", "turns"]}
Cells = dict[str, dict]


def table(cells: Cells) -> str:
    """All parts that have a cell."""
    parts = [pool(cells), rounds(cells), pairs(cells), own(cells)]
    return "\n\n".join("\n".join(lines) for lines in parts if len(lines) > 2)


def pool(cells: Cells) -> list[str]:
    lines = ["| SFT on | that can be said | right | to those drawn, points |", "|---|---|---|---|"]
    drawn = of(cells, "pool/random")
    for way, name in POOL_WAYS.items():
        if found := of(cells, f"pool/{way}"):
            kept = [cell["kept"] for cell in found.values()]
            sayable = sum(next(iter(one.values())) for one in kept) / sum(sum(one.values()) for one in kept)
            against = difference(found, drawn) if way != "random" else ""
            lines.append(f"| {name} | {sayable:.0%} | {interval(pooled(found))} | {against} |")
    return lines


def rounds(cells: Cells) -> list[str]:
    lines = [
        "| task | way | right | behind each round, mean | rows kept | of GRPO's score |",
        "|---|---|---|---|---|---|",
    ]
    for task in dict.fromkeys(key.split("/")[1] for key in cells if key.startswith("rounds/")):
        grpo = of(cells, f"rounds/{task}/grpo")
        for way, name in ROUND_WAYS.items():
            found = of(cells, f"rounds/{task}/{way}")
            both = [seed for seed in found if seed in grpo]
            ratio = after = kept = ""
            if found and way == "rounds":
                after = means([cell["after"] for cell in found.values()], ".1%")
                kept = means([cell["rows"] for cell in found.values()], ".0f")
                theirs = share(pooled(grpo, both)) if both else 0.0
                ratio = f"{share(pooled(found, both)) / theirs:.1%}" if theirs else ""
            if found:
                lines.append(f"| {task} | {name} | {interval(pooled(found))} | {after} | {kept} | {ratio} |")
    return lines


def pairs(cells: Cells) -> list[str]:
    lines = ["| picture | right | pairs a round, mean | to stale pairs, points |", "|---|---|---|---|"]
    stale = of(cells, "pairs/stale")
    for way, name in PAIRS.items():
        if found := of(cells, f"pairs/{way}"):
            made = means([cell["pairs"] for cell in found.values()], ".0f")
            against = difference(found, stale) if way == "fresh" else ""
            lines.append(f"| {name} | {interval(pooled(found))} | {made} | {against} |")
    return lines


def own(cells: Cells) -> list[str]:
    lines = [
        "| painted for | on | right there | other task, told in words | right | nats a token "
        "| to references, nats a token, mean of rows |",
        "|---|---|---|---|---|---|---|",
    ]
    for task, others in OTHERS.items():
        theirs = of(cells, f"own/{task}/references")
        for way, name in OWN.items():
            found = of(cells, f"own/{task}/{way}")
            for other in others if found else ():
                told = "".join(cell["others"][other]["right"] for cell in found.values())
                rows = [row for cell in found.values() for row in cell["others"][other]["losses"]]
                loss = sum(nats for nats, _ in rows) / sum(tokens for _, tokens in rows)
                both = [seed for seed in found if seed in theirs]
                against = ""
                if way == "own" and both:
                    seen, low, high = bootstrap(*(per_token(one, other, both) for one in (found, theirs)))[:3]
                    against = f"{seen:+.3f} ({low:+.3f} to {high:+.3f})"
                there = interval(pooled(found)) if way != "none" else ""
                lines.append(
                    f"| {task} | {name} | {there} | {other} | {interval(told)} | {loss:.3f} | {against} |"
                )
    return lines


def said(cell: dict) -> dict:
    """A cell in a line, without what is long."""
    short = {name: value for name, value in cell.items() if name not in ("right", "others")}
    return ({"right": share(cell["right"])} if cell["right"] else {}) | short


def per_token(found: Cells, other: str, seeds: list[str]) -> list[float]:
    return [nats / tokens for seed in seeds for nats, tokens in found[seed]["others"][other]["losses"]]


def of(cells: Cells, name: str) -> Cells:
    """A way's cells by seed."""
    return {
        key.rpartition("/")[2]: cell for key, cell in sorted(cells.items()) if key.rpartition("/")[0] == name
    }


def means(rounds: list[list[float]], form: str) -> str:
    """The mean over seeds of what each round has."""
    return ", ".join(format(statistics.mean(at), form) for at in zip(*rounds, strict=True))


def pooled(found: Cells, seeds: list[str] | None = None) -> str:
    return "".join(found[seed]["right"] for seed in (found if seeds is None else seeds))


def difference(found: Cells, others: Cells) -> str:
    """Of the same rows, in points."""
    both = [seed for seed in found if seed in others]
    if not both:
        return ""
    points, low, high = (
        100 * v for v in bootstrap(floats(pooled(found, both)), floats(pooled(others, both)))[:3]
    )
    return f"{points:+.1f} ({low:+.1f} to {high:+.1f})"
