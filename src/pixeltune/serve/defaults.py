"""What the gateway does where nothing is said, beside the `Limits` of a request; for `serve` and for its help."""

from __future__ import annotations

HOST = "127.0.0.1"
"""Address to listen on: only this machine can ask."""

PORT = 8080

CAPACITY = 1024
"""Requests at one engine at a time."""

NOTICE = 5.0
"""Seconds after SIGTERM in which /readyz answers 503 and requests are still taken: balancers look elsewhere."""

DRAIN = 60
"""Seconds that running requests have after that."""

CACHE_MIB = 512
"""Of verified artworks in memory."""

LOG_LEVEL = "info"
