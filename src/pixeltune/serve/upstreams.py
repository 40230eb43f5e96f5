"""The engines behind the gateway: which of them serves what, which is well, and which one gets a request."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

import aiohttp

from pixeltune.engines.engine import api_url
from pixeltune.engines.kept_pictures import KeptPictures, keeps_pictures
from pixeltune.errors import UserError
from pixeltune.serve.bodies import RequestError
from pixeltune.serve.defaults import CAPACITY
from pixeltune.serve.telemetry import one_line

log = logging.getLogger("pixeltune.serve")

PROBE_SECONDS = 5.0  # between two looks at an engine
PROBE_TIMEOUT = 5.0
CONNECT_TIMEOUT = 5.0
KEEP_ALIVE = 4.0  # uvicorn, and so vLLM, closes idle connections after 5 s
FAILURES = 5  # answers 5xx in a row, after which an engine is left alone
REST_SECONDS = 10.0  # for so long
SLACK = 1.25  # over its fair share of requests that an engine may have before affinity gives way
FEW = 8  # requests that an engine batches without ado
RETRY_SECONDS = 1.0  # ... at one that did not answer
NOT_REACHED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
GONE = (aiohttp.ClientConnectionError, ConnectionError)  # or it hung up before it began to answer
START_IT = "Start it, or correct --upstream."
SEE_LOG = "Wait until it is, or see its log."
GIVE_KEY = "Put its key into the environment variable of --upstream_key_env."
CORRECT_IT = "Correct --upstream: it is an engine's address, such as http://host:8000/v1."


class Upstream:
    """One engine: address, models, health, load."""

    def __init__(self, url: str) -> None:
        self.url = api_url(url)
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"{url!r} is not an address: --upstream takes something like http://host:8000/v1")
        # For logs and metrics, and for people: without user and password.
        self.name = parts.hostname + (f":{parts.port}" if parts.port else "")
        self.address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        self.models: dict[str, dict] = {}  # name as served to its entry in /v1/models
        self.names: dict[str, str] = {}  # any name, the root that vLLM tells too, to name as served
        self.has_uuids = False
        self.reachable = False
        self.problem, self.reason, self.remedy = "", "", START_IT  # why it is not
        self.in_flight = 0
        self._failures = 0
        self._rests_until = 0.0
        self.kept = KeptPictures()

    @property
    def well(self) -> bool:
        """Whether it answers, and not with one failure after the other."""
        return self.reachable and time.monotonic() >= self._rests_until

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Counts a request while it runs."""
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    def answered(self, status: int) -> None:
        """Take note of an answer."""
        if status < 500:
            self._failures = 0
            return
        self._failures += 1
        if self._failures >= FAILURES:
            self._failures, self._rests_until = 0, time.monotonic() + REST_SECONDS
            log.warning(
                "upstream rests", extra={"upstream": self.name, "reason": f"{FAILURES} failures in a row"}
            )

    def lost(self, reason: str, problem: str = "does not answer", remedy: str = START_IT) -> None:
        """Take note that it cannot be used: no more requests until a probe succeeds.

        Args:
            reason: what was seen.
            problem: what it does, in words that go on from "the engine at ...".
            remedy: a sentence.
        """
        if self.reachable or problem != self.problem:  # once, not at each look
            event = "upstream lost" if self.reachable else f"the engine {problem}"
            told = {"upstream": self.name, "address": self.address, "reason": reason, "advice": remedy}
            log.warning(event, extra=told)
        self.reachable = False
        self.problem, self.reason, self.remedy = problem, reason, remedy
        self.kept.clear()  # who was away may have restarted, with an empty cache

    async def probe(self, session: aiohttp.ClientSession, headers: dict[str, str]) -> None:
        """Ask which models it serves."""
        asked = {**headers, "Accept-Encoding": "identity"}  # some compress nevertheless, which is undone
        try:
            async with (
                asyncio.timeout(PROBE_TIMEOUT),
                session.get(f"{self.url}/models", headers=asked, auto_decompress=True) as answer,
            ):
                if answer.status in (401, 403):
                    self.lost(f"/models answers {answer.status}", "wants an API key", GIVE_KEY)
                    return
                if answer.status >= 500:  # it, or a proxy in front of one that still starts
                    self.lost(f"/models answers {answer.status}", "is not ready", SEE_LOG)
                    return
                if answer.status != 200:
                    raise ValueError(f"/models answers {answer.status}")
                data = (await answer.json(content_type=None))["data"]
                models = {str(entry["id"]): entry for entry in data}
        except (*GONE, TimeoutError) as error:
            self.lost(one_line(error)[:200])
            return
        except (ValueError, KeyError, TypeError, aiohttp.ClientError) as error:
            self.lost(one_line(error)[:200], "does not list its models", CORRECT_IT)
            return
        self.models = models
        self.names = {str(entry.get("root")): name for name, entry in models.items() if entry.get("root")}
        self.names |= {name: name for name in models}
        self.has_uuids = keeps_pictures(models.values())
        if not self.reachable:
            log.info("upstream found", extra={"upstream": self.name, "models": sorted(models)})
        self.reachable = True


