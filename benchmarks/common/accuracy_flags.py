"""The command line of `accuracy.py`: flags, a recipe that holds them, and what is refused."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import yaml

from benchmarks.common.accuracy_plans import PLANS, RELEASED, SMOL, Plan
from benchmarks.common.accuracy_real import released, smol
from benchmarks.common.accuracy_tasks import TINY, Suite
from benchmarks.common.baselines import RATES
from pixeltune.model.precision import DTYPES

MAX_BYTES = 1 << 16  # of a recipe


def read_flags(about: str, argv: list[str] | None) -> tuple[argparse.Namespace, Suite, Mapping[str, Plan]]:
    """Flags, what is compared, and how much of it.

    `only` and `without` are merged into `cells`, the paths TASK/METHOD that are wanted.

    Raises:
        SystemExit: flags or a recipe that cannot be meant, said in a line.
    """
    parser = argparse.ArgumentParser(description=about)
    add = parser.add_argument
    add("--config", type=Path, help="a recipe: YAML with these flags; those on the command line win")
    add("--model", default="tiny", help="tiny, smol, a hub name or a folder")
    add(
        "--data",
        type=Path,
        help="folder with the benchmarks' folders; what is missing there is read from the hub",
    )
    add("--verbs", nargs="+", choices=PLANS, help="none: those there is a plan for, of other models sft")
    add("--only", nargs="+", default=[], metavar="TASK[/METHOD]", help="not everything")
    add("--without", nargs="+", default=[], metavar="METHOD", help="methods to leave out")
    add("--again", action="store_true", help="also what the file has already")
    add("--table", action="store_true", help="only print the tables of what is there")
    add("--quick", action="store_true", help="a few steps and rows, to see that it works")
    add("--size-seeds", type=int, nargs="+", help="of the trainings on fewer rows")
    add("--folder", type=Path, help="of the results")
    add("--threads", type=int, default=2)
    more = parser.add_argument_group("models other than tiny and smol")
    more.add_argument("--dtype", choices=DTYPES, default="bfloat16", help="of the weights")
    more.add_argument(
        "--rows-at-once", type=int, default=8, help="of a training step, which takes several passes"
    )
    more.add_argument("--answers-at-once", type=int, default=32, help="rows that are answered together")
    more.add_argument("--checkpointing", action="store_true", help="less memory, a second forward pass")
    more.add_argument("--estimate", action="store_true", help="end after the check of the machine")
    if config := parser.parse_known_args(argv)[0].config:
        parser.set_defaults(**_recipe(parser, config))
    flags = parser.parse_args(argv)
    suite, plans = _compared(parser, flags)
    flags.verbs = flags.verbs or (list(plans) if flags.model in ("tiny", "smol") else ["sft"])
    methods = ("off", "text", *(["few-shot"] if suite.shots else []), *RATES)
    if unknown := set(flags.without) - set(methods):
        parser.error(f"--without {unknown.pop()}: there is no such method; they are {', '.join(methods)}")
    cells = [f"{name}/{method}" for name in suite.trained for method in methods]
    if unknown := [only for only in flags.only if not any(_within(path, only) for path in cells)]:
        parser.error(f"--only {unknown[0]}: there is no such task or method; they are {', '.join(cells)}")
    wanted = [path for path in cells if not flags.only or any(_within(path, only) for only in flags.only)]
    flags.cells = [path for path in wanted if path.partition("/")[2] not in flags.without]
    return flags, suite, plans


def _compared(parser: argparse.ArgumentParser, flags: argparse.Namespace) -> tuple[Suite, Mapping[str, Plan]]:
    if flags.data and not flags.data.is_dir():
        parser.error(f"--data {flags.data}: there is no such folder")
    if flags.model == "tiny":
        return TINY, PLANS
    if flags.model == "smol":
        if not flags.data:
            parser.error("--model smol needs --data, a folder with seal_tools and gsm8k in it")
        return smol(flags.data), SMOL
    for name in ("rows_at_once", "answers_at_once"):
        if getattr(flags, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    if odd := [plan for plan in RELEASED.values() if plan.batch % flags.rows_at_once]:
        parser.error(f"--rows-at-once {flags.rows_at_once}: a step of {odd[0].batch} rows cannot be cut so")
    how = (flags.dtype, flags.answers_at_once, flags.rows_at_once, flags.checkpointing)
    return released(flags.model, flags.data, *how), RELEASED


def _recipe(parser: argparse.ArgumentParser, path: Path) -> dict:
    """A recipe's flags, checked as those of the command line are."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError("it is too large")
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(read, dict):
            raise ValueError("it is no list of flags with values")
    except (OSError, ValueError, yaml.YAMLError) as error:
        parser.error(f"--config {path}: {' '.join(str(error).split())}")
    words: list[str] = []
    for name, value in read.items():
        flag = f"--{str(name).replace('_', '-')}"
        if flag == "--config" or value is False:
            continue
        words += [flag] if value is True else [flag, *map(str, value if isinstance(value, list) else [value])]
    given = parser.parse_args(words)
    return {str(name).replace("-", "_"): getattr(given, str(name).replace("-", "_")) for name in read}


def _within(path: str, only: str) -> bool:
    return path == only or path.startswith(f"{only}/")
