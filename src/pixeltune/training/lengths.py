"""Whether rows fit into the model's context, artwork and answer included, before the model loads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pixeltune.data.messages import Unused
from pixeltune.data.origin import origin
from pixeltune.errors import UserError
from pixeltune.model.loading import context_length
from pixeltune.training.settings import PaintArguments
from pixeltune.training.teacher import model_of

CHUNK = 1000  # texts that are tokenised at once


def context(arguments: PaintArguments) -> int | None:
    """Tokens that all of the models hold, None where their configs do not say."""
    named = [(arguments.model, arguments.revision), *((name, None) for name in arguments.also)]
    if teacher := model_of(arguments):
        named.append((teacher, None))
    known = [length for one in named if (length := context_length(*one)) is not None]
    return min(known, default=None)


def check_lengths(
    rows: Sequence[dict],
    texts: Sequence[Sequence[str]],
    pictures: Sequence[int],
    tokenizer: Any,
    *,
    artwork: int,
    answer: int,
    limit: int,
    cut: int | None = None,
    what: str = "",
) -> None:
    """Refuse rows that are longer than the model's context.

    A text takes at most a token a byte, so only those that are long enough are tokenised.

    Args:
        rows: of a file or a task.
        texts: by row, what the chat template makes of it, from `check_rendered`.
        pictures: by row, image tokens of its own pictures.
        tokenizer: of the model.
        artwork: tokens of the artwork's placeholder.
        answer: tokens that an answer may take which is not in the row yet.
        limit: tokens of the context.
        cut: tokens behind which the trainer cuts a row off (TRL's ``max_length``), with an
            `UnusedDataWarning`; None: it does not.
        what: in front of the number of tokens, where the texts are prompts behind an instruction.

    Raises:
        UserError: naming the first of them, its tokens and the limit.
    """
    most = min(limit, cut or limit) - artwork - answer
    room = [most - taken for taken in pictures]
    long = [
        (number, text)
        for number, row in enumerate(texts)
        for text in row
        if len(text.encode()) > room[number]
    ]
    found: dict[int, int] = {}  # by row, its tokens
    for start in range(0, len(long), CHUNK):
        some = long[start : start + CHUNK]
        ids = tokenizer([text for _, text in some], add_special_tokens=False, verbose=False)
        for (number, _), one in zip(some, ids["input_ids"], strict=True):
            if len(one) > room[number]:
                tokens = len(one) + pictures[number] + artwork
                found[number] = max(tokens, found.get(number, 0))
    if not found:
        return
    if cut is not None and cut <= limit:
        unused = Unused()
        for number in found:
            unused.add(
                f"the row is longer than --max_length {cut} and loses its end", origin(rows[number], number)
            )
        unused.warn()
        return
    first, tokens = next(iter(found.items()))
    of_which = f", {artwork} of them the artwork's," if artwork else ""
    also = f" and {answer} of an answer" if answer else ""
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    shorten = "shorten the instruction or the row" if what else "shorten the row"
    lower = "lower --max_completion_length, " if answer else ""
    raise UserError(
        f"{origin(rows[first], first)}{more}: {what}{tokens} tokens{of_which}{also} do not fit into the model's "
        f"context of {limit}: {shorten}, leave it out, {lower}or take a model with a longer context"
    )


def check_cut(
    rows: Sequence[dict],
    prompts: Sequence[str],
    pictures: Sequence[int],
    tokenizer: Any,
    *,
    artwork: int,
    cut: int,
) -> None:
    """Refuse to cut rows off in front of every answer, as nothing would be left to learn from.

    Args:
        rows: to train on.
        prompts: by row, what the chat template makes of it up to the answer.
        pictures: by row, image tokens of its own pictures; there may be more behind those.
        tokenizer: of the model.
        artwork: tokens of the artwork's placeholder.
        cut: tokens behind which the trainer cuts a row off (TRL's ``max_length``).

    Raises:
        UserError: naming the row with the shortest prompt, which is as long as the cut or longer.
    """
    shortest: tuple[int, int] | None = None  # tokens, number of the row
    for start in range(0, len(prompts), CHUNK):
        ids = tokenizer(list(prompts[start : start + CHUNK]), add_special_tokens=False, verbose=False)
        for number, one in enumerate(ids["input_ids"], start):
            tokens = len(one) + pictures[number] + artwork
            if tokens < cut:
                return
            shortest = min(shortest or (tokens, number), (tokens, number))
    if shortest is not None:
        tokens, number = shortest
        raise UserError(
            f"--max_length {cut} leaves nothing of any answer: the shortest prompt, {origin(rows[number], number)}, "
            f"has {tokens} tokens, {artwork} of them the artwork's. Give more, or leave it out: rows are not cut then"
        )
