"""Two real vLLM servers behind the gateway, pictures sent once: one is killed under load, and started again."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import openai
import pytest

from documents import ROOT
from gateways import Served, gateway, wait
from pixeltune.tasks.synthetic import sums
from vllm_server import free_port, kill, vllm_server

AT_ONCE, REQUESTS = 8, 48


def ask_all(url: str, rows: list[dict], begun: Callable[[int], None]) -> list[str]:
    """The answers; `begun` is told how many there are, one after another."""
    done: list[None] = []
    with openai.OpenAI(base_url=url, api_key="x", max_retries=0, timeout=300) as client:

        def ask(row: dict) -> str:
            answer = client.chat.completions.create(
                model="sums", messages=row["prompt"], temperature=0.0, max_tokens=sums.TASK.max_new_tokens
            )
            done.append(None)
            begun(len(done))
            return answer.choices[0].message.content

        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(ask, rows))


@pytest.mark.vllm
def test_no_request_is_lost_when_an_engine_is_killed_and_started_again(bundled: Path, tmp_path: Path):
    folder = tmp_path / "artworks"
    folder.mkdir()
    (folder / "sums.png").write_bytes((ROOT / "docs" / "images" / "sums.png").read_bytes())
    ports = free_port(), free_port()
    with ExitStack() as stack:
        urls = [
            stack.enter_context(vllm_server(bundled, tmp_path / f"{port}.log", name="tiny", port=port))
            for port in ports
        ]
        names = [url.split("/")[2] for url in urls]
        flags = [word for url in urls for word in ("--upstream", url)]
        served = stack.enter_context(gateway(folder, *flags, log=tmp_path / "log"))

        rows = sums.rows("test", 2 * REQUESTS, seed=7)
        ask_all(served.url, rows[:1], lambda _: None)
        holder = names.index(answered_by(served)[0])

        def ends(count: int) -> None:
            if count == REQUESTS // 4:
                kill(urls[holder])

        said = ask_all(served.url, rows[:REQUESTS], ends)
        assert share_right(rows[:REQUESTS], said) > 0.85
        with vllm_server(bundled, tmp_path / "again.log", name="tiny", port=ports[holder]):
            wait(lambda: all(json.loads(served.get("/readyz")[1])["upstreams"].values()))
            said = ask_all(served.url, rows[REQUESTS:], lambda _: None)
            assert share_right(rows[REQUESTS:], said) > 0.85
            assert names[holder] in answered_by(served, REQUESTS)  # it was sent the bytes again
        statuses = {line["status"] for line in served.lines() if line["event"] == "request"}
        assert statuses == {200}


def share_right(rows: list[dict], said: list[str]) -> float:
    return sum(sums.score(row, text) for row, text in zip(rows, said, strict=True)) / len(rows)


def answered_by(served: Served, last: int = 1) -> list[str]:
    """The engines that have answered the last requests."""
    found = [line["upstream"] for line in served.lines() if line["event"] == "request"]
    return found[-last:]
