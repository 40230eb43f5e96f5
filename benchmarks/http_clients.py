"""Why the gateway asks engines with aiohttp: requests per second of HTTP clients on one core.

    apt install nginx-light; python benchmarks/http_clients.py

64 requests at a time, each a chat with a 200 kB picture, to an nginx with a fixed answer on the other core;
uvloop; sides interleaved. httpx2 is what `openai` brings along.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import httpx2
import numpy as np
import uvloop

from benchmarks.common.machine import machine
from benchmarks.gateway import GATEWAY_CORE, Bench

ROUNDS, SECONDS, CLIENTS = 5, 4.0, 64
OUT = Path(__file__).parent / "results" / "http_clients.json"


async def rate(ask: Callable[[], Awaitable[None]]) -> float:
    """Requests per second of CLIENTS tasks that ask again and again."""
    until, count = time.perf_counter() + SECONDS, 0

    async def client() -> None:
        nonlocal count
        while time.perf_counter() < until:
            await ask()
            count += 1

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return count / SECONDS


async def with_aiohttp(url: str, body: bytes) -> float:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask() -> None:
            async with session.post(url, data=body) as answer:
                assert answer.status == 200
                await answer.read()

        return await rate(ask)


async def with_httpx2(url: str, body: bytes) -> float:
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx2.AsyncClient(limits=limits) as client:

        async def ask() -> None:
            answer = await client.post(url, content=body)
            assert answer.status_code == 200

        return await rate(ask)


def main(argv: list[str] | None = None) -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args(argv)
    if shutil.which("nginx") is None:
        sys.exit("nginx not found: apt install nginx-light")
    result = {"made_by": "python benchmarks/http_clients.py", "machine": machine(), "rounds": ROUNDS}
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        bench = Bench(Path(name), stack)
        url = f"http://127.0.0.1:{bench.fast_engine('somebody')}/v1/chat/completions"
        os.sched_setaffinity(0, {GATEWAY_CORE})
        rates: dict[str, list[float]] = {"aiohttp": [], "httpx2": []}
        for _ in range(ROUNDS):
            for side, function in (("aiohttp", with_aiohttp), ("httpx2", with_httpx2)):
                rates[side].append(round(uvloop.run(function(url, json.dumps(bench.by_hand).encode()))))
    result |= {side: {"median": float(np.median(r)), "range": [min(r), max(r)]} for side, r in rates.items()}
    result["ratio"] = round(result["aiohttp"]["median"] / result["httpx2"]["median"], 2)
    print(json.dumps(result, indent=1))
    OUT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