class Upstreams:
    """All engines, probed every few seconds.

    Args:
        urls: their addresses.
        aliases: name of a base model in artworks to its name as served, where they differ.
        key: API key for the engines; None: what the client sends is passed on.
        capacity: most requests one engine may have at a time.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        aliases: dict[str, str] | None = None,
        key: str | None = None,
        capacity: int = CAPACITY,
    ) -> None:
        self.all = [Upstream(url) for url in dict.fromkeys(urls)]
        self.aliases, self.key, self.capacity = aliases or {}, key, capacity

    def headers(self) -> dict[str, str]:
        """What identifies the gateway to the engines."""
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    async def watch(self, session: aiohttp.ClientSession) -> None:
        """Probe every engine again and again; one that hangs does not hold up the others."""

        async def look_after(upstream: Upstream) -> None:
            while True:
                await asyncio.sleep(PROBE_SECONDS if upstream.reachable else RETRY_SECONDS)
                await upstream.probe(session, self.headers())

        await asyncio.gather(*(look_after(upstream) for upstream in self.all))

    def serving(self, base: str) -> list[Upstream]:
        """Engines that serve a base model, reachable or not."""
        name = self.aliases.get(base, base)
        return [upstream for upstream in self.all if name in upstream.names]

    def served_name(self, upstream: Upstream, base: str) -> str:
        """What a base model is called there."""
        return upstream.names[self.aliases.get(base, base)]

    def models(self) -> dict[str, dict]:
        """Entries of /v1/models of all engines, by name."""
        return {
            name: entry
            for upstream in self.all
            if upstream.reachable
            for name, entry in upstream.models.items()
        }

    def silent(self) -> list[Upstream]:
        """Engines that may serve anything for all we know: none has told yet, or nobody is there at all."""
        if not any(upstream.reachable for upstream in self.all):
            return self.all
        return [upstream for upstream in self.all if not upstream.reachable and not upstream.names]

    def choose(self, base: str, affinity: str | None) -> Upstream:
        """Who gets the next request.

        The least busy one; with `affinity`, a picture's hash, the first one for it by rendezvous hashing that
        has not more than FEW requests, or SLACK times its share of them (Mirrokni, Thorup, Zadimoghaddam:
        Consistent hashing with bounded loads, arXiv 1608.01350). Every copy of the gateway prefers the same
        one, which so keeps the picture in its caches.

        Raises:
            RequestError: 429, all have as many requests as they may; 503, none is reachable.
        """
        there = [upstream for upstream in self.serving(base) if upstream.reachable]
        there = [upstream for upstream in there if upstream.well] or there  # better an ill one than none
        if not there:
            raise unavailable(f"no engine that serves {base!r} is reachable", self.serving(base))
        free = [upstream for upstream in there if upstream.in_flight < self.capacity]
        if not free:
            raise RequestError(429, "the engines are busy: try again", code="busy", retry_after=1)
        if affinity is None or len(free) == 1:
            return min(free, key=lambda upstream: upstream.in_flight)
        load = 1 + sum(upstream.in_flight for upstream in free)
        share = max(FEW, math.ceil(SLACK * load / len(free)))
        ranked = sorted(
            free, key=lambda upstream: hashlib.sha256(f"{affinity} {upstream.url}".encode()).digest()
        )
        return next(upstream for upstream in ranked if upstream.in_flight < share)


def unavailable(what: str, engines: Sequence[Upstream]) -> RequestError:
    """The refusal of what would need engines that do not answer.

    Args:
        what: cannot be done, or be told.
        engines: those, none of them reachable.
    """
    seen = [
        f"the engine at {one.address} {one.problem or 'was not asked yet'}"
        + (f" ({one.reason})" if one.reason else "")
        for one in engines
    ]
    remedies = " ".join(dict.fromkeys(one.remedy for one in engines))
    return RequestError(
        503,
        f"{what}: {'; '.join(seen)}. {remedies} The gateway looks again every {RETRY_SECONDS:g} s, and then "
        "takes requests by itself.",
        code="engine_unavailable",
        retry_after=5,
    )
