"""``pixeltune check``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from pixeltune.errors import UserError

HELP = "prove that the PNG gives the model exactly the trained pixels; compare an engine"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("artwork", help="a PNG")
    parser.add_argument("--model", required=True, help='"tiny" (bundled), a hub name or a folder')
    parser.add_argument("--revision", help="commit or tag of the model on the hub")
    parser.add_argument("--engine", help="URL of a running OpenAI-compatible engine, such as http://host/v1")
    parser.add_argument("--engine_model", help="the model's name there (default: the only one it serves)")
    parser.add_argument("--prompts", type=int, default=8, help="prompts to compare an engine on (default 8)")
    parser.add_argument("--tolerance", type=float, default=1e-3, help="largest log-prob gap (default 1e-3)")
    parser.add_argument(
        "--robust", action="store_true", help="also score the artwork after JPEG, resizing, ..."
    )
    parser.add_argument("--task", help="... on this task (default: the one it was painted on)")
    parser.add_argument("--data", help="... with a benchmark's files from this folder (none: the hub)")
    parser.add_argument("--rows", type=int, help="... on so many held-out rows (default 200)")
    parser.add_argument("--output", help="... and write the scores to this JSON file")


def run(arguments: Namespace) -> int:
    if arguments.prompts < 1:
        raise UserError("--prompts must be at least 1")
    wanted = (arguments.task, arguments.data, arguments.rows, arguments.output)
    if not arguments.robust and any(option is not None for option in wanted):
        raise UserError("--task, --data, --rows and --output go with --robust")
    arguments.rows = 200 if arguments.rows is None else arguments.rows
    if arguments.rows < 1:
        raise UserError("--rows must be at least 1")
    from pixeltune.evaluation.check import check

    return check(arguments)
