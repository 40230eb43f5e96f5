"""The process: `pixeltune serve`."""

from __future__ import annotations

import argparse
import logging
import os
import socket

import uvicorn

from pixeltune.errors import UserError
from pixeltune.serve.gateway import Gateway
from pixeltune.serve.keys import Keys
from pixeltune.serve.protocol import BoundedProtocol
from pixeltune.serve.records import log_to_stderr
from pixeltune.serve.reply import Limits
from pixeltune.serve.routes import application
from pixeltune.serve.shelf import Shelf
from pixeltune.serve.upstreams import Upstreams

log = logging.getLogger("pixeltune.serve")

MAX_CONNECTIONS = 16_384


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `pixeltune serve`."""
    limits = Limits()
    parser.add_argument(
        "--gallery", required=True, help="folder of artworks; team/calls.png is the model team/calls"
    )
    parser.add_argument(
        "--upstream",
        required=True,
        action="append",
        help="an engine, such as http://host:8000/v1; may be repeated",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1, this machine)"
    )
    parser.add_argument(
        "--port", type=int, default=8080, help="port to listen on (default 8080; 0: any free one)"
    )
    parser.add_argument(
        "--api_keys", help="JSON file of callers (docs/guide/serving.md); none: anybody may ask"
    )
    parser.add_argument(
        "--alias",
        action="append",
        default=[],
        metavar="BASE=SERVED",
        help="an artwork's base model and the name under which the engines serve it, where they differ",
    )
    parser.add_argument(
        "--upstream_key_env",
        default="PIXELTUNE_UPSTREAM_KEY",
        help="environment variable with the engines' API key (default PIXELTUNE_UPSTREAM_KEY)",
    )
    parser.add_argument(
        "--max_body", type=int, default=limits.body, help="bytes of a request (default 32 MiB)"
    )
    parser.add_argument(
        "--max_concurrency", type=int, default=1024, help="requests at one engine at a time (default 1024)"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=limits.answer,
        help="seconds for an engine to begin its answer (default 600)",
    )
    parser.add_argument(
        "--pause",
        type=float,
        default=limits.pause,
        help="seconds between two parts of a stream (default 120)",
    )
    parser.add_argument(
        "--drain", type=int, default=60, help="seconds that SIGTERM leaves to requests (default 60)"
    )
    parser.add_argument("--cache", type=int, default=512, help="MiB of artworks in memory (default 512)")
    parser.add_argument("--log_level", default="info", choices=("debug", "info", "warning", "error"))


def run(arguments: argparse.Namespace) -> int:
    """`pixeltune serve`: until SIGTERM or SIGINT, then lets running requests end.

    Raises:
        ValueError: an option is wrong; nothing has been started.
        OSError: the address is taken.
    """
    for name in ("max_body", "max_concurrency", "timeout", "pause", "cache"):
        if not getattr(arguments, name) > 0:
            raise UserError(f"--{name.replace('_', '-')} must be positive")
    aliases = dict(alias.partition("=")[::2] for alias in arguments.alias)
    if not all(aliases) or not all(aliases.values()):
        raise UserError("--alias takes BASE=SERVED, such as Qwen/Qwen3.5-0.8B=qwen")
    gateway = Gateway(
        Shelf(arguments.gallery, arguments.cache * 2**20),
        Upstreams(
            arguments.upstream,
            aliases=aliases,
            key=os.environ.get(arguments.upstream_key_env),
            capacity=arguments.max_concurrency,
        ),
        Keys(arguments.api_keys) if arguments.api_keys else None,
        Limits(body=arguments.max_body, answer=arguments.timeout, pause=arguments.pause),
    )
    family = socket.AF_INET6 if ":" in arguments.host else socket.AF_INET
    listener = socket.create_server(
        (arguments.host, arguments.port), family=family, backlog=2048, reuse_port=False
    )  # here, so that a taken port is an error like any other
    log_to_stderr(arguments.log_level)
    if gateway.keys is None and arguments.host not in ("127.0.0.1", "::1", "localhost"):
        log.warning(
            "open to everybody who reaches this address: give --api-keys", extra={"host": arguments.host}
        )
    port = listener.getsockname()[1]
    log.info("ready to listen", extra={"address": f"http://{arguments.host}:{port}/v1"})
    config = uvicorn.Config(
        application(gateway),
        http=BoundedProtocol,
        ws="none",
        loop="uvloop",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=arguments.drain,
    )
    uvicorn.Server(config).run(sockets=[listener])
    return 0
