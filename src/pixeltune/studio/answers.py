"""One typed question, answered with and without the artwork, by the functions that `pixeltune eval` asks with."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pixeltune.data.messages import text_of
from pixeltune.data.tools import tools_of
from pixeltune.errors import UserError
from pixeltune.evaluation.candidates import candidates
from pixeltune.evaluation.providers import ModelProvider
from pixeltune.model.loading import load_model, load_processor
from pixeltune.studio.defaults import MAX_QUESTION
from pixeltune.tasks.own import MAX_NEW_TOKENS


@dataclass(frozen=True)
class Subject:
    """An artwork that was painted, with what it takes to ask as its rows do."""

    model: str
    file: Path
    """Its PNG."""
    example: str
    """A question of its rows."""
    tools: tuple[dict[str, Any], ...]
    """That go with that question, and with others."""
    max_new_tokens: int
    """Of an answer."""


def subject_of(painting: Any, file: Path) -> Subject:
    """
    Args:
        painting: a `pixeltune.training.paint.Painting` that has ended.
        file: its PNG.
    """
    ready = painting.ready
    row = (ready.held_out or ready.train_rows)[0]
    asked = [message for message in row["prompt"] if message["role"] == "user"]
    return Subject(
        painting.arguments.model,
        file,
        text_of(asked[-1]["content"]) if asked else "",
        tuple(tools_of(row) or ()),
        ready.task.max_new_tokens if ready.task else MAX_NEW_TOKENS,
    )


class Answers:
    """Keeps the model of the last question, because the next one is mostly for the same."""

    def __init__(self) -> None:
        self._model: str | None = None
        self._provider: ModelProvider | None = None

    def compare(self, question: str, subject: Subject) -> tuple[str, str]:
        """What the frozen model answers, greedily: alone, and with the artwork in front of the same words.

        Args:
            question: a user's message.
            subject: whose model and artwork.

        Raises:
            UserError: the question is empty or too long, or the artwork's file or the model cannot be loaded.
        """
        if not question.strip():
            raise UserError("ask something: the question is empty")
        if len(question) > MAX_QUESTION:
            raise UserError(f"the question has more than {MAX_QUESTION:,} characters: ask a shorter one")
        field = candidates(["off", str(subject.file)], engine=False)
        if self._provider is None or self._model != subject.model:
            self.forget()
            processor = load_processor(subject.model)
            load = partial(load_model, subject.model)
            self._provider = ModelProvider(load, subject.model, processor, batch_size=1, quiet=True)
            self._model = subject.model
        said = []
        for one in field:
            with self._provider.of(one) as backend:
                talk = [{"role": "user", "content": question}]
                tools = list(subject.tools) or None
                (reply,) = backend.complete([talk], [tools], subject.max_new_tokens)
                said.append(reply.text)
        without, with_artwork = said
        return without, with_artwork

    def forget(self) -> None:
        """Let go of the model, and of what the last painting left in memory."""
        self._provider = self._model = None
        gc.collect()
