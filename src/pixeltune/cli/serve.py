"""``pixeltune serve``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

HELP = "a gateway in front of an engine: every PNG of a folder is a model name"


def add_arguments(parser: ArgumentParser) -> None:
    from pixeltune.serve import server

    server.add_arguments(parser)


def run(arguments: Namespace) -> int:
    from pixeltune.serve import server

    return server.run(arguments)
