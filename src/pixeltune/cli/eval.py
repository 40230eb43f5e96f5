"""``pixeltune eval``."""

from __future__ import annotations

import importlib.util
import sys
from argparse import ArgumentParser, Namespace

from pixeltune.errors import UserError

HELP = "score a model, or an engine, with and without an artwork"


def add_arguments(parser: ArgumentParser) -> None:
    from pixeltune.evaluation import defaults
    from pixeltune.evaluation.candidates import SPECS
    from pixeltune.model.precision import DTYPES
    from pixeltune.tasks.base import names
    from pixeltune.tasks.own import MAX_NEW_TOKENS, SCORES

    tasks = (
        f"one or several of {', '.join(names())}, or package.module:TASK; a category stands behind a colon"
    )
    parser.add_argument("--task", nargs="+", default=[], help=f"{tasks}: bfcl:parallel")
    parser.add_argument(
        "--data",
        help="folder of a benchmark's files (none: the hub), or your own rows: JSONL, JSON, CSV, Parquet, a folder "
        "saved by datasets, owner/name:config:split on the hub",
    )
    parser.add_argument(
        "--columns", nargs="+", default=(), help="of them that have other names: prompt=question"
    )
    parser.add_argument("--score", choices=SCORES, help="of your own rows (none: chosen where it is plain)")
    parser.add_argument("--reward", help="package.module:function that scores your own rows instead")
    parser.add_argument(
        "--max_new_tokens", type=int, default=MAX_NEW_TOKENS, help="of an answer to your own rows"
    )
    parser.add_argument("--artwork", help="a PNG or a run's folder, with every request; none: text only")
    parser.add_argument("--compare", nargs="+", metavar="CANDIDATE", help=f"or several: {SPECS}")
    parser.add_argument("--rows", type=int, default=defaults.ROWS, help="held-out rows (0: all there are)")
    parser.add_argument("--model", default="tiny", help='"tiny" or "smol" (bundled), a hub name or a folder')
    parser.add_argument("--revision", help="commit or tag of the model on the hub")
    parser.add_argument("--dtype", help=f"of its weights: {', '.join(DTYPES)}")
    parser.add_argument(
        "--load_in_8bit", action="store_true", help="quantise it while loading (bitsandbytes)"
    )
    parser.add_argument("--load_in_4bit", action="store_true", help="... to 4 bits, nf4")
    parser.add_argument("--device_map", help="share it out among this machine's devices, for example: auto")
    parser.add_argument(
        "--batch_size", type=int, default=defaults.BATCH_SIZE, help="rows at a time in process"
    )
    parser.add_argument("--engine", help="URL of an OpenAI-compatible engine; none: in this process")
    parser.add_argument("--engine_model", help="the model's name there (none: the only one it serves)")
    parser.add_argument("--api_key", help="for the engine; none is sent otherwise")
    parser.add_argument("--tool_choice", default=defaults.TOOL_CHOICE, help="with tools; none: raw text")
    parser.add_argument("--concurrency", type=int, default=defaults.CONCURRENCY, help="requests at a time")
    parser.add_argument("--output_dir", default=defaults.OUTPUT_DIR, help="folder for the report")


def run(arguments: Namespace) -> int:
    told = vars(arguments).copy()
    artwork, compare = told.pop("artwork"), told.pop("compare")
    if artwork and compare:
        raise UserError("name the artwork among the candidates of --compare, not with --artwork as well")
    from pixeltune.model.finding import find_model
    from pixeltune.model.precision import bits_of

    bits = bits_of(told.pop("load_in_8bit"), told.pop("load_in_4bit"))
    if told["rows"] < 0:
        raise UserError("--rows must be at least 1, or 0 for all there are")
    if not told["engine"] and importlib.util.find_spec("torch") is None:
        # Before the rows, which need what the extra "eval" brings: "train" brings that as well.
        raise ModuleNotFoundError("a model in this process needs torch", name="torch")
    if not told["engine"]:
        find_model(told["model"], told["revision"])
    from pixeltune.evaluation.evaluate import evaluate

    told["rows"] = told["rows"] or None
    report = evaluate(compare=compare or [artwork or "off"], bits=bits, **told)
    if sys.stdout.isatty():
        from rich.console import Console

        report.print(Console())
    else:
        print(report)
    print(f"{report.folder}/report.md")
    return int(report.failed > 0)
