"""``pixeltune eval``: several ways of asking one frozen model, on the same rows of one or more tasks."""

from __future__ import annotations

import datetime
import hashlib
import json
from argparse import Namespace
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pixeltune import __version__
from pixeltune.data.images import check_pictures, sha256
from pixeltune.data.origin import Row
from pixeltune.data.placeholders import check_rows, placeholder_tokens
from pixeltune.errors import UserError
from pixeltune.evaluation.backends import Backend, InProcess, OnEngine, wearing
from pixeltune.evaluation.candidates import Candidate, candidates
from pixeltune.evaluation.report import lines, markdown, refusal_line, summary
from pixeltune.evaluation.scoring import Result, opening, score_rows
from pixeltune.tasks import own
from pixeltune.tasks.base import Task, find_rows, find_task, is_benchmark
from pixeltune.tasks.synthetic import refusals
from pixeltune.writing import write_atomically

SEED = 0  # of the draw of rows and examples


@dataclass(frozen=True)
class Plan:
    """One task to be scored on."""

    name: str
    task: Task
    rows: list[dict]
    heads: dict[str, list[dict]]
    """By candidate, what stands in front of every request."""


def run(arguments: Namespace) -> int:
    """Score every candidate on every task, write the report, print tables and verdicts.

    Returns:
        The exit status: 1 if a request failed.

    Raises:
        ValueError: anything wrong with tasks, data, candidates or model, before the model loads.
        RuntimeError: the engine is gone; what it answered is kept.
    """
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    field = candidates(arguments.compare or [arguments.artwork or "off"], bool(arguments.engine))
    plans = [_plan(name, field, arguments) for name in arguments.task]
    harmful = Plan("refusals", refusals.TASK, refusals.rows(), plans[0].heads)
    systems = _Engines(arguments, plans, field) if arguments.engine else _Models(arguments, plans, field)
    results: dict[str, dict[str, Result]] = {plan.name: {} for plan in [*plans, harmful]}
    with Progress(transient=True) as bar:
        for one in field:
            with systems.of(one) as system:
                for plan in [*plans, harmful]:
                    line = bar.add_task(f"{plan.name}, {one.name}", total=len(plan.rows))
                    results[plan.name][one.name] = score_rows(
                        plan.task,
                        plan.rows,
                        system,
                        plan.heads[one.name],
                        lambda done, n, line=line: bar.update(line, completed=done),
                        _journal(plan, one, arguments),
                    )
                    bar.remove_task(line)
    report = _report(arguments, plans, results, harmful)
    folder = Path(arguments.output)
    write_atomically(folder / "report.json", json.dumps(report, indent=2) + "\n")
    write_atomically(folder / "report.md", markdown(report))
    console = Console()
    for name, part in report["tasks"].items():
        header, cells = lines(part)
        table = Table(title=f"{name}, {part['rows']} rows")
        for title in header:
            table.add_column(title, justify="left" if title == "system" else "right")
        for line in cells:
            table.add_row(*line)
        console.print(table)
        console.print(part["verdict"], highlight=False, soft_wrap=True)
    console.print(refusal_line(report["refusals"]), highlight=False, soft_wrap=True)
    print(f"{folder}/report.md")
    return int(any(got.failed for by_name in results.values() for got in by_name.values()))


def _plan(name: str, field: list[Candidate], arguments: Namespace) -> Plan:
    """Rows of a task, or of the user's own file where ``--reward`` tells how to score them."""
    if arguments.reward:
        task, rows = own.read(arguments.data, arguments.reward, arguments.max_new_tokens)
        rows = rows[: arguments.rows or None]
        if bad := next((one.name for one in field if one.best or one.shots), None):
            raise UserError(f"{bad} needs a task that knows its best prompt and examples: use prompt:FILE")
        return Plan(name, task, rows, {one.name: list(one.told) for one in field})
    folder = arguments.data if is_benchmark(name) else None
    rows = find_rows(name, "test", arguments.rows or None, SEED, folder)
    heads = {one.name: one.head(name, folder, SEED) for one in field}
    return Plan(name, find_task(name), rows, heads)


class _Engines:
    """Candidates on a running engine."""

    def __init__(self, arguments: Namespace, plans: list[Plan], field: list[Candidate]):
        from pixeltune.engines.engine import Engine

        self.concurrency = arguments.concurrency
        self.open = partial(
            Engine, arguments.engine, api_key=arguments.api_key, tool_choice=arguments.tool_choice
        )
        self.default = self.open(model=arguments.engine_model)
        tokens = sorted({token for one in field for token in one.tokens})
        for plan in plans:
            _check_words(plan, tokens)

    def of(self, one: Candidate) -> AbstractContextManager[Backend]:
        engine = self.open(model=one.source) if one.kind == "model" else self.default
        return nullcontext(OnEngine(engine, one.data_url(), self.concurrency))


