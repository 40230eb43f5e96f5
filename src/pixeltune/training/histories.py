"""Histories that a model makes itself with the start picture: contexts in the very style that they are to withstand."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image
from tqdm import tqdm
from transformers import TrainingArguments

from pixeltune.adapter import ArtConfig
from pixeltune.data.contexts import Context, alone
from pixeltune.data.marks import turn_marks
from pixeltune.data.messages import Message
from pixeltune.data.placeholders import placeholder_tokens, quoted
from pixeltune.data.tools import tools_of
from pixeltune.errors import UserError
from pixeltune.evaluation.in_process import InProcess
from pixeltune.tasks.base import find_rows
from pixeltune.training.preparation import Preparation, with_contexts
from pixeltune.training.settings import PaintArguments

COUNT = 128
"""Histories of a run: half of one exchange, half of two; half from its own questions, half from other tasks'."""

LONGEST = 128
"""Tokens of an answer; one that goes on is cut, as it would be where answers have a limit."""

OTHERS = "sums", "calls"
"""Bundled tasks whose questions are asked as well."""


@dataclass
class _Talk:
    """A conversation that is being made."""

    kind: str
    messages: list[Message]
    tools: list[dict] | None
    exchanges: int = 0

    def ask(self, row: dict) -> None:
        """Go on with a row's question, and its tools; its system message counts at the beginning alone."""
        turns = [turn for turn in row["prompt"] if turn["role"] != "system"]
        self.messages = [*self.messages, *turns] if self.messages else row["prompt"]
        self.tools = tools_of(row)
        self.exchanges += 1


def with_histories(
    ready: Preparation,
    arguments: PaintArguments,
    config: TrainingArguments,
    art: ArtConfig,
    processor: Any,
    model: Any,
    quiet: bool,
) -> Preparation:
    """The same with a share of the training rows behind histories, and a note of it.

    Raises:
        UserError: the model made none that could be used, or a row's prompt cannot stand behind one.
    """
    picture = Image.fromarray(art.canvas().to_uint8())
    asked = [share.name for share in arguments.shares] if arguments.task else []
    made = histories(ready.train_rows, asked, config.seed, InProcess(model, processor, picture), quiet)
    tokens = (*placeholder_tokens(processor), *turn_marks(processor))
    good = [one for one in made if _is_usable(one, tokens)]
    if not good:
        raise UserError(
            "the model says nothing with the start picture that could be a history: give --contexts a file of them"
        )
    if left := len(made) - len(good):
        note = f"{left} of {len(made)} histories are left out: an answer was empty or held a special token"
        ready = replace(ready, notes=(*ready.notes, note))
    return with_contexts(ready, good, arguments, config)


def histories(
    rows: list[dict], tasks: Sequence[str], seed: int, backend: InProcess, quiet: bool = True
) -> list[Context]:
    """`COUNT` conversations, each answer the backend's own, greedy.

    Args:
        rows: to train on, whose questions are asked.
        tasks: their names; of rows of the user's own none.
        seed: of which questions are asked.
        backend: the model that looks at the start picture.
        quiet: no progress bar.
    """
    rng = random.Random(f"histories {seed}")
    others = [row for name in OTHERS if name not in tasks for row in find_rows(name, "train", COUNT, seed)]
    pools = {"the same task": [alone(row) for row in rows], "another task": others}
    kinds = [name for name in pools if pools[name]]
    kinds = [kinds[number % len(kinds)] for number in range(COUNT)]
    talks = [_Talk(kind, [], None) for kind in kinds]
    with tqdm(total=COUNT + COUNT // 2, desc="histories", disable=quiet) as bar:
        for going in (talks, talks[: COUNT // 2]):
            for start in range(0, len(going), backend.chunk):
                some = going[start : start + backend.chunk]
                for one in some:
                    one.ask(rng.choice(pools[one.kind]))
                replies = backend.complete(
                    [one.messages for one in some], [one.tools for one in some], LONGEST
                )
                for one, reply in zip(some, replies, strict=True):
                    one.messages = [*one.messages, {"role": "assistant", "content": reply.text}]
                bar.update(len(some))
    return [_context(one, number) for number, one in enumerate(talks, start=1)]


def _context(talk: _Talk, number: int) -> Context:
    """Without the row's system message: the row that stands behind it has its own."""
    turns = [turn for turn in talk.messages if turn["role"] != "system"]
    return Context(turns, f"{talk.kind}, {talk.exchanges} back", f"history {number}")


def _is_usable(context: Context, tokens: tuple[str, ...]) -> bool:
    said = [turn for turn in context.messages if turn["role"] == "assistant"]
    whole = all(turn.get("tool_calls") or turn["content"] for turn in said)
    return whole and not any(quoted([{"messages": said}], tokens))
