"""`--key_tokens`: in SFT the names and arguments of calls weigh more than what stands around them.

After TL-Training (arXiv 2412.15495), with one weight for all of them. The trainer and its loss stay TRL's: a token's
log-probability is multiplied by its weight before the loss adds it up.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from pixeltune.data.messages import Message, text_of
from pixeltune.data.origin import origin
from pixeltune.data.tools import tools_of
from pixeltune.data.turns import alike, each_turn
from pixeltune.errors import UserError
from pixeltune.tasks.parsing.tool_calls import parse
from pixeltune.training.compat.trainer_insides import wrap_loss

WEIGHTS = "key_weights"
"""The column of a batch."""


def key_spans(text: str, message: Message) -> list[tuple[int, int]]:
    """Where the names of functions and arguments stand, and the values, in a call as a chat template writes it.

    They are looked for one after another, in JSON, between tags or however else a template writes them.

    Args:
        text: what the template makes of the message.
        message: the assistant's, with `tool_calls` or with calls in its text.

    Returns:
        The first character of each and the one behind its last; none for a message that calls nothing.

    Raises:
        UserError: one is not found, or calls in the text cannot be read; without the row's place.
    """
    said = text_of(message.get("content")).strip()
    calls = [call.get("function", call) for call in message.get("tool_calls") or []]
    if calls:
        place = text.find(said) + len(said) if said in text else 0
    else:
        found = parse(said)
        if found is None:
            raise UserError("a call cannot be read, so --key_tokens cannot weigh its tokens")
        calls, place = found, max(0, text.find("<tool_call>"))
    spans = []
    for call in calls:
        for options in _parts(call):
            patterns = [re.escape(option) for option in options if option]
            if not patterns:
                continue
            # Not inside of a longer word: the argument "a" is none of "arguments".
            match = re.compile(rf"(?<!\w)(?:{'|'.join(patterns)})(?!\w)").search(text, place)
            match = match or re.compile("|".join(patterns)).search(text, place)
            if match is None:
                raise UserError(
                    f"the chat template writes {options[0]!r:.60} of a call of {call['name']!r:.60} otherwise, so "
                    "--key_tokens cannot find its tokens: leave it out"
                )
            spans.append(match.span())
            place = match.end()
    return spans


def _parts(call: dict) -> Iterator[list[str]]:
    """What is key of a call, in its order, each in the ways that it may be written."""
    yield [call["name"]]
    arguments = call.get("arguments") or {}
    yield from _inside(json.loads(arguments) if type(arguments) is str else arguments)


def _inside(value: Any) -> Iterator[list[str]]:
    if isinstance(value, dict):
        for name, one in value.items():
            yield [str(name)]
            yield from _inside(one)
    elif isinstance(value, list):
        for one in value:
            yield from _inside(one)
    elif isinstance(value, str):
        yield list(
            dict.fromkeys([json.dumps(value, ensure_ascii=False)[1:-1], json.dumps(value)[1:-1], str(value)])
        )
    else:
        yield list(dict.fromkeys([json.dumps(value), str(value)]))


def key_mask(row: dict, tokenizer: Any) -> tuple[list[int], list[int]]:
    """The tokens of an answered row as TRL takes them, and 1 for those that are key.

    Args:
        row: with ``prompt`` and a ``completion`` of one message, perhaps ``tools``.
        tokenizer: whose chat template renders it.

    Raises:
        UserError: see `key_spans`.
    """
    more = {"tools": tools_of(row), **(row.get("chat_template_kwargs") or {}), "tokenize": False}
    (answer,) = row["completion"]
    whole = tokenizer.apply_chat_template([*row["prompt"], answer], **more)
    asked = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, **more)
    begin = alike(asked, whole)
    made = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    marked = bytearray(len(whole))
    for first, last in key_spans(whole[begin:], answer):
        marked[begin + first : begin + last] = b"\1" * (last - first)
    return list(made["input_ids"]), [int(1 in marked[first:last]) for first, last in made["offset_mapping"]]


def check(rows: Sequence[dict], tokenizer: Any) -> None:
    """Look at what is to be weighed, before the model loads.

    Args:
        rows: of sft.
        tokenizer: of the model.

    Raises:
        UserError: there are no calls, they cannot be found, or the tokenizer does not say where its tokens stand.
    """
    if not tokenizer.is_fast:
        raise UserError(
            f"--key_tokens needs a tokenizer that says where tokens stand, not {type(tokenizer).__name__}: leave it out"
        )
    calls = False
    for number, row in enumerate(rows):
        for turn in each_turn([row]):
            try:
                calls = any(key_mask(turn, tokenizer)[1]) or calls
            except UserError as error:
                raise UserError(f"{origin(row, number)}: {error}") from error
    if not calls:
        raise UserError(
            "--key_tokens weighs the names and arguments of calls, and no row calls anything: leave it out"
        )


class KeyWeights:
    """TRL's collator, whose batches also have `WEIGHTS`, `(rows, length)` float32, of mean 1 over all rows' answers."""

    def __init__(
        self, collate: Callable[[list[dict]], dict], examples: Iterable[dict], masks: dict, weight: float
    ) -> None:
        """
        Args:
            collate: TRL's own.
            examples: all that it will get: ``input_ids`` and ``labels``.
            masks: by `digest` of tokens.
            weight: of a key token, where that of others is 1, before both are divided by their mean.

        Raises:
            UserError: an example is none of those that masks are of.
        """
        self.collate, self.masks = collate, masks
        tokens = keys = 0
        for example in examples:
            learned = [label != -100 for label in example["labels"]]
            tokens += sum(learned)
            keys += sum(bit for bit, one in zip(self._mask(example), learned, strict=True) if one)
        mean = (tokens + (weight - 1) * keys) / max(1, tokens)
        self.plain, self.key = 1 / mean, weight / mean

    def __call__(self, examples: list[dict]) -> dict:
        import torch  # here, because settings are checked before it is imported

        batch = self.collate(examples)
        # Padded by the same hand: masks in the place of labels, which have a padding of their own.
        shown = self.collate([{**one, "labels": self._mask(one)} for one in examples])["labels"]
        batch[WEIGHTS] = torch.where(shown == 1, self.key, self.plain)
        return batch

    def _mask(self, example: dict) -> list[int]:
        found = self.masks.get(digest(example["input_ids"]))
        if found is None:
            raise UserError(
                "--key_tokens: TRL makes other tokens of a row than its chat template does: leave out settings of "
                "the template or of packing"
            )
        return list(found)


def weigh(trainer: Any, rows: Iterable[dict], weight: float) -> None:
    """Let an SFT trainer of TRL weigh key tokens.

    Args:
        trainer: with its rows, not yet trained.
        rows: what it was given as data, see `key_mask`.
        weight: see `KeyWeights`.

    Raises:
        UserError: see `key_spans`, `KeyWeights`.
    """
    args, masks = trainer.args, {}
    cut = slice(None) if args.max_length is None else slice(args.max_length)
    if args.max_length is not None and args.truncation_mode == "keep_end":
        cut = slice(-args.max_length, None)
    for row in rows:
        ids, mask = key_mask(row, trainer.processing_class)
        masks[digest(ids[cut])] = bytes(mask[cut])
    trainer.data_collator = KeyWeights(trainer.data_collator, trainer.train_dataset, masks, weight)

    def weighed(plain: Callable, model: Any, inputs: dict, *given: Any, **named: Any) -> Any:
        inputs = dict(inputs)
        weights = inputs.pop(WEIGHTS)[:, 1:]

        def times(module: Any, arguments: Any, out: Any) -> Any:
            return replace_log_probs(out, weights)

        handle = model.register_forward_hook(times)
        try:
            return plain(model, inputs, *given, **named)
        finally:
            handle.remove()

    wrap_loss(trainer, weighed)


def replace_log_probs(out: Any, weights: Any) -> Any:
    """What TRL's fused head gives, with weighed log-probabilities."""
    return replace(out, log_probs=out.log_probs * weights.to(out.log_probs))


def digest(ids: Sequence[int]) -> bytes:
    """Of the tokens of a row."""
    return hashlib.sha256(array("q", ids).tobytes()).digest()


def check_config(weight: float | None, config: Any) -> None:
    """
    Raises:
        UserError: the weight is none, or TRL's loss is not one that can be weighed.
    """
    if weight is None:
        return
    if not 0 < weight < math.inf:
        raise UserError(
            f"--key_tokens is the weight of a key token, above 0 (others weigh 1), not {weight:g}"
        )
    loss = getattr(config, "loss_type", "nll")
    wrong = {
        f"--loss_type {loss}": loss not in ("nll", "chunked_nll"),
        "--use_liger_kernel": getattr(config, "use_liger_kernel", False),
        "--label_smoothing_factor": getattr(config, "label_smoothing_factor", 0),
        "--packing": getattr(config, "packing", False),
        "--padding_free": getattr(config, "padding_free", False),
        "--completion_only_loss false": getattr(config, "completion_only_loss", None) is False,
    }
    if bad := next((name for name, given in wrong.items() if given), None):
        raise UserError(
            f"--key_tokens weighs the tokens of answers in TRL's usual loss, and {bad} is another: leave one out"
        )
