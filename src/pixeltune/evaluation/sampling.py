"""``pixeltune sample``: training rows from a model's own answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pixeltune.data import sources
from pixeltune.data.marks import turn_marks
from pixeltune.data.placeholders import KNOWN, placeholder_tokens
from pixeltune.data.rows import read_rows
from pixeltune.errors import UserError
from pixeltune.errors.checking import check_arguments, checked
from pixeltune.evaluation.backends import OnEngine
from pixeltune.evaluation.bars import bars, titled
from pixeltune.evaluation.candidates import Candidate, candidates
from pixeltune.evaluation.defaults import BATCH_SIZE, CONCURRENCY, ROWS, SAMPLES, TEMPERATURE, TOOL_CHOICE
from pixeltune.evaluation.drawing import COUNTS, draw
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.picking import (
    KEEPS,
    Answer,
    by_prompt,
    check_files,
    likeliest,
    pick,
    targets_of,
)
from pixeltune.evaluation.plans import SEED, Plan, check_words, own_plan
from pixeltune.evaluation.providers import Provider, in_this_process, on_engine
from pixeltune.evaluation.sampled import Sample, check_path, write
from pixeltune.evaluation.scoring import opening
from pixeltune.model.finding import public_name
from pixeltune.tasks.base import Task, find_rows, find_task, is_benchmark, name_of
from pixeltune.tasks.own import MAX_NEW_TOKENS


def sample(
    task: str | Task | None = None,
    *,
    output: str | Path,
    keep: str = "right",
    data: str | Path | None = None,
    columns: Sequence[str] = (),
    score: str | None = None,
    reward: str | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
    artwork: str | Path | None = None,
    instruction: str | Path | None = None,
    samples: int | None = None,
    temperature: float = TEMPERATURE,
    rows: int | None = ROWS,
    seed: int = 0,
    model: str = "tiny",
    revision: str | None = None,
    dtype: str | None = None,
    bits: Literal[4, 8] | None = None,
    device_map: str | None = None,
    batch_size: int = BATCH_SIZE,
    engine: str | None = None,
    engine_model: str | None = None,
    api_key: str | None = None,
    tool_choice: str | None = TOOL_CHOICE,
    concurrency: int = CONCURRENCY,
    quiet: bool = False,
) -> Sample:
    """Ask a frozen model each prompt several times, and write what is worth learning from as rows.

    In this process the same seed gives the same rows, on the same machine with the same `batch_size`; requests to
    engines carry no seed. Answers that were cut off, or hold a token of pictures or turns, are counted and left out.

    Args:
        task: a task or its name, whose training rows are asked; None with rows of your own.
        output: JSONL file to write, beside it what made it (see `pixeltune.evaluation.sampled`).
        keep: "right", the first answer to each prompt whose score is full (rows for ``sft``); "pairs", it and the
            first that is not (``dpo``); "labels", these as rows of their own (``kto``); "likeliest", of a prompt's
            completions in `data`, and of own right answers, that with the least loss per token (``sft``).
        data: folder of a benchmark's files, or your own rows, as `evaluate` takes them.
        columns, score, reward, max_new_tokens: of your own rows, as in `evaluate`.
        artwork: a PNG or a run's folder, with every request.
        instruction: file of words told in front, or "best"; as the artwork, they are not in the rows.
        samples: answers to each prompt; None: `SAMPLES`, with "likeliest" and rows of your own 0.
        temperature: that is sampled at, above 0.
        rows: prompts at most, None for all there are.
        seed: of the draw of answers, and of a task's rows.
        model, revision, dtype, bits, device_map, batch_size: the model in this process.
        engine, engine_model, api_key, tool_choice, concurrency: an engine instead, as in `evaluate`.
        quiet: no progress bar.

    Raises:
        UserError: anything wrong with settings, rows or model, before the model loads; or nothing was kept.
        RunError: the engine is gone; nothing is written.
    """
    check_arguments(sample, locals())
    checked("keep", keep, str, KEEPS)
    own = data is not None and (task is None or not is_benchmark(task))
    if samples is None:
        samples = 0 if keep == "likeliest" and own else SAMPLES
    _check(task, data, own, keep, samples, temperature, rows, engine, bool(dtype or bits or device_map))
    if min(concurrency, batch_size, max_new_tokens) < 1:
        raise UserError("concurrency, batch_size and max_new_tokens must be at least 1")
    if artwork and instruction:
        raise UserError("give --artwork or --instruction: who answers is told by the one or the other")
    if not own and (columns or score or reward):
        raise UserError("--columns, --score and --reward are of rows of your own, without --task")
    output = Path(output)
    check_path(output)
    told = "best" if instruction == "best" else f"prompt:{instruction}"
    (one,) = candidates([artwork or (told if instruction else "off")], bool(engine))
    if own and samples == 0:
        plan = _pool(str(data), one, columns)
    elif own:
        plan = own_plan(None, str(data), reward, score, max_new_tokens, None, [one], columns)
    else:
        plan = _task(task or "", rows, data, one, seed)
    check_files(plan.rows)
    groups = by_prompt(plan.rows)[:rows]
    provider: Provider
    if engine:
        tokens = one.tokens or tuple(KNOWN)
        check_words(plan, sorted(tokens))
        provider = on_engine(engine, engine_model, api_key, tool_choice, concurrency)
    else:
        provider = loaded = in_this_process(
            [plan], [one], model, revision, dtype, bits, device_map, batch_size, quiet
        )
        tokens = *placeholder_tokens(loaded.processor), *turn_marks(loaded.processor)
    head, counts = plan.heads[one.name], dict.fromkeys(("prompts", "without", "rows", *COUNTS), 0)
    made: list[dict] = []
    with bars(quiet) as bar:
        line = bar.add_task(titled(f"{one.name}, loading"), total=None)
        with provider.of(one) as backend:
            assert isinstance(backend, InProcess | OnEngine)
            bar.update(line, description=titled(f"{plan.name}, {one.name}"), total=len(groups) * samples)
            answers = draw(
                plan.task, groups, backend, head, samples, temperature, seed, tokens, counts,
                lambda done: bar.update(line, completed=done),
            )  # fmt: skip
            if keep == "likeliest":
                bar.update(line, description="likelihoods", total=len(groups), completed=0)
            for number, (group, found) in enumerate(zip(groups, answers, strict=True), start=1):
                if keep == "likeliest":
                    kept = _likeliest(group, found, backend, head)
                    bar.update(line, completed=number)
                else:
                    kept = pick(keep, group[0], found)
                counts["without"] += not kept
                made += kept
    counts |= {"prompts": len(groups), "rows": len(made)}
    result = Sample(output, keep, counts)
    if not made:
        said = "; ".join(str(result).splitlines())
        raise UserError(f"nothing to write ({said}): more --samples, easier rows, or a better --artwork")
    from_engine = isinstance(backend, OnEngine)
    about = {
        "model": backend.engine.model if isinstance(backend, OnEngine) else public_name(model),
        "revision": None if from_engine else revision,
        "artwork_sha256": one.artwork.sha256 if one.artwork else None,
        "instruction_sha256": hashlib.sha256(json.dumps(head).encode()).hexdigest() if head else None,
        "rows_of": sources.public_name(data) if own and data else plan.name,
        "keep": keep,
        "samples": samples,
        "temperature": temperature,
        "seed": None if from_engine else seed,
        "counts": counts,
    }
    write(output, made, about)
    return result


def _check(
    task: str | Task | None,
    data: str | Path | None,
    own: bool,
    keep: str,
    samples: int,
    temperature: float,
    rows: int | None,
    engine: str | None,
    loading: bool,
) -> None:
    """
    Raises:
        UserError: settings that contradict each other.
    """
    if task is None and data is None:
        raise UserError("ask what? Give --task (calls, sums, gsm8k, ...) or --data rows.jsonl")
    if own and task is not None:
        raise UserError(
            f"{name_of(task)} makes its own rows: leave out --data, or --task where the rows are your own"
        )
    if rows is not None and rows < 1:
        raise UserError("rows must be at least 1; None (--rows 0) is all there are")
    if samples < 0 or (samples == 0 and not (own and keep == "likeliest")):
        raise UserError("--samples must be at least 1; 0 is for --keep likeliest of --data alone")
    if not 0 < temperature < float("inf"):
        raise UserError(f"--temperature is {temperature:g} and must be above 0: 1 samples as the model is")
    if keep == "likeliest" and engine:
        raise UserError(
            "--keep likeliest needs the log-probs of given texts, which engines do not give as training sees them: "
            "leave --engine out"
        )
    if engine and loading:
        raise UserError(
            "--dtype, --load_in_8bit, --load_in_4bit and --device_map are of a model in this process: start "
            "the engine as you want it"
        )


def _task(task: str | Task, n: int | None, data: str | Path | None, one: Candidate, seed: int) -> Plan:
    """Training rows of a task.

    Raises:
        UserError: there is no such task, it has none, or its answers are not one text that is sampled.
    """
    found, folder = find_task(task), data if is_benchmark(task) else None
    if found.next_turn or found.options:
        what = "has several turns" if found.next_turn else "is multiple choice"
        raise UserError(
            f"{name_of(task)} {what}, and one sampled answer is not enough for it: another --task"
        )
    rows = find_rows(task, "train", n, seed, folder)
    return Plan(name_of(task), found, rows, {one.name: one.head(task, folder, SEED)})


def _pool(data: str, one: Candidate, columns: Sequence[str]) -> Plan:
    """Rows with completions to choose from, which need no score.

    Raises:
        UserError: they cannot be read, or "best" words are asked for, which only tasks have.
    """
    if one.best:
        raise UserError("best needs a task that knows its best prompt: give a file of words")
    rows = read_rows(data, names=columns)
    return Plan(
        sources.title(data),
        Task(name=sources.title(data), max_new_tokens=1, score=_none),
        rows,
        {one.name: list(one.told)},
    )


def _none(row: dict, text: str) -> float:
    return 0.0


def _likeliest(group: list[dict], answers: list[Answer], backend: Any, head: list) -> list[dict]:
    """The row of a prompt with the target that the model finds likeliest; none where there is no target."""
    targets = targets_of(group, answers)
    if len(targets) < 2:
        return [likeliest(group[0], targets, [(0.0, 1)])] if targets else []
    talk, tools = opening(group[0], head)
    n = len(targets)
    return [likeliest(group[0], targets, backend.losses([talk] * n, targets, [tools] * n))]
