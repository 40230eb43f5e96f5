"""``pixeltune studio``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

HELP = "a page in the browser: paint, watch, stop, ask with and without, download"


def add_arguments(parser: ArgumentParser) -> None:
    from pixeltune.studio import defaults

    add = parser.add_argument
    add("--output_dir", default=defaults.OUTPUT_DIR, help="folder for all that is painted and uploaded")
    add("--host", default=defaults.HOST, help="address to listen on; the default is this machine alone")
    add("--port", type=int, default=defaults.PORT, help="port to listen on; 0: any free one")


def run(arguments: Namespace) -> int:
    from pixeltune.studio.server import open_studio

    open_studio(arguments.output_dir, host=arguments.host, port=arguments.port)
    return 0
