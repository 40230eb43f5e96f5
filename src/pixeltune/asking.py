"""Questions to the Hugging Face hub: each is answered within seconds, or the hub cannot be reached."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

SECONDS = 6.0  # that the hub has to answer, looking up its address included

Answer = TypeVar("Answer")


def within_seconds(ask: Callable[[], Answer], seconds: float) -> Answer:
    """What a question gives or raises; TimeoutError where that takes longer than `seconds`."""
    future: Future[Answer] = Future()

    def answer() -> None:
        try:
            future.set_result(ask())
        except BaseException as error:
            future.set_exception(error)

    # Aside, because looking up an address knows no bound on time.
    threading.Thread(target=answer, daemon=True).start()
    try:
        return future.result(seconds)
    except TimeoutError as error:
        raise TimeoutError(str(error) or f"no answer within {seconds:g} s") from None
