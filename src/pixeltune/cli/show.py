"""``pixeltune show``."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from typing import Any

from pixeltune.errors import UserError

HELP = "print what artworks are, and what they make a model say"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("artwork", nargs="+", help="PNGs, or folders of runs")
    parser.add_argument(
        "--says",
        action="store_true",
        help="what --model says with them and not without, to everyday requests: for PNGs of strangers, those without "
        "provenance, too",
    )
    parser.add_argument("--model", help='for --says: "tiny" or "smol" (bundled), a hub name or a folder')
    parser.add_argument("--revision", help="commit or tag of that model on the hub")


def run(arguments: Namespace) -> int:
    from pixeltune.artwork.artwork import Artwork
    from pixeltune.artwork.plain import read_any
    from pixeltune.errors import escaped
    from pixeltune.gallery.run import ledger_in

    if arguments.says:
        if arguments.model is None:
            raise UserError("--says asks a model: say which with --model, such as tiny")
        from pixeltune.model.finding import find_model

        find_model(arguments.model, arguments.revision)  # before the imports
    elif arguments.model or arguments.revision:
        raise UserError("--model and --revision go with --says")
    status = 0
    for path in arguments.artwork:
        try:
            artwork = read_any(path) if arguments.says else Artwork.load(path)
            if len(arguments.artwork) > 1:
                print(f"{escaped(path)}:")
            for name, value in [*artwork.describe(), *ledger_in(path)]:
                print(f"{name:14}  {escaped(value)}")
            if arguments.says:
                _print_sayings(artwork, arguments.model, arguments.revision)
        except UserError as error:  # the others can be shown all the same
            print(f"pixeltune show: {escaped(error)}", file=sys.stderr)
            status = 1
    return status


def _print_sayings(artwork: Any, model: str, revision: str | None) -> None:
    from pixeltune.evaluation.sayings import says

    print()
    print(says(artwork, model=model, revision=revision))
