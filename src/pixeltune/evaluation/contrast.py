"""What a picture changes in an answer: how much likelier each token is with the picture than with text alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pixeltune.data.images import attached
from pixeltune.data.messages import Message
from pixeltune.errors import UserError
from pixeltune.evaluation.backends import Tools
from pixeltune.evaluation.candidates import Candidate
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.journal import lines
from pixeltune.evaluation.plans import Plan
from pixeltune.evaluation.scoring import Result, opening
from pixeltune.tasks.base import Task
from pixeltune.writing import write_atomically

Ratio = tuple[str, float]
"""A piece of text, most often one token, and ln p(with the picture) - ln p(without), nats."""

CHANGED = 1.0
"""Nats from which on a token is marked: with the picture it is 2.7 times as likely."""

DIGITS = 3
"""That a record keeps behind the point."""


def ratios(
    seeing: InProcess, conversations: list[list[Message]], tools: list[Tools], texts: list[str]
) -> list[list[Ratio]]:
    """The log ratio of every token of a text behind each conversation.

    Args:
        seeing: a model that is shown a picture, or wears one; then rows have no pictures of their own.
        conversations: what was asked.
        tools: with it.
        texts: what was answered, special tokens kept.

    Returns:
        Of each text its pieces in order; joined they are the text.
    """
    with_it = seeing.log_probs(conversations, tools, texts)
    with alone(seeing) as model:
        without = model.log_probs(conversations, tools, texts)
    found = []
    for (ids, likely), (_, usual) in zip(with_it, without, strict=True):
        values = [a - b for a, b in zip(likely, usual, strict=True)]
        found.append(pieces(seeing.processor.tokenizer, ids, values))
    return found


@contextmanager
def alone(seeing: InProcess) -> Iterator[InProcess]:
    """The same model asked with text alone; an artwork that it wears is off meanwhile."""
    if seeing.block is None:
        yield InProcess(seeing.model, seeing.processor, chunk=seeing.chunk)
        return
    with seeing.model.disable_adapter():
        yield InProcess(seeing.model.get_base_model(), seeing.processor, chunk=seeing.chunk)


def pieces(tokenizer: Any, ids: Sequence[int], values: Sequence[float]) -> list[Ratio]:
    """Tokens as text, each with its value; those that only together make a character are one piece, values summed."""
    whole = tokenizer.decode(ids, skip_special_tokens=False)
    out: list[Ratio] = []
    begun, total = 0, 0.0
    for end, value in enumerate(values, start=1):
        text, total = tokenizer.decode(ids[:end], skip_special_tokens=False), total + value
        last = end == len(values)
        # A beginning of a character decodes to what stands for no character.
        if last or (whole.startswith(text) and len(text) > begun and not text.endswith("\ufffd")):
            text = whole if last else text
            out.append((text[begun:], total))
            begun, total = len(text), 0.0
    return out


def marked(said: Sequence[Ratio]) -> str:
    """The text, with what the picture changes in brackets behind it the nats: ``[Answer +4.1]: 7``."""
    return "".join(f"[{text} {nats:+.1f}]" if abs(nats) >= CHANGED else text for text, nats in said)


def add_ratios(
    task: Task, rows: list[dict], head: list[Message], seeing: InProcess, records: list[dict]
) -> bool:
    """Keep the log ratios of answers in their records, as ``ratios``: for each answer its pieces with their nats.

    Args:
        task: says how answers go on.
        rows: of the task.
        head: what stood in front of every conversation.
        seeing: as for `ratios`. If it wears the artwork, rows with pictures of their own get none: with the
            artwork off, their first one would be taken for it.
        records: from `pixeltune.evaluation.scoring`; those that failed, or have ratios, are left as they are.

    Returns:
        Whether a record has new ones.
    """
    added = False
    for record in records:
        row, texts = rows[record["row"]], record["completions"]
        talk, tools = opening(row, head)
        if record["error"] or "ratios" in record or (seeing.block and attached(talk)):
            continue
        talks = [talk]
        for count in range(1, len(texts)):
            talks.append(talks[-1] + task.next_turn(row, texts[:count]))
        found = ratios(seeing, talks, [tools] * len(texts), texts)
        record["ratios"] = [[[text, round(nats, DIGITS)] for text, nats in said] for said in found]
        added = True
    return added


def check_ratios(count: int, engine: str | None, field: Sequence[Candidate]) -> None:
    """
    Raises:
        UserError: there is no picture, or no model in this process, to take so many answers' ratios of.
    """
    if count < 0:
        raise UserError("--ratios is a number of rows, 1 or more")
    if count and engine:
        raise UserError("--ratios asks a model in this process: leave out --engine")
    if count and all(one.picture is None for one in field):
        raise UserError("--ratios says what a picture changes: name an artwork among the candidates")


def contrast(
    field: Sequence[Candidate],
    plans: Sequence[Plan],
    results: Sequence[dict[str, Result]],
    provider: Any,
    journals: Callable[[Plan, Candidate], Path],
    count: int,
) -> dict[str, dict[str, list[dict]]]:
    """Log ratios of the first answers of each candidate with a picture, which its journal keeps.

    Args:
        field: the candidates.
        plans: what they were asked.
        results: of each plan, by candidate.
        provider: of models in this process, `pixeltune.evaluation.providers.ModelProvider`.
        journals: the file of a candidate's records on a plan.
        count: how many rows of each plan.

    Returns:
        By task and candidate, the records that have ratios.
    """
    found: dict[str, dict[str, list[dict]]] = {}
    for one in field:
        if one.picture is None:
            continue
        seeing = provider.seeing(one)
        for plan, by_name in zip(plans, results, strict=True):
            records = by_name[one.name].records
            if add_ratios(plan.task, plan.rows, plan.heads[one.name], seeing, records[:count]):
                write_atomically(journals(plan, one), lines(records))
            with_ratios = [record for record in records[:count] if "ratios" in record]
            found.setdefault(plan.name, {})[one.name] = with_ratios
    return found
