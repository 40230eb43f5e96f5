"""``pixeltune eval``: several ways of asking one frozen model, on the same rows of one or more tasks."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pixeltune.data.contexts import CONTEXTS, OWN, read_contexts
from pixeltune.data.images import sha256
from pixeltune.errors import UserError
from pixeltune.errors.checking import check_arguments
from pixeltune.evaluation import journal
from pixeltune.evaluation.bars import Standing, bars, titled
from pixeltune.evaluation.candidates import Candidate, candidates, reference
from pixeltune.evaluation.contrast import check_ratios, contrast
from pixeltune.evaluation.defaults import BATCH_SIZE, CONCURRENCY, OUTPUT_DIR, ROWS, TOOL_CHOICE
from pixeltune.evaluation.doubts import doubt, trained_rows
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.plans import Plan, check_words, in_contexts, own_plan, task_plan
from pixeltune.evaluation.providers import Provider, in_this_process, on_engine
from pixeltune.evaluation.report import Report, markdown, summary
from pixeltune.evaluation.scoring import Result, score_rows
from pixeltune.tasks import own_turns
from pixeltune.tasks.base import Task, is_benchmark, name_of
from pixeltune.tasks.own import MAX_NEW_TOKENS
from pixeltune.tasks.synthetic import refusals
from pixeltune.version import __version__
from pixeltune.writing import write_atomically


def evaluate(
    task: str | Task | Sequence[str | Task] | None = None,
    compare: str | Path | Sequence[str | Path] = ("off",),
    *,
    model: str = "tiny",
    revision: str | None = None,
    dtype: str | None = None,
    bits: Literal[4, 8] | None = None,
    device_map: str | None = None,
    batch_size: int = BATCH_SIZE,
    rows: int | None = ROWS,
    data: str | Path | None = None,
    columns: Sequence[str] = (),
    contexts: str | Path | None = None,
    score: str | None = None,
    reward: str | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
    engine: str | None = None,
    engine_model: str | None = None,
    api_key: str | None = None,
    tool_choice: str | None = TOOL_CHOICE,
    concurrency: int = CONCURRENCY,
    ratios: int = 0,
    output_dir: str | Path = OUTPUT_DIR,
    quiet: bool = False,
) -> Report:
    """Score several ways of asking one frozen model on the same held-out rows.

    Args:
        task: a task or its name, or several; one of the user's own also as ``package.module:TASK``. None with
            rows of your own.
        compare: candidates, each one of `pixeltune.evaluation.candidates.SPECS`, or one alone.
        model: "tiny" or "smol" (bundled), a hub name or a folder; with an engine only for the record.
        revision: commit or tag of the model on the hub.
        dtype: of its weights; None: as its config says.
        bits: quantise its linear layers while loading.
        device_map: share it out among this machine's devices.
        batch_size: rows at a time in this process.
        rows: held-out rows of each task, None for all there are.
        data: folder of a benchmark's files (None: the hub), or your own rows, as `paint` takes them.
        columns: those of your own rows that have other names: ``["prompt=question", "completion=answer"]``.
        contexts: a JSONL file of what may stand in front of a row in a conversation (see
            `pixeltune.data.contexts`): every task is scored without, and once more with each row behind one of them.
        score: how your own rows are scored against their completions, one of
            `pixeltune.tasks.own.SCORES`; None: chosen from the rows where it is plain.
        reward: ``package.module:function`` that scores them instead, in TRL's signature.
        max_new_tokens: of an answer to your own rows.
        engine: URL of an OpenAI-compatible engine; None: in this process.
        engine_model: the model's name there, None for the only one.
        api_key: for the engine; none is sent otherwise.
        tool_choice: sent with tools.
        concurrency: requests at a time.
        ratios: of so many rows of each task keep, and print, how much likelier each token of an answer is with its
            picture than with text alone (`pixeltune.evaluation.contrast`); in this process.
        output_dir: folder of the report and of the journal; the same call goes on where it was broken off.
        quiet: no progress bar.

    Returns:
        The report; also in ``output_dir`` as ``report.json`` and ``report.md``. A `DoubtWarning` says where a
        score means less than it seems to.

    Raises:
        UserError: anything wrong with tasks, data, candidates or model, before the model loads.
        RunError: the engine is gone; what it answered is kept.
    """
    check_arguments(evaluate, locals())
    tasks: list[str | Task] = [task] if isinstance(task, str | Task) else _listed(task)
    _check_settings(tasks, data, score, reward, engine, dtype or bits or device_map, rows)
    if min(concurrency, batch_size, max_new_tokens) < 1:
        raise UserError("concurrency, batch_size and max_new_tokens must be at least 1")
    field = candidates(compare, bool(engine))
    check_ratios(ratios, engine, field)
    folder = Path(output_dir)
    _check_folder(folder)
    own_rows = data is not None and bool(reward or score or not tasks)
    if data is not None and not own_rows and not any(map(is_benchmark, tasks)):
        raise UserError(
            "--data is a folder of a benchmark's files, or without --task a file of your own rows: leave one out"
        )
    if columns and not own_rows:
        raise UserError("a task's rows have their columns: --columns is of rows of your own, without --task")
    if own_rows:
        name = name_of(tasks[0]) if tasks else None
        plans = [own_plan(name, data, reward, score, max_new_tokens, rows, field, columns)]
    else:
        plans = [task_plan(one, rows, data, field) for one in tasks]
    doubts = (
        [said for one in field for plan in plans if (said := trained_rows(one, plan.rows))]
        if own_rows
        else []
    )
    for said in doubts:
        doubt(said)
    if contexts is not None:
        if contexts == OWN:
            raise UserError(
                f"--contexts {OWN} is of training, which keeps its histories: give RUN/{CONTEXTS}, or a file of others"
            )
        found = read_contexts(contexts)
        plans = [one for plan in plans for one in (plan, in_contexts(plan, found))]
    harmful = Plan("refusals", refusals.TASK, refusals.rows(), plans[0].heads)
    provider: Provider
    if engine:
        provider = on_engine(engine, engine_model, api_key, tool_choice, concurrency)
        for plan in plans:
            check_words(plan, sorted({token for one in field for token in one.tokens}))
    else:
        provider = in_this_process(plans, field, model, revision, dtype, bits, device_map, batch_size, quiet)
    asked = {
        "model": [engine, engine_model] if engine else [model],
        "revision": revision,
        **({"dtype": dtype, "bits": bits} if dtype or bits else {}),
    }
    journals = partial(_journal, asked=asked, folder=folder)
    results = _ask(field, [*plans, harmful], provider, journals, quiet)
    *scored, refused = results
    shaded = contrast(field, plans, scored, provider, journals, ratios) if ratios else {}
    against = reference(field)
    report = Report(
        model=engine_model or model,
        tasks={
            plan.name: summary(got, plan.rows, plan.task, against, plan.groups)
            for plan, got in zip(plans, scored, strict=True)
        },
        refusals={name: _refusals(got, harmful.rows) for name, got in refused.items()},
        about=f"pixeltune {__version__}, {f'engine {engine}' if engine else 'in process'}, "
        f"{datetime.date.today()}, greedy, {plans[0].source}; Wilson intervals (bootstrap where rows earn part of "
        f"a point), Holm's p.{''.join(f' {said}.' for said in doubts)}",
        folder=folder,
        failed=sum(got.failed for by_name in results for got in by_name.values()),
        ratios=shaded,
    )
    write_atomically(folder / "report.json", json.dumps(report.as_dict(), indent=2) + "\n")
    write_atomically(folder / "report.md", markdown(report.as_dict()))
    return report


def _ask(
    field: list[Candidate],
    plans: list[Plan],
    provider: Provider,
    journal: Callable[[Plan, Candidate], Path],
    quiet: bool,
) -> list[dict[str, Result]]:
    """Every candidate on every plan: for each plan the results by candidate."""
    results: list[dict[str, Result]] = [{} for _ in plans]
    standing = Standing(len(field) * sum(len(plan.rows) for plan in plans))
    with bars(quiet) as bar:
        for one in field:
            line = bar.add_task(titled(f"{one.name}, loading"), total=None)
            with provider.of(one) as backend:
                bar.remove_task(line)
                for plan, found in zip(plans, results, strict=True):
                    title = standing.begin(f"{plan.name}, {one.name}", len(plan.rows))
                    line = bar.add_task(title, total=len(plan.rows))
                    show = partial(bar.update, line)
                    if isinstance(backend, InProcess):  # how many turns are to come nobody knows
                        backend.ticked = None if plan.task.next_turn else _shown(show, standing.during)
                    found[one.name] = score_rows(
                        plan.task,
                        plan.rows,
                        backend,
                        plan.heads[one.name],
                        lambda done, n, show=show: show(completed=done),
                        journal(plan, one),
                        _shown(show, standing.after),
                    )
                    bar.remove_task(line)
    return results


def _shown(show: Callable[..., None], said: Callable[..., str]) -> Callable[..., None]:
    """What is said of a bar's work, as its title."""
    return lambda *given: show(description=said(*given))


