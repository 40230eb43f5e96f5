"""What a task is, which there are, and the rows of one.

Tasks that come with pixeltune are named; others are installed as entry points or named by a dotted path.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from pixeltune.data.messages import text_of
from pixeltune.errors import UserError, suggestion
from pixeltune.tasks.lookup import look_up

SYNTHETIC = ("calls", "sums", "turns", "shop", "programs", "tiles", "errands", "long_sums")
BENCHMARKS = ("gsm8k", "svamp", "aqua_rat", "bbh", "bfcl", "seal_tools", "api_bank", "when2call")
GROUP = "pixeltune.tasks"
"""The entry points that name installed tasks."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Something to be good at. What a task does not have is None.

    Rows are dicts with ``prompt`` (a list of messages), perhaps ``completion`` (messages that would be
    right), ``tools`` (JSON), ``images`` (PIL pictures or paths), ``id`` and ``group``, and what score and
    reward read.
    """

    name: str
    max_new_tokens: int
    """Of one answer."""
    score: Callable[[dict, Any], float]
    """``score(row, text)``, from 0 to 1; of a task with ``next_turn`` the list of the texts so far."""
    rows: Callable[..., list[dict]] | None = None
    """``rows(split, n, seed)`` with the splits "train" and "test"; None where rows come from elsewhere."""
    instruction: str = ""
    """The best prompt in words, a system message; what an artwork is measured against."""
    reward: Callable[..., list[float]] | None = None
    """In TRL's signature: ``reward(completions, **columns)``."""
    environment: Callable[[], Any] | None = None
    """TRL's ``environment_factory``: what makes an episode with tools."""
    next_turn: Callable[[dict, list[str]], list[dict] | None] | None = None
    """``next_turn(row, texts)``: the messages that follow the texts so far, None at the end."""
    options: Callable[[dict], list[str]] | None = None
    """``options(row)``: the answers of multiple choice, of which the likeliest is taken."""
    metrics: Callable[[Sequence[dict], Sequence[Any]], dict[str, float]] | None = None
    """``metrics(rows, answers)``: figures beside the mean score."""
    benchmark: bool = False
    """Whether the rows are public data: ``rows(split, n, seed, folder=, category=)``, every row with an
    ``id``. ``n`` may be None, ``folder`` is a copy of the files (None: the hub), ``category`` a part of the
    task; where there is a split "train" there is also "validation"."""


def names() -> tuple[str, ...]:
    """The tasks that come with pixeltune, and those that are installed."""
    return *SYNTHETIC, *BENCHMARKS, *sorted(_installed())


def is_known(name: str | None) -> bool:
    """Whether a name, perhaps with a category, is one of :func:`names`.

    Names that stand in files of others are checked so before they are looked up: a dotted path imports, and
    so runs, whatever it says. Several, as an artwork says that was painted on them ("calls + sums"), are none.
    """
    return " " not in (name or "") and (name or "").partition(":")[0] in names()


def find_task(name: str | Task) -> Task:
    """A task by its name; a category behind a colon ("bfcl:parallel") is not looked at.

    Args:
        name: one of :func:`names`, or ``package.module:TASK``, which imports that module; a task is itself.

    Raises:
        UserError: there is no such task, or what is there is none.
    """
    if isinstance(name, Task):
        return name
    name, _ = _parted(name)
    if name in SYNTHETIC + BENCHMARKS:
        room = "synthetic" if name in SYNTHETIC else "benchmarks"
        return import_module(f"pixeltune.tasks.{room}.{name}").TASK
    points = _installed().get(name, [])
    if len(points) > 1:
        raise UserError(
            f"the task {name!r} is installed more than once, as {' and '.join(p.value for p in points)}: "
            "name one of them in this way"
        )
    if not points and ":" not in name:
        raise UserError(_unknown(name))
    try:
        task = points[0].load() if points else look_up(name, "task")
    except (ImportError, AttributeError) as error:
        raise UserError(f"the installed task {name!r} cannot be loaded: {error}") from error
    except UserError as error:
        raise UserError(_unknown(name, f": {error.__cause__}")) from error
    if not isinstance(task, Task):
        raise UserError(f"{name!r} is no pixeltune.tasks.base.Task but a {type(task).__name__}")
    return task


