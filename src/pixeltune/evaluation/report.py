"""What an evaluation says: scores, intervals, tests on the same rows, one sentence; as table and markdown."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pixeltune.errors import escaped
from pixeltune.evaluation.contrast import marked
from pixeltune.evaluation.scoring import Result, result, score_of
from pixeltune.evaluation.statistics import bootstrap, holm, mcnemar
from pixeltune.tasks.base import Task

LEVEL = 0.05
WIDE = 1000
"""Columns of a page that nothing has to be cut for: tables are as wide as what is in them."""


@dataclass(frozen=True)
class Report:
    """An evaluation. Printed, it is its tables and verdicts."""

    model: str
    tasks: dict[str, dict]
    """By task, see `summary`."""
    refusals: dict[str, dict]
    """By candidate, the shares of harmful and harmless requests that it refused."""
    about: str
    folder: Path
    failed: int
    """Requests that got no answer."""
    ratios: dict[str, dict[str, list[dict]]] = field(default_factory=dict)
    """By task and candidate, records of answers with ``ratios``, where those were asked for."""

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """Mean scores by task and candidate."""
        return {
            task: {name: one["score"] for name, one in part["candidates"].items()}
            for task, part in self.tasks.items()
        }

    def as_dict(self) -> dict:
        """What ``report.json`` holds."""
        return {"model": self.model, "tasks": self.tasks, "refusals": self.refusals, "about": self.about}

    def __repr__(self) -> str:
        return f"Report({self.scores}, folder={str(self.folder)!r})"

    def __str__(self) -> str:
        from rich.console import Console

        text = io.StringIO()
        console = Console(file=text, width=WIDE)
        self.print(console)
        return text.getvalue().rstrip()

    def print(self, console: Any) -> None:
        """Tables and verdicts on a rich console."""
        from rich import box
        from rich.table import Table

        for name, part in self.tasks.items():
            header, cells = lines(part)
            table = Table(title=_plain(f"{name}, {part['rows']} rows"), box=box.SIMPLE, padding=(0, 1, 0, 0))
            table.add_column(header[0], overflow="fold")  # a name is never cut
            for title in header[1:]:
                table.add_column(title, justify="right", no_wrap=True)
            for line in cells:
                table.add_row(*map(_plain, line))
            console.print(table)
            console.print(_plain(part["verdict"]), soft_wrap=True)
            for one, records in self.ratios.get(name, {}).items():
                console.print(
                    _plain(f"{one}, in brackets what the picture changes, by ln of with / without:")
                )
                for record in records:
                    said = "\n\n".join(marked(pieces) for pieces in record["ratios"])
                    console.print(_plain(f"  {record['id']}: {said}"), soft_wrap=True)
        console.print(_plain(refusal_line(self.refusals)), soft_wrap=True)


def summary(
    results: dict[str, Result],
    rows: list[dict],
    task: Task,
    against: str,
    groups: Sequence[str] | None = None,
) -> dict:
    """One task's part of a report, as JSON.

    Args:
        results: by candidate, on the same rows.
        rows: those rows.
        task: whose ``metrics`` are added, where it has any.
        against: the candidate that the others are compared with.
        groups: by row, in place of what the rows say.

    Returns:
        ``rows`` (how many), ``candidates`` (per candidate score, n, ci95, failed, mean prompt and
        completion tokens and seconds, ``groups`` where rows have any, ``turns`` (see :func:`by_turns`) where
        there were several, ``metrics``), ``tests`` (see :func:`tests`) and ``verdict``.
    """
    scored = {}
    for name, got in results.items():
        scored[name] = {
            **got.summary(),
            **{key: _mean(got.records, key) for key in ("prompt_tokens", "completion_tokens", "latency")},
        }
        if groups or any("group" in row for row in rows):
            scored[name]["groups"] = _groups(got, groups or [row.get("group", "") for row in rows])
        if task.next_turn and len(turns := by_turns(got, rows, task)) > 1:
            scored[name]["turns"] = turns
        if task.metrics:
            scored[name]["metrics"] = _metrics(got, rows, task)
    compared = tests(results, against)
    return {
        "rows": len(rows),
        "candidates": scored,
        "tests": compared,
        "verdict": verdict(scored, compared),
    }


def by_turns(got: Result, rows: list[dict], task: Task) -> list[dict]:
    """The score if an episode may have so many turns of the model and no more (MINT, arXiv 2309.10691).

    What was said is cut there: answers are greedy, and nobody is told how many turns there are, so the first ones of a
    longer episode are those of a shorter one. Nothing is asked again.

    Args:
        got: of a candidate.
        rows: that it was asked.
        task: with several turns.

    Returns:
        For 1 turn, 2, and so on to the longest episode: ``turns``, ``score``, ``ci95``, ``n`` (rows), and ``ended``,
        the share of episodes that need no further turn.
    """
    said = [record for record in got.records if not record["error"]]
    out = []
    for turns in range(1, 1 + max((len(record["completions"]) for record in said), default=0)):
        cut = [
            {**record, "score": score_of(task, rows[record["row"]], record["completions"][:turns])}
            for record in said
        ]
        part, ended = result(cut), sum(len(record["completions"]) <= turns for record in said)
        one = {
            "turns": turns,
            "score": part.score,
            "ci95": part.ci95,
            "n": part.n,
            "ended": ended / len(said),
        }
        out.append(one)
    return out


def tests(results: dict[str, Result], against: str) -> list[dict]:
    """``against`` compared with every other candidate, row by row, on the rows that both answered.

    McNemar's exact test where every row is right or wrong, else a paired bootstrap; the p values are
    corrected for their number by Holm's method, over all tests of the list.
    """
    out = []
    for name, other in results.items():
        if name == against:
            continue
        pairs = [
            (ours["score"], theirs["score"])
            for ours, theirs in zip(results[against].records, other.records, strict=True)
            if not ours["error"] and not theirs["error"]
        ]
        if not pairs:
            continue
        a, b = zip(*pairs, strict=True)
        binary = set(a) | set(b) <= {0.0, 1.0}
        difference, low, high, p = bootstrap(a, b)
        out.append(
            {
                "a": against,
                "b": name,
                "n": len(pairs),
                "difference": difference,
                "ci95": (low, high),
                "method": "McNemar, exact" if binary else "paired bootstrap",
                "p": mcnemar(a, b) if binary else p,
            }
        )
    for test, p in zip(out, holm([test["p"] for test in out]), strict=True):
        test["p_holm"], test["significant"] = p, p < LEVEL
    return out


def verdict(candidates: dict[str, dict], compared: Sequence[dict]) -> str:
    """One sentence; it uses the word "significant" only where a test says so."""
    failed = sum(one["failed"] for one in candidates.values())
    end = f" Requests that failed and are in no score: {failed}." if failed else ""
    if not compared:
        name, one = next(iter(candidates.items()))
        return f"{name}: {one['score']:.1%}; nothing to compare it with.{end}"
    against = compared[0]["a"]
    parts = []
    for test in compared:
        points = f"{100 * test['difference']:+.1f} points against {test['b']}"
        if test["significant"]:
            parts.append(f"{points} (significant, {_p(test['p_holm'])})")
        else:
            parts.append(f"{points} (could be chance, {_p(test['p_holm'])})")
    many = f", corrected for {len(compared)} comparisons" if len(compared) > 1 else ""
    return f"{against}: {candidates[against]['score']:.1%}; {'; '.join(parts)}{many}.{end}"


def lines(report: dict) -> tuple[list[str], list[list[str]]]:
    """Header and cells of one task's table, the same for a terminal and for markdown.

    ``prompt`` and ``answer`` are mean tokens per row, ``p`` is corrected for the number of comparisons.
    """
    ps = {test["b"]: test for test in report["tests"]}
    header = ["candidate", "score", "95 % interval", "rows", "failed", "prompt", "answer", "p"]
    cells = []
    for name, one in report["candidates"].items():
        low, high = one["ci95"]
        score = [f"{one['score']:.1%}", f"{low:.1%} to {high:.1%}"] if one["n"] else ["-", "-"]
        tokens = ["-" if one[k] is None else f"{one[k]:.0f}" for k in ("prompt_tokens", "completion_tokens")]
        p = _p(ps[name]["p_holm"]).removeprefix("p = ").removeprefix("p ") if name in ps else ""
        cells.append([name, *score, str(one["n"]), str(one["failed"]), *tokens, p])
        for group, (share, n) in one.get("groups", {}).items():
            cells.append([f"  {group}", f"{share:.1%}" if n else "-", "", str(n), "", "", "", ""])
        for part in one.get("turns", []):
            low, high = part["ci95"]
            within = (
                f"  within {part['turns']} turn{'s' if part['turns'] > 1 else ''}, {part['ended']:.0%} ended"
            )
            cells.append(
                [within, f"{part['score']:.1%}", f"{low:.1%} to {high:.1%}", str(part["n"]), "", "", "", ""]
            )
        for metric, value in one.get("metrics", {}).items():
            cells.append([f"  {metric}", f"{value:.3f}", "", "", "", "", "", ""])
    return header, cells


def markdown(report: dict) -> str:
    """The whole report as a markdown document."""
    out = [f"# Evaluation of {report['model']}", ""]
    for name, part in report["tasks"].items():
        header, cells = lines(part)
        out += [f"## {name}, {part['rows']} rows", "", _row(header), _row(["---"] * len(header))]
        out += [_row([cell.replace("  ", "&nbsp;&nbsp;") for cell in line]) for line in cells]
        out += ["", part["verdict"], ""]
    out += [refusal_line(report["refusals"]), "", report["about"], ""]
    return "\n".join(out)


def refusal_line(refusals: dict[str, dict]) -> str:
    """The share of harmful requests that each candidate refused, in one sentence."""
    shares = "; ".join(
        f"{name} {one['harmful']:.0%} of {one['n_harmful']} "
        f"(and {one['harmless']:.0%} of {one['n_harmless']} harmless)"
        for name, one in refusals.items()
    )
    return f"Plainly harmful requests refused: {shares}."


def _metrics(got: Result, rows: list[dict], task: Task) -> dict[str, float]:
    """A task's own figures over the rows that were answered."""
    said = [record for record in got.records if not record["error"]]
    answers = [r["completions"] if task.next_turn else r["completions"][0] for r in said]
    return task.metrics([rows[r["row"]] for r in said], answers) if said else {}


def _groups(got: Result, groups: Sequence[str]) -> dict[str, tuple[float, int]]:
    """Mean score and rows of each group, in the order of their first row."""
    out = {}
    for group in dict.fromkeys(groups):
        part = result([r for r in got.records if groups[r["row"]] == group])
        out[group] = (part.score, part.n)
    return out


def _plain(text: str) -> Any:
    """A text that says nothing to a terminal, and nothing to rich, whose markup stands in brackets."""
    from rich.text import Text

    return Text(escaped(text))


def _mean(records: list[dict], key: str) -> float | None:
    values = [r[key] for r in records if not r["error"]]
    return sum(values) / len(values) if values and None not in values else None


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