def _listed(tasks: Any) -> list[str | Task]:
    """
    Raises:
        UserError: there is something among them that is neither a task nor a name.
    """
    listed = [] if tasks is None else list(tasks) if isinstance(tasks, list | tuple) else [tasks]
    if (other := next((one for one in listed if not isinstance(one, str | Task)), None)) is not None:
        raise UserError(f"task is {other!r:.60}: it must be a task, its name, or a list of them")
    return listed


def _check_folder(folder: Path) -> None:
    """
    Raises:
        UserError: nothing can be written into it, because a file stands where a folder must.
    """
    for part in (folder / "rows", folder, *folder.parents):
        if part.exists() and not part.is_dir():
            raise UserError(
                f"output_dir {folder}: {part} is a file: give the name of a folder for the report"
            )


def _check_settings(
    tasks: list[str | Task],
    data: str | Path | None,
    score: str | None,
    reward: str | None,
    engine: str | None,
    loading: Any,
    rows: int | None,
) -> None:
    """
    Raises:
        UserError: settings that contradict each other.
    """
    if not tasks and data is None:
        raise UserError("score what? Give --task (calls, sums, gsm8k, ...) or --data rows.jsonl")
    names = [name_of(one) for one in tasks]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"the task {twice} is there twice: give every task once")
    if rows is not None and rows < 1:
        raise UserError("rows must be at least 1; None (--rows 0) is all there are")
    if engine and loading:
        raise UserError(
            "--dtype, --load_in_8bit, --load_in_4bit and --device_map are of a model in this process: start "
            "the engine as you want it"
        )
    if (score or reward) and data is None:
        raise UserError("--score and --reward score rows of your own: give them with --data rows.jsonl")
    if (score or reward) and len(tasks) > 1:
        raise UserError("--score and --reward score one file: give one --task, or none")


def _journal(plan: Plan, one: Candidate, asked: dict[str, Any], folder: Path) -> Path:
    """Where the records of a candidate on a task go."""
    settings = {
        "rows": [_hashed(row) for row in plan.rows],
        "head": plan.heads[one.name],
        "candidate": one.identity(),
        "max_new_tokens": plan.task.max_new_tokens,
        **({"turns": True} if plan.task.next_turn is own_turns.next_turn else {}),
        **asked,
    }
    return journal.file(folder / "rows", f"{plan.name}-{one.name}", settings)


def _hashed(row: dict) -> dict:
    """A row as JSON: its pictures by their hashes."""
    if not row.get("images"):
        return row
    return {**row, "images": [sha256(image) for image in row["images"]]}


def _refusals(got: Result, rows: list[dict]) -> dict[str, float]:
    """Shares of harmful and of harmless requests refused, of those that were answered."""
    out = {}
    for name in ("harmful", "harmless"):
        wanted = name == "harmful"
        answered = [r for r in got.records if not r["error"] and rows[r["row"]]["harmful"] == wanted]
        said = [record["completions"][0] for record in answered]
        out |= {name: refusals.share(said), f"n_{name}": len(said)}
    return out
