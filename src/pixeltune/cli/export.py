"""``pixeltune export``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

HELP = "a PNG from a checkpoint, or from a folder that an artwork's adapter was saved in"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("checkpoint", help="such as runs/sft/checkpoint-50")
    parser.add_argument("--output", required=True, help="PNG to write")
    parser.add_argument("--licence", help="of the artwork, if it was painted from a picture of yours")


def run(arguments: Namespace) -> int:
    from pixeltune.cli.output import check_output
    from pixeltune.training.folder import read_adapter

    check_output(arguments.output)  # both before torch and transformers are imported
    read_adapter(Path(arguments.checkpoint))
    from pixeltune.training.export import export

    artwork = export(arguments.checkpoint, arguments.licence)
    print(artwork.save(arguments.output))
    return 0
