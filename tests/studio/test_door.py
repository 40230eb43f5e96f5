"""The page of this machine is not for other people's pages."""

from __future__ import annotations

import asyncio

import pytest

from pixeltune.studio.door import Door


def answered(**headers: str) -> int | None:
    """The status of a refusal; None where the request came through."""
    said, through = [], []

    async def page(scope, receive, send) -> None:
        through.append(scope)

    async def send(message) -> None:
        said.append(message)

    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    asyncio.run(Door(page)({"type": "http", "method": "POST", "headers": pairs}, None, send))
    assert bool(through) != bool(said)
    return said[0]["status"] if said else None


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "[::1]:7860", "LOCALHOST"])
def test_its_own_name_comes_in(host):
    assert answered(host=host) is None
    assert answered(host=host, origin=f"http://{host}") is None


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": ""},
        {"host": "stranger.example:7860"},
        {"host": "127.0.0.1.stranger.example"},
        {"host": "[::1"},
        {"host": "stranger.example", "origin": "http://stranger.example"},
        {"host": "127.0.0.1:7860", "origin": "https://stranger.example"},
        {"host": "127.0.0.1:7860", "origin": "http://127.0.0.1:8080"},
        {"host": "127.0.0.1:7860", "origin": "null"},
        {"host": "127.0.0.1:7860", "origin": "http://[::1"},
    ],
)
def test_other_names_and_other_people_s_pages_do_not(headers):
    assert answered(**headers) == 403
