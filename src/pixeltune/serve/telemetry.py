"""What the gateway tells about itself: one JSON line per event, and Prometheus metrics."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

LABELLED = 1000  # artworks with a label of their own; the others are counted together
OTHERS = "(others)"
NOT_KNOWN = "-"
"""For the model of a request that was refused before it was known; names that do not exist are no labels."""
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)  # seconds

# Of a whole answer, or of the last event of a stream. A quote inside a JSON string has a backslash before it,
# so nothing that a model writes can look like this.
USAGE = re.compile(rb'"(prompt|input|completion|output)_tokens"\s*:\s*(\d{1,12})')

_PLAIN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonLines(logging.Formatter):
    """One JSON object per line: time, level, event, and what the event is about."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _PLAIN}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_to_stderr(level: str) -> None:
    """Let all that the process logs be JSON lines on stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)


class Metrics:
    """Counters and histograms by artwork and upstream, with a bounded number of labels."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        named: dict[str, Any] = {"registry": self.registry, "namespace": "pixeltune"}
        labels = ("artwork", "upstream")
        self._requests = Counter("requests", "Requests by outcome.", (*labels, "status"), **named)
        self._tokens = Counter("tokens", "Tokens as the engine counts them.", (*labels, "kind"), **named)
        self._seconds = Histogram(
            "request_seconds",
            "From the whole request to the last byte of the answer.",
            labels,
            buckets=BUCKETS,
            **named,
        )
        self._first = Histogram(
            "first_byte_seconds",
            "From the whole request to the first byte.",
            labels,
            buckets=BUCKETS,
            **named,
        )
        self._resent = Counter("pictures_resent", "Pictures an engine had dropped.", ("upstream",), **named)
        self._in_flight = Gauge("requests_in_flight", "Requests at an engine now.", ("upstream",), **named)
        self._up = Gauge("upstream_up", "Whether an engine is reachable.", ("upstream",), **named)
        self._artworks = Gauge("artworks", "Artworks in the served folder.", ("state",), **named)
        self._known: set[str] = set()

    def request(self, artwork: str, upstream: str, status: int, seconds: float, first: float | None) -> None:
        """Count one finished request; `artwork` "" is the base model, `NOT_KNOWN` none, `upstream` "" none."""
        labels = (self._label(artwork), upstream)
        self._requests.labels(*labels, status).inc()
        if upstream:
            self._seconds.labels(*labels).observe(seconds)
        if first is not None:
            self._first.labels(*labels).observe(first)

    def tokens(self, artwork: str, upstream: str, counts: dict[str, int]) -> None:
        """Count the tokens of one answer: `prompt` and `completion`."""
        for kind, count in counts.items():
            self._tokens.labels(self._label(artwork), upstream, kind).inc(count)

    def resent(self, upstream: str) -> None:
        """Count a picture that had to be sent again."""
        self._resent.labels(upstream).inc()

    def text(self, upstreams: list, entries: dict) -> bytes:
        """All metrics in Prometheus' text format."""
        for upstream in upstreams:
            self._in_flight.labels(upstream.name).set(upstream.in_flight)
            self._up.labels(upstream.name).set(upstream.reachable)
        broken = sum(entry.error is not None for entry in entries.values())
        self._artworks.labels("good").set(len(entries) - broken)
        self._artworks.labels("broken").set(broken)
        return generate_latest(self.registry)

    def _label(self, artwork: str) -> str:
        if artwork not in self._known:
            if len(self._known) >= LABELLED:
                return OTHERS
            self._known.add(artwork)
        return artwork


def one_line(error: Exception) -> str:
    """What an exception says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def usage(part: bytes) -> dict[str, int]:
    """Token counts in an answer, or in a part of one: `prompt`, `completion`; the last ones count."""
    counts = {}
    for kind, number in USAGE.findall(part):
        counts["prompt" if kind in (b"prompt", b"input") else "completion"] = int(number)
    return counts
