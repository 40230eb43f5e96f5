"""``pixeltune gallery``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

HELP = "static pages of runs: pictures, curves, tables, to be opened in a browser"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run", nargs="+", metavar="RUN", help="the output_dir of a training verb")
    parser.add_argument("--output_dir", required=True, help="folder to write; a gallery there is replaced")
    parser.add_argument(
        "--eval",
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="of pixeltune eval, for the index; those inside of a run are found",
    )
    parser.add_argument(
        "--maps",
        type=int,
        default=0,
        metavar="ROWS",
        help="find out which squares matter, on so many rows of the run's task: loads the model (such as 8)",
    )
    parser.add_argument("--model", help="for --maps, where the artwork's own name does not lead to it")
    parser.add_argument("--revision", help="commit or tag of that model on the hub")
    parser.add_argument("--data", help="for --maps: folder of a benchmark's files (none: the hub)")


def run(arguments: Namespace) -> int:
    from pixeltune.gallery.site import build_gallery

    first = build_gallery(
        arguments.run,
        arguments.output_dir,
        evaluations=arguments.eval,
        maps=arguments.maps,
        model=arguments.model,
        revision=arguments.revision,
        data=arguments.data,
    )
    print(first)
    return 0
