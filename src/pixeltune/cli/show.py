"""``pixeltune show``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

HELP = "print what an artwork is"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("artwork", help="a PNG, or the folder of a run")


def run(arguments: Namespace) -> int:
    from pixeltune.artwork.artwork import Artwork

    for name, value in Artwork.load(arguments.artwork).describe():
        print(f"{name:14}  {value}")
    return 0