def name_of(task: str | Task) -> str:
    """What a task is called: its own name, or the one that it was given by."""
    return task.name if isinstance(task, Task) else task


def is_benchmark(name: str | Task) -> bool:
    """Whether a task, perhaps with a category, has public data for rows, and so splits, files and ids.

    Raises:
        UserError: there is no such task.
    """
    return find_task(name).benchmark


def find_rows(
    name: str | Task, split: str, n: int | None, seed: int = 0, folder: str | Path | None = None
) -> list[dict]:
    """Rows of a task.

    Args:
        name: of a task, perhaps with a category ("bfcl:parallel"), or a task.
        split: "train" or "test"; benchmarks with a train split also have "validation".
        n: how many; None for all that a benchmark has.
        seed: of the draw.
        folder: a copy of a benchmark's files, or the folder above one of that name; None reads the hub.

    Raises:
        UserError: the task has no such split or category, or its data cannot be had or used.
    """
    task = find_task(name)
    category = None if isinstance(name, Task) else _parted(name)[1]
    name = name_of(name)
    if task.rows is None:
        raise UserError(f"{name} has no rows of its own")
    if task.benchmark:
        if folder is not None and (Path(folder) / task.name).is_dir():
            folder = Path(folder) / task.name
        rows = task.rows(split, n, seed, folder=folder, category=category)
    elif category or folder is not None:
        raise UserError(f"{task.name} makes its own rows: it has no categories and reads no folder")
    elif n is None:
        raise UserError(f"{task.name} makes as many rows as you like: say how many")
    else:
        rows = task.rows(split, n, seed)
    if not rows:
        raise UserError(f"{name} has no rows in the split {split!r}")
    if not all(isinstance(row, dict) and isinstance(row.get("prompt"), list) for row in rows):
        raise UserError(f"a row of {name} has no 'prompt' that is a list of messages")
    return rows


def held_out_rows(name: str | Task, n: int, seed: int = 0, folder: str | Path | None = None) -> list[dict]:
    """`find_rows` of the split to look at, and to choose by, before the end.

    Of a benchmark that is its validation split: its test rows are for the end.
    """
    return find_rows(name, "validation" if is_benchmark(name) else "test", n, seed, folder)


def draw(name: str, make: Callable[[random.Random], Any], split: str, n: int, seed: int) -> list:
    """``n`` of the items that ``make`` makes: for "test" those that are ``held_out``, for "train" the others.

    Raises:
        UserError: for another split.
    """
    if split not in ("train", "test"):
        raise UserError(f"{name} has the splits 'train' and 'test', not {split!r}.")
    rng = random.Random(f"{name} {split} {seed}")
    items: list[Any] = []
    while len(items) < n:
        item = make(rng)
        if item.held_out == (split == "test"):
            items.append(item)
    return items


def texts_of(completions: list[str | list[dict]]) -> list[str]:
    """The texts that TRL hands to a reward: completions are texts, or conversations that end in one."""
    return [c if isinstance(c, str) else text_of(c[-1].get("content")) for c in completions]


def _installed() -> dict[str, list[EntryPoint]]:
    """Entry points by name, without those that would stand for a task of pixeltune's own.

    A package that is found twice on the path names the same object twice.
    """
    found: dict[str, dict[str, EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        if point.name not in SYNTHETIC + BENCHMARKS:
            found.setdefault(point.name, {})[point.value] = point
    return {name: list(points.values()) for name, points in found.items()}


def _parted(name: str) -> tuple[str, str | None]:
    """The name of a task, which of a dotted path has a colon itself, and the category behind it."""
    head, colon, rest = name.partition(":")
    if colon and not is_known(head):
        attribute, _, rest = rest.partition(":")
        head = f"{head}:{attribute}"
    return head, rest or None


def _unknown(name: str, why: str = "") -> str:
    meant = suggestion(name.partition(":")[0], names())
    return (
        f"there is no task {name!r}{meant}{why}; there are {', '.join(names())}, and tasks of your own as "
        "package.module:TASK"
    )
