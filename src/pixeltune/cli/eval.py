"""``pixeltune eval``."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from pixeltune.cli.answering import add_answerer, add_own_rows, settled
from pixeltune.errors import UserError

HELP = "score a model, or an engine, with and without an artwork"


def add_arguments(parser: ArgumentParser) -> None:
    from pixeltune.evaluation import defaults
    from pixeltune.evaluation.candidates import SPECS
    from pixeltune.tasks.base import names

    tasks = (
        f"one or several of {', '.join(names())}, or package.module:TASK; a category stands behind a colon"
    )
    parser.add_argument("--task", nargs="+", default=[], help=f"{tasks}: bfcl:parallel")
    parser.add_argument(
        "--data",
        help="folder of a benchmark's files (none: the hub), or your own rows: JSONL, JSON, CSV, Parquet, a folder "
        "saved by datasets, owner/name:config:split on the hub",
    )
    add_own_rows(parser)
    parser.add_argument("--artwork", help="a PNG or a run's folder, with every request; none: text only")
    parser.add_argument("--compare", nargs="+", metavar="CANDIDATE", help=f"or several: {SPECS}")
    parser.add_argument("--rows", type=int, default=defaults.ROWS, help="held-out rows (0: all there are)")
    parser.add_argument(
        "--contexts", help="JSONL of messages, and a kind: score rows once more, each behind one of them"
    )
    add_answerer(parser, "rows")
    parser.add_argument(
        "--ratios",
        type=int,
        default=0,
        metavar="ROWS",
        help="of so many answers to each task print what the picture changes, token by token; galleries shade it",
    )
    parser.add_argument("--output_dir", default=defaults.OUTPUT_DIR, help="folder for the report")


def run(arguments: Namespace) -> int:
    told = vars(arguments).copy()
    artwork, compare = told.pop("artwork"), told.pop("compare")
    if artwork and compare:
        raise UserError("name the artwork among the candidates of --compare, not with --artwork as well")
    told = settled(told)
    from pixeltune.evaluation.evaluate import evaluate

    report = evaluate(compare=compare or [artwork or "off"], **told)
    if sys.stdout.isatty():
        from rich.console import Console

        report.print(Console())
    else:
        print(report)
    print(f"{report.folder}/report.md")
    return int(report.failed > 0)
