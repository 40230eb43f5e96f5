"""What the gateway costs: latency added to streams, requests per second, memory; beside nginx as a proxy.

    apt install nginx-light wrk; python benchmarks/gateway.py [--soak 600]

The gateway, or nginx, has one core, load generator and engine have another. The engine is a stand-in whose
answers cost nothing: for streams one that sends a part every 50 ms, for throughput nginx with a fixed answer.
"Added" is the time to the first part of a stream minus the same without gateway; sides interleaved in rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import uvloop

from benchmarks.common.machine import machine
from pixeltune.artwork.artwork import Artwork
from pixeltune.artwork.provenance import Provenance
from pixeltune.data.placement import PLACEMENT, place_image

GATEWAY_CORE, OTHER_CORE = 0, 1
FIRST, PAUSE, PARTS = 0.1, 0.05, 20  # seconds to the first part, between parts; parts of a stream
MESSAGES = [{"role": "user", "content": "How many apples are left? " * 10}]
OUT = Path(__file__).parent / "results" / "gateway.json"


class StandIn(asyncio.Protocol):
    """An engine for streams: reads a request, sends parts at their times, keeps the connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport, self.left, self.head = transport, 0, b""
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        if self.left:
            self.left -= len(data)
        else:
            self.head += data
            if b"\r\n\r\n" not in self.head:
                return
            head, _, body = self.head.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            self.left, self.head = (int(length[1]) if length else 0) - len(body), b""
            if b"/v1/models" in head:
                models = json.dumps({"data": [{"id": "base", "owned_by": OWNER}]}).encode()
                self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(models) + models)
                return
        if self.left == 0:
            asyncio.get_running_loop().call_later(FIRST, self.part, 0)

    def part(self, number: int) -> None:
        if self.transport.is_closing():
            return
        event = b'data: {"choices": [{"index": 0, "delta": {"content": "%d"}}]}\n\n' % number
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.transport.write((b"" if number else head) + b"%x\r\n%b\r\n" % (len(event), event))
        if number + 1 == PARTS:
            self.transport.write(b"0\r\n\r\n")
        else:
            asyncio.get_running_loop().call_later(PAUSE, self.part, number + 1)


OWNER = "somebody"  # "vllm": an engine that keeps pictures by name, so that only the name is sent


class Load(asyncio.Protocol):
    """One client: a stream after the other on one connection; notes the time to each first part."""

    def __init__(
        self, request: bytes, until: float, times: list[float], errors: list[str], count: list[int]
    ) -> None:
        self.request, self.until, self.times, self.errors, self.count = request, until, times, errors, count
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        if time.perf_counter() > self.until or self.count[0] <= 0:
            self.transport.close()
            self.done.cancelled() or self.done.set_result(None)
            return
        self.count[0] -= 1
        self.seen, self.begin, self.first = b"", time.perf_counter(), None
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.seen += data
        if self.first is None and b"data: " in self.seen:
            self.first = time.perf_counter() - self.begin
        if self.seen.endswith(b"0\r\n\r\n"):
            if self.seen.count(b"data: ") != PARTS or not self.seen.startswith(b"HTTP/1.1 200"):
                self.errors.append(self.seen[:200].decode("latin-1"))
            self.times.append(self.first)
            self.ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.errors.append(f"connection lost: {error}")
            self.done.set_result(None)


def post(port: int, body: dict) -> bytes:
    """A request as bytes."""
    data = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    )
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(data) + data


def streams(
    port: int, body: dict, clients: int, seconds: float, count: int = 10**9
) -> tuple[list[float], list[str]]:
    """Times to the first part, in seconds, of all streams that `clients` clients ran, and what went wrong."""
    times: list[float] = []
    errors: list[str] = []

    async def run() -> None:
        loop, until, left = asyncio.get_running_loop(), time.perf_counter() + seconds, [count]
        request, running = post(port, body), []
        for _ in range(clients):
            _, load = await loop.create_connection(
                lambda: Load(request, until, times, errors, left), "127.0.0.1", port
            )
            running.append(load.done)
            await asyncio.sleep(FIRST / clients * 5)  # not all in one moment
        await asyncio.gather(*running)

    uvloop.run(run())
    return times, errors


def stand_in(port: int, owner: str) -> None:
    """Serve the stand-in for ever, on the other core."""
    global OWNER
    OWNER = owner
    os.sched_setaffinity(0, {OTHER_CORE})

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(StandIn, "127.0.0.1", port, backlog=2048)
        await server.serve_forever()

    uvloop.run(serve())


