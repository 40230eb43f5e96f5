"""Rows of the user's own in a run: which are held out, what they are scored against, what is kept of them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixeltune.data.hashes import prompt_hash, write_trained
from pixeltune.data.messages import Unused, read_messages
from pixeltune.data.origin import origin
from pixeltune.data.rows import given_lines, read_rows
from pixeltune.data.sources import size, title
from pixeltune.errors import UserError
from pixeltune.tasks import own
from pixeltune.tasks.base import Task
from pixeltune.training.defaults import OBJECTIVE_FACTS
from pixeltune.training.folder import HELD_OUT, HELD_OUT_OF
from pixeltune.training.settings import OWN_REWARD, PaintArguments
from pixeltune.writing import write_atomically

if TYPE_CHECKING:
    from transformers import TrainingArguments


NO_REWARD = (
    "rows of your own have no reward: name one with --reward package.module:function, or give every row a "
    f"completion and say how answers are compared with it: --score {' | '.join(own.SCORES)}"
)


SMALL = 64 << 20
"""Bytes of rows that are read twice: before torch is imported and when the run is prepared."""


@dataclass(frozen=True)
class OwnRows:
    """The rows of a file, told apart."""

    task: Task | None
    """What scores and rewards answers; None where the completions have no plain score."""
    train: list[dict]
    held_out: list[dict]
    """Each with a ``completion``; none of their prompts is among those trained on."""
    notes: tuple[str, ...]
    """What the user should know of them, a line each."""


def read_each(verb: str, arguments: PaintArguments, config: TrainingArguments) -> dict[str, OwnRows]:
    """The rows of all files that were named, by their titles.

    Raises:
        UserError: see `read`.
    """
    names = [share.name for share in arguments.shares]
    return {title(name): read(verb, name, arguments, config) for name in names}


def read(verb: str, data: str, arguments: PaintArguments, config: TrainingArguments) -> OwnRows:
    """Rows of the user's own, a share of them held out, with the score that their completions allow.

    Where completions are not what is learned from (grpo, rloo, distill) they may stand in every row as what
    answers are scored, and rewarded, against. Of kto's rows only good completions are held out.

    Args:
        verb: what they are learned from by.
        data: one of the files that were named.
        arguments: how they are read.
        config: TRL's.

    Raises:
        UserError: the file cannot be used, a score was asked for that the rows or the objective do not have, too
            many are held out, labels are all alike, or there is neither a completion nor a reward.
    """
    rows = read_rows(data, OBJECTIVE_FACTS[verb].columns, names=arguments.columns)
    labelled = "label" in OBJECTIVE_FACTS[verb].columns
    if labelled:
        _check_labels(verb, rows, data)
    references = OBJECTIVE_FACTS[verb].signal in ("rewards", "teacher")
    # A chosen answer is no reference: rewards get it under its own name, beside the rejected one.
    answers = ("completion",) if references else ("completion", "chosen")
    answered = [row for row in rows if row.get("label", True) and any(map(row.get, answers))]
    if references:
        answered = _referenced(verb, rows, answered)
    if not answered:
        if arguments.score or arguments.held_out_rows:
            raise UserError(
                f"there is nothing to score held-out rows against: for that {verb} wants a completion in "
                f"every row of {data}"
            )
        if OBJECTIVE_FACTS[verb].signal == "rewards" and OWN_REWARD in (arguments.reward or [OWN_REWARD]):
            first = next(row for row in rows if not row.get("completion"))
            raise UserError(f"{origin(first, 0)}: there is no completion, and {NO_REWARD}")
        return OwnRows(None, rows, [], rows.notes)
    score = arguments.score or own.guess(answered)
    if arguments.score:
        own.check(answered, arguments.score)
    task = None
    if score:
        longest = max(len(own.reference(row)) for row in answered)  # characters, so more than its tokens
        limit = config.max_completion_length if references else min(512, max(32, longest))
        task = own.own_task(title(data), score, limit)
    train, held_out, notes = split(rows, answered, arguments.held_out_rows, config.seed)
    notes = rows.notes + notes
    if labelled:
        if all(row["label"] for row in train):
            raise UserError(
                "all bad completions answer prompts that are held out, so none is left to train on: hold out "
                "fewer with --held_out_rows"
            )
        notes += _balance(train, config)
    for row in held_out:
        row.setdefault("completion", row.get("chosen"))
    return OwnRows(task, train, held_out, notes)


def is_large(arguments: PaintArguments) -> bool:
    """Whether the rows should not be read twice.

    Raises:
        UserError: there are none (see `pixeltune.data.sources.find`).
    """
    return sum(size(share.name) for share in arguments.shares) > SMALL


def split(
    rows: list[dict], answered: list[dict], wanted: int | None, seed: int
) -> tuple[list[dict], list[dict], tuple[str, ...]]:
    """Hold rows out by their prompts, so that none is on both sides.

    Args:
        rows: of a file.
        answered: those of them that can be held out, at least one.
        wanted: how many to hold out; None: a tenth of them, at least 20, but of less than 60 a third. Where rows
            have prompts in common it may become a few less.
        seed: of the draw.

    Returns:
        Rows to train on, rows that are held out, and what to say of them.

    Raises:
        UserError: so many, or so few, cannot be held out.
    """
    can = {id(row) for row in answered}
    asking: dict[str, list[dict]] = {}
    for row in rows:
        asking.setdefault(prompt_hash(row), []).append(row)
    sizes = {asked: sum(id(row) in can for row in group) for asked, group in asking.items()}
    order = [asked for asked, size in sizes.items() if size]
    random.Random(f"held out {seed}").shuffle(order)
    n = _number(wanted, len(answered), min(sizes[asked] for asked in order))
    held: set[str] = set()
    for asked in order:
        if sizes[asked] <= n:
            held.add(asked)
            n -= sizes[asked]
    aside = {id(row) for asked in held for row in asking[asked]}
    held_out = [row for row in rows if id(row) in aside and id(row) in can]
    notes = []
    if repeated := len(rows) - len(asking):
        notes.append(
            f"{_count(repeated, 'row')} of {len(rows):,} ask what an earlier one asks: rows of one prompt are all "
            "trained on or all held out"
        )
    if not held and wanted is None:
        notes.append("no rows are held out: there are too few, or too few prompts")
    if dropped := len(aside) - len(held_out):
        notes.append(f"{_count(dropped, 'bad completion')} of held-out prompts: not trained on either")
    return [row for row in rows if id(row) not in aside], held_out, tuple(notes)


def _number(wanted: int | None, total: int, fewest: int) -> int:
    """How many rows to hold out.

    Args:
        wanted: by the user; None: nothing was said.
        total: rows that can be held out.
        fewest: of them that any prompt has.

    Raises:
        UserError: so many, or so few, cannot be held out.
    """
    if wanted is None:
        n = max(20, total // 10) if total >= 60 else total // 3
        if 0 < n < fewest:
            return fewest if 2 * fewest <= total else 0
        return n
    if wanted and wanted >= total:
        raise UserError(f"--held_out_rows {wanted} leaves none of {total} rows with an answer to train on")
    if 0 < wanted < fewest:
        raise UserError(
            f"--held_out_rows {wanted}: rows of one prompt stay together, and every prompt has {fewest} or more"
        )
    return wanted


def keep(
    folder: Path,
    verb: str,
    files: Sequence[str | Path],
    train: Iterable[dict],
    held_out: Iterable[dict],
    columns: Sequence[str] = (),
) -> None:
    """Leave in a run's folder what scores it honestly later: held-out rows, and hashes of those trained on.

    ``held_out.jsonl`` holds the rows as the user gave them, so that ``pixeltune eval --data`` takes it like
    their own file, but for columns of other names and forms, which become those of TRL, pictures, whose paths
    become absolute, and what dpo and kto learn from, which becomes a completion. Of several files each has one of
    its own, ``held_out-NAME.jsonl``.

    Args:
        folder: of the run.
        verb: what they are learned from by.
        files: what the rows were read from.
        train: rows that are trained on.
        held_out: rows that are not.
        columns: which stand for which of ours, as the user says.
    """
    write_trained(folder, map(prompt_hash, train))
    wanted = {origin(row, 0): row for row in held_out}
    learned = {name for name in OBJECTIVE_FACTS[verb].columns if name not in ("prompt", "completion")}
    for data in files:
        lines = [_line(line, wanted[where], learned) for where, line in given_lines(data, columns, wanted)]
        if lines:
            name = HELD_OUT if len(files) == 1 else HELD_OUT_OF.format(title(data))
            write_atomically(folder / name, "".join(json.dumps(line) + "\n" for line in lines))


def _line(line: dict[str, Any], row: dict, learned: set[str]) -> dict[str, Any]:
    """A line of the user's file with a prompt and a completion, and not the columns that say which is better."""
    out = {name: value for name, value in line.items() if name not in learned}
    if "completion" not in line or "chosen" in learned:
        out.pop("messages", None)
        out |= {"prompt": row["prompt"], "completion": row["completion"]}
    if line.get("images"):
        out["images"] = [str(Path(image).absolute()) for image in row["images"]]
    return out


