"""``pixeltune serve``."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace

from pixeltune.errors import UserError

HELP = "a gateway in front of an engine: every PNG of a folder is a model name"


def add_arguments(parser: ArgumentParser) -> None:
    from pixeltune.serve import defaults
    from pixeltune.serve.reply import Limits

    add = parser.add_argument
    add(
        "--artworks",
        required=True,
        metavar="FOLDER",
        help="of PNGs; team/calls.png is the model team/calls; or hf://owner/name[@revision] on the hub, "
        "hf://collections/owner/name",
    )
    add(
        "--upstream",
        required=True,
        action="append",
        metavar="URL",
        help="an engine, such as http://host:8000/v1; may be repeated",
    )
    add("--host", default=defaults.HOST, help="address to listen on; the default is this machine alone")
    add("--port", type=int, default=defaults.PORT, help="port to listen on; 0: any free one")
    add("--api_keys", metavar="FILE", help="JSON of callers (docs/guide/serving.md); none: anybody may ask")
    add(
        "--alias",
        action="append",
        default=[],
        metavar="BASE=SERVED",
        help="an artwork's base model and the name under which the engines serve it, where they differ",
    )
    add(
        "--upstream_key_env",
        default="PIXELTUNE_UPSTREAM_KEY",
        metavar="NAME",
        help="environment variable with the engines' API key",
    )
    add("--max_body", type=int, default=Limits.body, metavar="BYTES", help="of a request")
    add(
        "--max_concurrency",
        type=int,
        default=defaults.CAPACITY,
        metavar="N",
        help="requests at one engine at a time",
    )
    add("--timeout", type=float, default=Limits.answer, help="seconds for an engine to begin its answer")
    add("--pause", type=float, default=Limits.pause, help="seconds between two parts of a stream")
    add(
        "--notice",
        type=float,
        default=defaults.NOTICE,
        help="seconds after SIGTERM in which /readyz answers 503 and requests are still taken",
    )
    add("--drain", type=int, default=defaults.DRAIN, help="seconds that running requests have after that")
    add("--cache", type=int, default=defaults.CACHE_MIB, metavar="MIB", help="of artworks in memory")
    add(
        "--log_level",
        default=defaults.LOG_LEVEL,
        choices=("debug", "info", "warning", "error"),
        help="of JSON lines",
    )


def run(arguments: Namespace) -> int:
    aliases = dict(alias.partition("=")[::2] for alias in arguments.alias)
    if not all(aliases) or not all(aliases.values()):
        raise UserError("--alias takes BASE=SERVED, such as Qwen/Qwen3.5-0.8B=qwen")
    from pixeltune.serve.server import serve

    serve(
        arguments.upstream,
        arguments.artworks,
        host=arguments.host,
        port=arguments.port,
        keys=arguments.api_keys,
        aliases=aliases,
        upstream_key=os.environ.get(arguments.upstream_key_env),
        max_body=arguments.max_body,
        max_concurrency=arguments.max_concurrency,
        timeout=arguments.timeout,
        pause=arguments.pause,
        notice=arguments.notice,
        drain=arguments.drain,
        cache=arguments.cache,
        log_level=arguments.log_level,
    )
    return 0