@contextlib.contextmanager
def running(*command: object, core: int, port: int, path: str) -> Iterator[subprocess.Popen]:
    """A process on one core, once it answers at `path`."""
    words = ["taskset", "-c", str(core), *map(str, command)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(400):
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5),
            ):
                break
            time.sleep(0.05)
        else:
            raise RuntimeError(f"{words} does not answer")
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(90)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def nginx(folder: Path, name: str, port: int, location: str, upstream: str = "") -> list[str]:
    """Command of an nginx with one worker."""
    file = folder / f"{name}.conf"
    file.write_text(
        f"daemon off; worker_processes 1; pid {folder}/{name}.pid; error_log /dev/null;\n"
        "events { worker_connections 8192; }\n"
        "http { access_log off; client_max_body_size 64m; client_body_buffer_size 1m;\n"
        f"keepalive_requests 1000000; {upstream}\n"
        f"client_body_temp_path {folder}/{name}-body; proxy_temp_path {folder}/{name}-proxy;\n"
        f"server {{ listen 127.0.0.1:{port} backlog=2048; {location} }} }}\n"
    )
    return ["nginx", "-c", str(file), "-p", str(folder)]


def wrk(port: int, body: bytes, seconds: int, folder: Path) -> dict[str, float]:
    """Requests per second of 64 connections, and what went wrong."""
    (folder / "body").write_bytes(body)
    script = folder / "post.lua"
    script.write_text(
        f'local f = io.open("{folder}/body", "rb"); wrk.body = f:read("*a"); f:close()\n'
        'wrk.method = "POST"; wrk.headers["Content-Type"] = "application/json"\n'
        "done = function(s, l, r) io.write(string.format('RESULT %d %d %d\\n', s.requests, s.duration, "
        "s.errors.connect + s.errors.read + s.errors.write + s.errors.status + s.errors.timeout)) end\n"
    )
    command = ["taskset", "-c", str(OTHER_CORE), "wrk", "-t1", "-c64", f"-d{seconds}", "-s", str(script)]
    out = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/v1/chat/completions"], capture_output=True, text=True, check=True
    ).stdout
    requests, microseconds, errors = map(int, re.search(r"RESULT (\d+) (\d+) (\d+)", out).groups())
    return {"requests": requests, "per_second": requests / microseconds * 1e6, "errors": errors}


def resident(process: subprocess.Popen) -> float:
    """MiB of memory of a process."""
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def quantiles(times: list[float]) -> dict[str, float]:
    """Milliseconds."""
    return {f"p{q}_ms": round(float(np.percentile(times, q)) * 1e3, 2) for q in (50, 99)} | {"n": len(times)}


class Bench:
    """The processes of one run: engines, gateways, proxies; and what is asked of them."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder, self.stack = folder, stack
        pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
        known = {"image_tokens": 64, "placement": PLACEMENT, "processor": {}, "objective": "sft"}
        artwork = Artwork(pixels, Provenance(base_model="base", **known))
        self.png_bytes = artwork.save(folder / "artworks" / "art.png").stat().st_size
        self.by_name = {"model": "art", "messages": MESSAGES}
        self.by_hand = {"model": "base", "messages": place_image(MESSAGES, artwork.data_url())}

    def slow_engine(self, owner: str) -> int:
        """Port of a stand-in whose streams take their time."""
        port = free_port()
        process = multiprocessing.Process(target=stand_in, args=(port, owner), daemon=True)
        process.start()
        self.stack.callback(process.terminate)
        return port

    def fast_engine(self, owner: str) -> int:
        """Port of a stand-in that answers at once: nginx with a fixed answer."""
        port = free_port()
        answer = json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": "4"}}]})
        models = json.dumps({"data": [{"id": "base", "owned_by": owner}]})
        location = f"location / {{ return 200 '{answer}'; }} location /v1/models {{ return 200 '{models}'; }}"
        command = nginx(self.folder, f"engine-{port}", port, location)
        self.stack.enter_context(running(*command, core=OTHER_CORE, port=port, path="/v1/models"))
        return port

    def gateway(self, engine: int) -> tuple[int, subprocess.Popen]:
        """Port and process of a gateway."""
        port = free_port()
        command = f"-m pixeltune.cli.main serve --artworks {self.folder}/artworks --port {port} "
        command += f"--max-concurrency 4096 --upstream http://127.0.0.1:{engine}"
        process = running(sys.executable, *command.split(), core=GATEWAY_CORE, port=port, path="/readyz")
        return port, self.stack.enter_context(process)

    def proxy(self, engine: int) -> int:
        """Port of an nginx in the gateway's place."""
        port = free_port()
        location = (
            "location / { proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection ''; "
            "proxy_buffering off; proxy_request_buffering off; }"
        )
        upstream = f"upstream engine {{ server 127.0.0.1:{engine}; keepalive 512; }}\n"
        command = nginx(self.folder, f"proxy-{port}", port, location, upstream)
        self.stack.enter_context(running(*command, core=GATEWAY_CORE, port=port, path="/v1/models"))
        return port


