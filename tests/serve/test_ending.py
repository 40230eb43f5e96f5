"""The end of the process, with real processes under load: said first, then nothing new, all that runs whole."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time

import aiohttp

from gateways import Served, gateway, wait

STREAMS = 24
WORDS = 30  # one every 0.2 s: streams outlast the notice


async def stream(served: Served) -> tuple[int, str]:
    """Status and text of a slow stream."""
    said = " ".join(["slowly"] * WORDS)
    body = {"model": "art", "stream": True, "messages": [{"role": "user", "content": said}]}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{served.url}/chat/completions", json=body) as answer,
    ):
        return answer.status, (await answer.read()).decode()


def refused(served: Served) -> bool:
    try:
        socket.create_connection(("127.0.0.1", int(served.root.rpartition(":")[2])), 5).close()
    except OSError:
        return True
    return False


def test_sigterm_under_load(engine, folder, tmp_path):
    async def run(served: Served) -> list[tuple[int, str]]:
        streams = [asyncio.create_task(stream(served)) for _ in range(STREAMS)]
        await asyncio.to_thread(wait, lambda: engine.open_streams == STREAMS)
        served.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(wait, lambda: served.get("/readyz")[0] == 503)
        told = time.monotonic()
        assert json.loads(served.get("/readyz")[1])["draining"] is True
        assert served.get("/healthz")[0] == 200
        # Whoever has not looked at /readyz yet is served.
        assert (await asyncio.to_thread(served.get, "/v1/models"))[0] == 200
        await asyncio.to_thread(wait, lambda: refused(served))
        print(f"refused {time.monotonic() - told:.2f} s after the notice")
        assert engine.open_streams == STREAMS  # ... while all streams are open
        return await asyncio.gather(*streams)

    with gateway(folder, "--upstream", engine.url, "--notice", 2, log=tmp_path / "log") as served:
        answers = asyncio.run(run(served))
        for status, text in answers:
            assert status == 200
            assert text.count('"content": "slowly"') == WORDS
            assert text.endswith("data: [DONE]\n\n")
        assert served.process.wait(10) == 0
        logged = [line for line in served.lines() if line["event"] == "request"]
        assert len([line for line in logged if line["status"] == 200 and not line["problem"]]) == STREAMS
        assert any(line["event"] == "ending" for line in served.lines())


def test_what_does_not_end_in_time_is_cut_off(engine, folder, tmp_path):
    async def run(served: Served) -> str:
        cut = asyncio.create_task(stream(served))
        await asyncio.to_thread(wait, lambda: engine.open_streams == 1)
        served.process.send_signal(signal.SIGTERM)
        try:
            return (await cut)[1]
        except aiohttp.ClientPayloadError:
            return "cut off"

    wait(lambda: engine.open_streams == 0)
    with gateway(folder, "--upstream", engine.url, "--drain", 1, log=tmp_path / "log") as served:
        assert "[DONE]" not in asyncio.run(run(served))
        assert served.process.wait(10) == 0


def test_who_presses_control_c_does_not_wait_for_balancers(engine, folder, tmp_path):
    with gateway(folder, "--upstream", engine.url, "--notice", 60, log=tmp_path / "log") as served:
        served.process.send_signal(signal.SIGTERM)
        wait(lambda: served.get("/readyz")[0] == 503)
        served.process.send_signal(signal.SIGINT)
        served.process.wait(10)
