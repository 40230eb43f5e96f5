"""How the process ends: first it says so, then it takes nothing new, and what runs ends whole."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from types import FrameType

import uvicorn

from pixeltune.serve.gateway import Gateway

log = logging.getLogger("pixeltune.serve")

LOOK_SECONDS = 0.1  # whether somebody is in a hurry


class DrainingServer(uvicorn.Server):
    """uvicorn's server, with a notice before it closes its door.

    Args:
        config: uvicorn's; its `timeout_graceful_shutdown` is what running requests have.
        gateway: whose readiness ends at SIGTERM.
        notice: seconds from then on in which requests are still taken.
    """

    def __init__(self, config: uvicorn.Config, gateway: Gateway, notice: float) -> None:
        super().__init__(config)
        self.gateway, self.notice = gateway, notice

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take note of a signal. uvicorn raises those that it is told of once more at its end."""
        if sig == signal.SIGTERM:  # an order carried out is no failure, so the status is 0
            self.should_exit = self.gateway.draining = True
        else:
            self.notice = 0.0
            super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait out the notice, then close the door and wait for what runs."""
        self.gateway.draining = True
        log.info("ending", extra={"notice": self.notice, "drain": self.config.timeout_graceful_shutdown})
        told = time.monotonic()
        while time.monotonic() - told < self.notice:
            await asyncio.sleep(LOOK_SECONDS)
        await super().shutdown(sockets)
