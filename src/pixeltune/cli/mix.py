"""``pixeltune mix``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from pixeltune.errors import UserError

HELP = "a weaker or stronger artwork, or the average of several, if it is no worse"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("artwork", nargs="+", help="one for --strength, several for their average")
    parser.add_argument("--output", required=True, help="PNG to write")
    parser.add_argument(
        "--strength", type=float, help="0 is the start picture, 1 the artwork, 2 twice the change"
    )
    parser.add_argument("--start", help="--strength: the start picture's file, if it was one of yours")
    parser.add_argument(
        "--task", help="averages are kept if they are no worse on it (default: the artwork's)"
    )
    parser.add_argument("--data", help="folder of a benchmark's files (none: the hub)")
    parser.add_argument("--rows", type=int, default=100, help="held-out rows to score on (default 100)")
    parser.add_argument("--model", default="tiny", help='"tiny" (bundled), a hub name or a folder')
    parser.add_argument("--revision", help="commit or tag of the model on the hub")


def run(arguments: Namespace) -> int:
    if arguments.rows < 1:
        raise UserError("--rows must be at least 1")
    from pixeltune.evaluation.mixing import mix

    return mix(arguments)