class _Models:
    """Candidates in this process; the base model is loaded once, and once more for every adapter."""

    def __init__(self, arguments: Namespace, plans: list[Plan], field: list[Candidate]):
        from pixeltune.model.loading import context_length, load_processor

        self.arguments, self.base = arguments, None
        self.processor = load_processor(arguments.model, arguments.revision)
        for plan in plans:
            _check_words(plan, placeholder_tokens(self.processor))
            if any(row.get("images") for row in plan.rows):
                from pixeltune.model.preprocessing import Preprocessor

                check_pictures(plan.rows, Preprocessor(self.processor).check_picture)
        limit = context_length(arguments.model, arguments.revision)
        for plan in plans if limit is not None else ():
            _check_lengths(plan, field, self.processor, limit)

    def of(self, one: Candidate) -> AbstractContextManager[Backend]:
        from pixeltune.model.loading import load_model

        told, name, chunk = self.arguments, self.arguments.model, self.arguments.batch_size
        base = name, told.revision, told.dtype or "auto", told.bits, told.device_map
        if one.kind == "adapter":
            from peft import PeftModel

            try:
                model = PeftModel.from_pretrained(load_model(*base), one.source).eval()
            except (OSError, ValueError, RuntimeError, KeyError) as error:
                raise UserError(f"{one.source} does not fit {name}: {str(error).splitlines()[0]}") from error
            return nullcontext(InProcess(model, self.processor, chunk=chunk))
        self.base = self.base or load_model(*base)
        if one.picture is not None:
            return wearing(self.base, self.processor, one.picture, chunk)
        return nullcontext(InProcess(self.base, self.processor, chunk=chunk))


def _check_words(plan: Plan, tokens: Sequence[str]) -> None:
    """Refuse rows, and what is told in front of them, that quote a picture token.

    Raises:
        UserError: naming the row, or who is told it.
    """
    check_rows(plan.rows, tokens)
    for name, head in plan.heads.items():
        told = Row(prompt=head)
        told.where = f"what {name} is told"
        check_rows([told], tokens)


def _check_lengths(plan: Plan, field: list[Candidate], processor: Any, limit: int) -> None:
    """Refuse rows that do not fit into the model's context with their answer.

    Raises:
        ValueError: naming the first of them.
    """
    from pixeltune.model.preprocessing import Preprocessor

    preprocessor, pictures = (
        Preprocessor(processor),
        {},
    )  # image tokens of the largest picture, by the words in front
    for one in field:
        tokens = preprocessor.tokens(one.picture.height, one.picture.width) if one.picture is not None else 0
        words = json.dumps(plan.heads[one.name])
        pictures[words] = max(tokens, pictures.get(words, 0))
    for words, tokens in pictures.items():
        openings = [opening(row, json.loads(words)) for row in plan.rows]
        lengths = InProcess(None, processor).prompt_lengths(
            [o[0] for o in openings], [o[1] for o in openings]
        )
        most = limit - tokens - plan.task.max_new_tokens
        if long := [i for i, length in enumerate(lengths) if length > most]:
            i = long[0]
            raise UserError(
                f"{plan.name}, row {plan.rows[i].get('id', i)} (and {len(long) - 1} more): "
                f"{lengths[i] + tokens} tokens and {plan.task.max_new_tokens} of an answer do not fit into "
                f"the model's {limit}: leave them out, or take a model with a longer context"
            )


def _journal(plan: Plan, one: Candidate, arguments: Namespace) -> Path:
    """Where the records of an evaluation go: the same name means the same rows, asked the same way."""
    settings = {
        "rows": [_hashed(row) for row in plan.rows],
        "head": plan.heads[one.name],
        "candidate": one.identity(),
        "model": [arguments.engine, arguments.engine_model] if arguments.engine else [arguments.model],
        "revision": arguments.revision,
        "max_new_tokens": plan.task.max_new_tokens,
        **({"dtype": arguments.dtype, "bits": arguments.bits} if arguments.dtype or arguments.bits else {}),
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    stem = "".join(c if c.isalnum() or c in "-_." else "-" for c in f"{plan.name}-{one.name}")
    return Path(arguments.output) / "rows" / f"{stem}-{digest}.jsonl"


def _hashed(row: dict) -> dict:
    """A row as JSON: its pictures by their hashes."""
    if not row.get("images"):
        return row
    return {**row, "images": [sha256(image) for image in row["images"]]}


def _report(arguments: Namespace, plans: list[Plan], results: dict, harmful: Plan) -> dict:
    where = f"engine {arguments.engine}" if arguments.engine else "in process"
    return {
        "model": arguments.engine_model or arguments.model,
        "tasks": {plan.name: summary(results[plan.name], plan.rows, plan.task) for plan in plans},
        "refusals": {name: _refusals(got, harmful.rows) for name, got in results["refusals"].items()},
        "about": f"pixeltune {__version__}, {where}, {datetime.date.today()}, greedy, test split; "
        "Wilson intervals (bootstrap where rows earn part of a point), Holm's p.",
    }


def _refusals(got: Result, rows: list[dict]) -> dict[str, float]:
    """Shares of harmful and of harmless requests refused, of those that were answered."""
    out = {}
    for name in ("harmful", "harmless"):
        wanted = name == "harmful"
        answered = [r for r in got.records if not r["error"] and rows[r["row"]]["harmful"] == wanted]
        said = [record["completions"][0] for record in answered]
        out |= {name: refusals.share(said), f"n_{name}": len(said)}
    return out
