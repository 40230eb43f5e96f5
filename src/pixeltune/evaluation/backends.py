"""Who answers: a model in this process, or an engine behind an OpenAI-compatible URL."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pixeltune.data.images import as_urls
from pixeltune.data.messages import Message
from pixeltune.data.placement import place_image

Tools = list[dict] | None


@dataclass(frozen=True)
class Reply:
    """One answer, or why there is none."""

    text: str
    """Special tokens kept (``<tool_call>`` is one), end-of-turn removed."""
    prompt_tokens: int | None = None
    """The artwork's image tokens and the vectors of a soft prompt included."""
    completion_tokens: int | None = None
    latency: float | None = None
    """Seconds until it was there: of the request to an engine; in this process, of the whole batch."""
    error: str | None = None
    """One line if the request failed; then there is no text."""


class Backend(Protocol):
    """Something that answers conversations.

    ``chunk`` conversations are handed over at a time, and as many chunks as it has ``workers`` at once. They
    may hold pictures (`pixeltune.data.images`), which come behind the artwork.
    """

    chunk: int
    workers: int

    def complete(
        self, conversations: list[list[Message]], tools: list[Tools], max_new_tokens: int
    ) -> list[Reply]:
        """Greedy completions."""
        ...

    def choose(
        self, conversations: list[list[Message]], tools: list[Tools], options: list[list[str]]
    ) -> list[Reply]:
        """Of each conversation's options the one with the highest mean log-probability per token."""
        ...


class OnEngine:
    """An OpenAI-compatible engine.

    Args:
        engine: from :mod:`pixeltune.engines.engine`.
        picture: data URL of an artwork, placed as in training. Its bytes travel once, where the engine keeps
            pictures by name.
        concurrency: requests at a time.
    """

    chunk = 1  # every row is an episode of its own
    sampling: Mapping[str, Any] = {}
    """How `complete` draws, as keywords of the engine's; greedy where nothing is said."""

    def __init__(self, engine: Any, picture: str | None = None, concurrency: int = 16):
        self.engine, self.picture, self.workers = engine, picture, concurrency
        self._unseen, self._showing = picture, threading.Lock()

    def complete(
        self, conversations: list[list[Message]], tools: list[Tools], max_new_tokens: int
    ) -> list[Reply]:
        return [
            self._complete(messages, tool, max_new_tokens)
            for messages, tool in zip(self._placed(conversations), tools, strict=True)
        ]

    def choose(
        self, conversations: list[list[Message]], tools: list[Tools], options: list[list[str]]
    ) -> list[Reply]:
        rows = zip(self._placed(conversations), tools, options, strict=True)
        return [self._choose(messages, tool, offered) for messages, tool, offered in rows]

    def _placed(self, conversations: list[list[Message]]) -> Iterable[list[Message]]:
        with self._showing:  # those who ask at the same time wait, and then need not carry it
            if self._unseen:
                self.engine.show(self._unseen)
                self._unseen = None
        sent = (as_urls(messages) for messages in conversations)
        return (place_image(messages, self.picture) for messages in sent) if self.picture else sent

    def _complete(self, messages: list[Message], tools: Tools, max_new_tokens: int) -> Reply:
        from pixeltune.engines.replies import EngineError

        try:
            answer = self.engine.complete(messages, tools, max_tokens=max_new_tokens, **self.sampling)
        except EngineError as error:
            return Reply("", error=str(error))
        return Reply(answer.text, answer.prompt_tokens, answer.completion_tokens, answer.latency)

    def _choose(self, messages: list[Message], tools: Tools, options: list[str]) -> Reply:
        from pixeltune.engines.replies import EngineError

        begin, best = time.perf_counter(), None
        try:
            for option in options:
                scored = self.engine.score(messages, option, tools)
                mean = sum(scored.logprobs) / len(scored.logprobs)
                if best is None or mean > best[0]:
                    best = mean, option, scored
        except EngineError as error:
            return Reply("", error=str(error))
        _, option, scored = best
        seconds = time.perf_counter() - begin
        return Reply(option, len(scored.prompt_token_ids), len(scored.token_ids), seconds)


def image_parts(messages: list[Message]) -> list[Message]:
    """The served conversation with the image part as a template wants it."""
    return [
        {**message, "content": [{"type": "image"} if "image_url" in part else part for part in content]}
        if isinstance(content := message["content"], list)
        else message
        for message in messages
    ]
