"""Which tokens end an answer: what the model's own files say, and not what one family's template uses."""

from __future__ import annotations

from typing import Any


def end_ids(model: Any, tokenizer: Any) -> list[int]:
    """Ids of the tokens at which a stock engine ends an answer, sorted.

    vLLM, as transformers, stops at every id of ``generation_config.eos_token_id``, and at the tokenizer's own
    end. Where neither names one it is the token that the chat template puts behind an assistant's turn.

    Args:
        model: a stock model or a ``PeftModel``.
        tokenizer: its tokenizer.
    """
    configured = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ids = set(configured if isinstance(configured, list | tuple) else [configured])
    ids.add(tokenizer.eos_token_id)
    ids.discard(None)
    return sorted(ids) or _turn_end(tokenizer)


def _turn_end(tokenizer: Any) -> list[int]:
    if not tokenizer.chat_template:
        return []
    talk = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
    behind = tokenizer.apply_chat_template(talk, tokenize=False).rpartition("!")[2].strip()
    ids = tokenizer(behind, add_special_tokens=False)["input_ids"]
    return [
        token
        for token in ids[:1]
        if token in tokenizer.all_special_ids or token in tokenizer.added_tokens_decoder
    ]


def until_end(ids: list[int], ends: list[int]) -> tuple[list[int], int]:
    """Ids before the first that ends the answer, and how many were generated, that one included."""
    first = next((i for i, token in enumerate(ids) if token in ends), None)
    return (ids, len(ids)) if first is None else (ids[:first], first + 1)
