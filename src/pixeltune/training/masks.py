"""Answers of several turns in DPO and KTO: only what the assistant says counts, of tools and users nothing."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pixeltune.data.messages import Message
from pixeltune.data.tools import tools_of
from pixeltune.data.turns import alike, said_spans

ANSWERS = ("chosen", "rejected", "completion")


def has_turns(row: dict) -> bool:
    """Whether an answer of this row has several messages."""
    return any(len(row.get(name) or ()) > 1 for name in ANSWERS)


def answer_masks(row: dict, tokenizer: Any) -> dict[str, tuple[list[int], list[int]]]:
    """By its column, the tokens of each answer of a row as TRL takes them, and 1 for those that are said.

    TRL lets answers begin where tokens of the prompt alone and of the whole differ, in a pair for both at the
    first such place (`trl.trainer.dpo_trainer`, ``tokenize_fn``).

    Args:
        row: with ``prompt`` and ``completion``, or ``chosen`` and ``rejected``, all lists of messages.
        tokenizer: whose chat template renders it.

    Raises:
        UserError: it cannot be told which those are; without the row's place.
    """
    tools = tools_of(row)

    def ids(messages: list[Message], ask: bool) -> list[int]:
        made = tokenizer.apply_chat_template(
            messages, tools=tools, add_generation_prompt=ask, tokenize=True, return_dict=True
        )
        return list(made["input_ids"])

    prompt = ids(row["prompt"], True)
    found = {name: said_spans(row["prompt"], row[name], ids) for name in ANSWERS if row.get(name)}
    start = min(alike(prompt, whole) for whole, _ in found.values())
    out = {}
    for name, (whole, spans) in found.items():
        mask = [0] * len(whole)
        for number, (begin, end) in enumerate(spans):
            begin = start if number == 0 else begin
            mask[begin:end] = [1] * (end - begin)
        out[name] = whole[start:], mask[start:]
    return out


class AssistantOnly:
    """TRL's collator of pairs or labelled completions, in whose batches only what is said is a completion.

    To TRL everything behind a prompt is. It hands a collator token ids alone, so answers are known by these.
    """

    def __init__(self, collate: Callable[[list[dict]], dict], rows: Iterable[dict], tokenizer: Any) -> None:
        """
        Args:
            collate: TRL's own, of texts.
            rows: all that it will get, as they are given to the trainer.
            tokenizer: the trainer's.

        Raises:
            UserError: see `answer_masks`.
        """
        self.collate = collate
        self.masks: dict[bytes, bytes] = {}
        for row in rows:
            for ids, mask in answer_masks(row, tokenizer).values():
                self.masks[_digest(ids)] = bytes(mask)

    def __call__(self, examples: list[dict]) -> dict:
        batch = self.collate(examples)
        # Cut and padded by the same hand: masks in the place of ids. What padding has does not count.
        shown = self.collate([self._masked(example) for example in examples])
        for prefix in ("", "KL_"):
            if f"{prefix}completion_mask" in batch:
                batch[f"{prefix}completion_mask"] *= shown[f"{prefix}input_ids"]
        return batch

    def _masked(self, example: dict) -> dict:
        answers = [name for name in example if name.endswith("_ids") and name != "prompt_ids"]
        return {**example, **{name: list(self.masks[_digest(example[name])]) for name in answers}}


def _digest(ids: Sequence[int]) -> bytes:
    return hashlib.sha256(array("q", ids).tobytes()).digest()
