"""Conversations of several turns: which of their messages and tokens the assistant says."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from pixeltune.data.messages import Message
from pixeltune.errors import UserError

Span = tuple[int, int]
"""The first token of what is said, and the one behind its last."""


def each_turn(rows: list[dict], skipped: Callable[[dict], Collection[int]] = lambda row: ()) -> list[dict]:
    """One row for every turn of the assistant in a ``completion``, what comes before it as the ``prompt``.

    The loss is taken on all of a completion; in one of several turns that would be on tool results, too.

    Args:
        rows: with ``prompt`` and ``completion``.
        skipped: which messages of a row's completion, by number, get no row of their own.
    """
    return [
        {**row, "prompt": row["prompt"] + row["completion"][:number], "completion": [turn]}
        for row in rows
        for not_learned in [skipped(row)]
        for number, turn in enumerate(row["completion"])
        if turn["role"] == "assistant" and number not in not_learned
    ]


def first_difference(one: Sequence[object], other: Sequence[object]) -> int:
    """Where two conversations differ first; the last message of the shorter one where they do not before it."""
    pairs = enumerate(zip(one[:-1], other[:-1], strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)) - 1)


def diverging_step(chosen: Sequence[object], rejected: Sequence[object]) -> int:
    """The turn of the assistant in which two conversations differ, or behind which they do.

    What stands before it is the same in both, so that its log-probabilities cancel in a difference of theirs.

    Args:
        chosen, rejected: conversations, or what answers the same one.

    Returns:
        The number of messages before it; 0, too, where there is no such turn.
    """
    step = first_difference(chosen, rejected)
    while step and not (is_said(chosen[step]) and is_said(rejected[step])):
        step -= 1
    return step


def is_said(message: object) -> bool:
    """Whether a message is the assistant's, or none at all, of which more is said elsewhere."""
    return not isinstance(message, dict) or message.get("role", "assistant") == "assistant"


def said_spans(
    prompt: list[Message], answer: list[Message], ids: Callable[[list[Message], bool], list[int]]
) -> tuple[list[int], list[Span]]:
    """Which tokens of an answered prompt the assistant says: of each turn what a model writes, with its end.

    A turn begins behind what the template asks for it with, and ends where the conversation up to it does.

    Args:
        prompt: a conversation.
        answer: what follows it, of one or several turns.
        ids: tokens of a conversation, with what begins an answer or without.

    Returns:
        Tokens of it all, and a span for each turn of the assistant in the answer.

    Raises:
        UserError: the chat template writes a turn otherwise once others follow; without the row's place.
    """
    whole = ids([*prompt, *answer], False)
    out: list[Span] = []
    for number, turn in enumerate(answer):
        if turn["role"] != "assistant":
            continue
        before = [*prompt, *answer[:number]]
        start, end = alike(ids(before, True), whole), len(whole)
        if number:
            _check_begins(whole, ids(before, False))
        if number < len(answer) - 1:
            written = ids([*before, turn], False)
            _check_begins(whole, written)
            end = len(written)
        out.append((start, end))
    return whole, out


def alike(one: Sequence[int], other: Sequence[int]) -> int:
    """How many ids at their beginning are the same."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def _check_begins(whole: list[int], written: list[int]) -> None:
    if whole[: len(written)] != written:
        raise UserError(
            "the model's chat template writes a turn otherwise once others follow (without its thoughts, perhaps), "
            "so what is said is not what would be learned: use sft, where each turn is a row of its own, or put "
            "earlier turns into the prompt"
        )