def _referenced(verb: str, rows: list[dict], answered: list[dict]) -> list[dict]:
    """Rows whose completion is a reference, all or none; rewards get its text in the column ``reference``.

    TRL hands every column on to a reward but ``completion``, which is its own word for what the model wrote.

    Raises:
        UserError: a completion is malformed, or the column is there already.
    """
    unused, rewarded = Unused(), OBJECTIVE_FACTS[verb].signal == "rewards"
    for number, row in enumerate(rows):
        # A reward gets every column; a teacher reads none.
        for name in () if rewarded else row:
            if name not in ("prompt", "completion", "tools", "images"):
                unused.add(f"the column {name!r} is not used by {verb}", origin(row, number))
    if len(answered) < len(rows):
        for row in answered[:1]:
            unused.add(
                "completion is not used: answers are scored against it only where every row has one, here "
                f"{len(answered)} of {len(rows)}",
                origin(row, 0),
            )
        unused.warn()
        return []
    for number, row in enumerate(rows):
        where = origin(row, number)
        row["completion"] = read_messages(row["completion"], "assistant", f"{where}: completion", unused)
        if rewarded and "reference" in row:
            raise UserError(
                f"{where}: there is a column reference beside completion, whose text rewards get under that "
                "name: rename one of them"
            )
        if rewarded:
            row["reference"] = own.reference(row)
    unused.warn()
    return rows


