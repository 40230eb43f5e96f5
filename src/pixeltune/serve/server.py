"""The gateway as a process: `serve` runs until it is told to end."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping, Sequence

import uvicorn

from pixeltune.errors import UserError
from pixeltune.serve.defaults import CACHE_MIB, CAPACITY, DRAIN, HOST, LOG_LEVEL, NOTICE, PORT
from pixeltune.serve.ending import DrainingServer
from pixeltune.serve.gateway import Gateway
from pixeltune.serve.hub import open_shelf
from pixeltune.serve.keys import ApiKeys
from pixeltune.serve.protocol import BoundedProtocol
from pixeltune.serve.reply import Limits
from pixeltune.serve.routes import application
from pixeltune.serve.telemetry import log_to_stderr
from pixeltune.serve.upstreams import Upstreams

log = logging.getLogger("pixeltune.serve")

MAX_CONNECTIONS = 16_384
LOCAL = ("127.0.0.1", "::1", "localhost")


def serve(
    upstreams: Sequence[str],
    artworks: str | os.PathLike[str],
    *,
    host: str = HOST,
    port: int = PORT,
    keys: str | os.PathLike[str] | None = None,
    aliases: Mapping[str, str] | None = None,
    upstream_key: str | None = None,
    max_body: int = Limits.body,
    max_concurrency: int = CAPACITY,
    timeout: float = Limits.answer,
    pause: float = Limits.pause,
    notice: float = NOTICE,
    drain: int = DRAIN,
    cache: int = CACHE_MIB,
    log_level: str = LOG_LEVEL,
) -> None:
    """Make every PNG of a folder a model name, until SIGTERM or SIGINT; running requests may then end.

    After SIGTERM /readyz answers 503, and `notice` seconds later nothing new is taken; the process ends with
    status 0. SIGINT spares the notice.

    Everything is checked before anything starts. The log of the process, JSON lines, goes to stderr.

    Args:
        upstreams: addresses of OpenAI-compatible engines, such as "http://host:8000/v1".
        artworks: the folder; `team/calls.png` in it is the model "team/calls". Links are followed. Or on the hub
            ``hf://owner/name``, an artwork, or ``hf://collections/owner/name``, several (`HubShelf`).
        host: address to listen on; by default this machine alone can ask.
        port: to listen on; 0: any free one, which the log tells.
        keys: JSON file of callers (see `ApiKeys`); None: anybody may ask.
        aliases: an artwork's base model to the name under which the engines serve it, where they differ.
        upstream_key: API key for the engines; None: what a client sends is passed on.
        max_body: bytes of a request.
        max_concurrency: requests at one engine at a time; more are refused with 429.
        timeout: seconds for an engine to begin its answer.
        pause: seconds between two parts of a stream.
        notice: seconds after SIGTERM in which requests are still taken, for balancers to see /readyz; 0: none.
        drain: seconds that running requests have after that.
        cache: MiB of verified artworks kept in memory.
        log_level: "debug", "info", "warning" or "error".

    Raises:
        UserError: an argument is wrong, or the address is taken; nothing has been started.
    """
    numbers = {"max_body": max_body, "max_concurrency": max_concurrency, "timeout": timeout}
    for name, value in (numbers | {"pause": pause, "cache": cache}).items():
        if not value > 0:
            raise UserError(f"--{name} must be positive, not {value}")
    for name, value in {"notice": notice, "drain": drain}.items():
        if not value >= 0:
            raise UserError(f"--{name} must not be negative: {value}")
    gateway = Gateway(
        open_shelf(artworks, cache * 2**20),
        Upstreams(upstreams, aliases=dict(aliases or {}), key=upstream_key, capacity=max_concurrency),
        ApiKeys(keys) if keys else None,
        Limits(body=max_body, answer=timeout, pause=pause),
    )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:  # here, so that a taken port is an error like any other
        listener = socket.create_server((host, port), family=family, backlog=2048, reuse_port=False)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"cannot listen on {host}, port {port} ({reason}): give an address of this machine as --host and "
            "a --port that is free (0: any)"
        ) from None
    log_to_stderr(log_level)
    if gateway.keys is None and host not in LOCAL:
        log.warning("open to everybody who reaches this address: give --api_keys", extra={"host": host})
    address = f"[{host}]" if family == socket.AF_INET6 else host
    log.info("ready to listen", extra={"address": f"http://{address}:{listener.getsockname()[1]}/v1"})
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
        timeout_graceful_shutdown=drain,
    )
    DrainingServer(config, gateway, notice).run(sockets=[listener])
