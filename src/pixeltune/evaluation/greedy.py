"""Greedy answers of a batch, without the rows that have ended: what `generate` says, with less arithmetic.

transformers computes every row until the last one ends. Handed to its `generate` as `custom_generate`, this goes on
with those that have not; prompts, positions, processors of logits and criteria stay transformers' own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pixeltune.model.compat.transformers_insides import (
    after_pass,
    can_leave,
    first_pass,
    given_cache,
    next_pass,
)

AXES = {"attention_mask": 0, "token_type_ids": 0, "mm_token_type_ids": 0, "position_ids": -2}
"""Arguments that are read in every pass, and the axis on which their rows lie."""

WORTH = 8  # taking rows out copies the cache: done once one in so many has ended


def greedy(
    model: Any,
    input_ids: Tensor,
    logits_processor: Any,
    stopping_criteria: Any,
    generation_config: Any,
    **model_kwargs: Any,
) -> Tensor:
    """The most probable token of each row, again and again; arguments are those of a `custom_generate`.

    Returns:
        Ids of prompts and answers, `(rows, tokens)` int64, with padding behind an answer's end.
    """
    padding = generation_config.pad_token_id or 0
    rows, said = torch.arange(len(input_ids)), list(input_ids)  # which rows go on; what each says
    ended = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
    outputs = first_pass(model, input_ids, generation_config, model_kwargs)
    while True:
        model_kwargs = after_pass(model, outputs, model_kwargs)
        # In float32, as transformers has it; a copy, so that the logits of a whole prompt can be freed.
        logits = outputs.logits[:, -1].to(input_ids.device, torch.float32, copy=True)
        del outputs
        chosen = logits_processor(input_ids, logits).argmax(-1).masked_fill(ended, padding)
        input_ids = torch.cat([input_ids, chosen[:, None]], 1)
        ended = ended | stopping_criteria(input_ids, None)
        for row, ids in zip(rows.tolist(), input_ids, strict=True):
            said[row] = ids
        if ended.all():
            return pad_sequence(said, batch_first=True, padding_value=padding)
        if WORTH * ended.sum() >= len(ended) and can_leave(given_cache(model_kwargs)):
            left = (~ended).nonzero()[:, 0]
            input_ids, ended, rows = input_ids[left], ended[left], rows[left.cpu()]
            model_kwargs = {name: _take(name, value, left) for name, value in model_kwargs.items()}
        outputs = next_pass(model, input_ids, model_kwargs)


def _take(name: str, value: Any, left: Tensor) -> Any:
    """An argument for some of its rows; the cache itself is changed."""
    if name in ("cache", "past_key_values"):
        value.batch_select_indices(left)
    elif name in AXES and value is not None:
        return value.index_select(AXES[name], left.to(value.device))
    return value