def latency(sides: dict[str, tuple[int, dict]], rounds: int, seconds: int) -> dict:
    """Time to the first part of a stream, and how much of it is not the first side's."""
    result = {}
    for clients in (1, 64, 256):
        times: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(rounds):
            for side, (port, body) in sides.items():
                taken, errors = streams(port, body, clients, seconds)
                if errors:
                    raise RuntimeError(f"{side}: {errors[:3]}")
                times[side] += taken
        row = {side: quantiles(taken) for side, taken in times.items()}
        direct, *others = row.values()
        for other in others:
            other |= {f"added_{q}": round(other[q] - direct[q], 2) for q in ("p50_ms", "p99_ms")}
        result[clients] = row
        print(clients, "streams", json.dumps(row, indent=1), flush=True)
    return result


def throughput(sides: dict[str, tuple[int, dict]], rounds: int, seconds: int, folder: Path) -> dict:
    """Requests per second of 64 connections that never wait: median and range of the rounds."""
    runs: dict[str, list[dict]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, (port, body) in sides.items():
            runs[side].append(wrk(port, json.dumps(body).encode(), seconds, folder))
    result = {}
    for side, done in runs.items():
        rates = [round(run["per_second"]) for run in done]
        result[side] = {"per_second": round(float(np.median(rates))), "range": [min(rates), max(rates)]}
        result[side] |= {name: sum(run[name] for run in done) for name in ("requests", "errors")}
    print(json.dumps(result, indent=1), flush=True)
    return result


def watched(process: subprocess.Popen, every: float, *load: object) -> list[float]:
    """MiB of memory of a process, every so often, under a load (arguments of `streams`)."""
    other, memory = multiprocessing.Process(target=streams, args=load), []
    other.start()
    while other.is_alive():
        memory.append(round(resident(process), 1))
        other.join(every)
    return memory


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="of every side (default 3)")
    parser.add_argument("--seconds", type=int, default=8, help="per side and round (default 8)")
    parser.add_argument("--soak", type=int, default=0, help="seconds of steady load (default none)")
    options = parser.parse_args(argv)
    if missing := [name for name in ("nginx", "wrk", "taskset") if shutil.which(name) is None]:
        sys.exit(f"{', '.join(missing)} not found: apt install nginx-light wrk util-linux")
    os.sched_setaffinity(0, {OTHER_CORE})
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        bench = Bench(Path(name), stack)
        result = {"made_by": "python benchmarks/gateway.py", "machine": machine(), **vars(options)}
        result["png_bytes"] = bench.png_bytes

        plain, keeping = bench.slow_engine("somebody"), bench.slow_engine("vllm")
        port, process = bench.gateway(plain)
        asked, by_hand = bench.by_name | {"stream": True}, bench.by_hand | {"stream": True}
        sides = {
            "direct, picture by hand": (plain, by_hand),
            "nginx, picture by hand": (bench.proxy(plain), by_hand),
            "gateway": (port, asked),
            "gateway, picture by uuid": (bench.gateway(keeping)[0], asked),
        }
        result["streams"] = latency(sides, options.rounds, options.seconds)

        taken, errors = streams(port, asked, 256, 1e9, count=10_000)
        result["10,000 requests at 256"] = {"answered": len(taken), "errors": len(errors)}
        idle = resident(process)
        result["memory_mib"] = {
            "before": idle,
            "1000 streams": max(watched(process, 0.1, port, asked, 1000, 3)),
        }
        print(result["10,000 requests at 256"], result["memory_mib"], flush=True)

        plain, keeping = bench.fast_engine("somebody"), bench.fast_engine("vllm")
        through = bench.gateway(plain)[0]
        sides = {
            "nginx, picture by hand": (bench.proxy(plain), bench.by_hand),
            "gateway": (through, bench.by_name),
            "gateway, picture by uuid": (bench.gateway(keeping)[0], bench.by_name),
            "gateway, base model": (through, bench.by_name | {"model": "base"}),
        }
        result["throughput"] = throughput(sides, options.rounds, options.seconds, bench.folder)

        if options.soak:
            result["soak_mib"] = watched(process, 30, port, asked, 128, options.soak)
            print(result["soak_mib"], flush=True)
    OUT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