def _check_labels(verb: str, rows: list[dict], data: str) -> None:
    """
    Raises:
        UserError: all completions are good, or all are bad.
    """
    if len({row["label"] for row in rows}) > 1:
        return
    label = json.dumps(rows[0]["label"])
    remedy = "use sft on good completions alone" if rows[0]["label"] else "add good ones"
    raise UserError(
        f"{verb} contrasts good completions with bad ones, and every row of {data} has the label {label}: "
        f"{remedy}"
    )


def _balance(rows: list[dict], config: TrainingArguments) -> tuple[str, ...]:
    """What to say where good and bad completions weigh too differently in the loss.

    Their weights times their numbers should be as 1 to 1, up to 4 to 3 (KTO, arXiv 2402.01306, eq. 8).
    """
    good = sum(row["label"] for row in rows)
    bad = len(rows) - good
    weights = config.desirable_weight * good, config.undesirable_weight * bad
    if 0.99 * weights[1] <= weights[0] <= weights[1] * 1.34:  # written weights are rounded
        return ()
    # Raise the weight of what there is less of.
    name, weight = ("undesirable", weights[0] / bad) if good > bad else ("desirable", weights[1] / good)
    return (
        f"{_count(good, 'good completion')} and {bad:,} bad, weighted {config.desirable_weight:g} and "
        f"{config.undesirable_weight:g}: --{name}_weight {weight:.3g} would give both sides the same weight",
    )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
