"""``pixeltune show``."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

HELP = "print what artworks are"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("artwork", nargs="+", help="PNGs, or folders of runs")


def run(arguments: Namespace) -> int:
    from pixeltune.artwork.artwork import Artwork
    from pixeltune.artwork.png import ArtworkError
    from pixeltune.errors import escaped
    from pixeltune.gallery.run import ledger_in

    status = 0
    for path in arguments.artwork:
        try:
            facts = [*Artwork.load(path).describe(), *ledger_in(path)]
        except ArtworkError as error:  # the others can be shown all the same
            print(f"pixeltune show: {escaped(error)}", file=sys.stderr)
            status = 1
            continue
        if len(arguments.artwork) > 1:
            print(f"{escaped(path)}:")
        for name, value in facts:
            print(f"{name:14}  {escaped(value)}")
    return status
