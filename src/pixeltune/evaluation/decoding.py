"""Texts that a picture raises most: of two runs of one model, with and without it, the tokens on which they differ.

Contrastive decoding (Li et al. 2022, arXiv 2210.15097), with the picture in the place of the larger model: of the
tokens that are plausible with the picture the one whose log ratio is highest.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pixeltune.data.placeholders import placeholder_tokens
from pixeltune.evaluation.ends import end_ids
from pixeltune.evaluation.in_process import InProcess
from pixeltune.model.compat.transformers_insides import after_pass, first_pass, next_pass

PENALTY = 2.0
"""Nats that a token loses for every text that was found and has it behind the same token."""


@dataclass(frozen=True)
class Raised:
    """One text."""

    prompt: int
    """Which it answers."""
    ids: tuple[int, ...]
    """Of its tokens, that of its end included if it came to one."""
    likely: tuple[float, ...]
    """Log-probability of each with the picture, nats."""
    usual: tuple[float, ...]
    """And without."""


class Stream:
    """A batch of answers that grows by tokens that somebody else chooses.

    Attributes:
        log_probs: `(rows, vocabulary)` float32, of the next token of each row, nats.
    """

    log_probs: Tensor

    def __init__(self, backend: InProcess, conversations: list, tools: list, length: int) -> None:
        """
        Args:
            backend: the model, with what it sees.
            conversations: that are answered.
            tools: with them.
            length: tokens of an answer at most.
        """
        self.model = backend.model
        padding = backend.processor.tokenizer.pad_token_id or 0
        given = {"max_new_tokens": length, "do_sample": False, "pad_token_id": padding}
        # generate prepares caches, positions and kinds as each family wants them.
        self.model.generate(**backend.batch(conversations, tools), **given, custom_generate=self._begin)

    def _begin(
        self,
        model: Any,
        input_ids: Tensor,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: Any,
        **model_kwargs: Any,
    ) -> Tensor:
        self.model, self.ids, self.kwargs = model, input_ids, model_kwargs
        self._keep(first_pass(model, input_ids, generation_config, model_kwargs))
        return input_ids

    def go_on(self, tokens: Tensor) -> None:
        """Put one token, `(rows,)` int64, behind each row."""
        self.ids = torch.cat([self.ids, tokens[:, None]], 1)
        self._keep(next_pass(self.model, self.ids, self.kwargs))

    def _keep(self, outputs: Any) -> None:
        self.kwargs = after_pass(self.model, outputs, self.kwargs)
        self.log_probs = outputs.logits[:, -1].float().log_softmax(-1)


class Found:
    """What texts that were found consist of: pairs of a token and the one before it (None: it begins a text)."""

    def __init__(self) -> None:
        self.pairs: dict[int | None, Counter[int]] = defaultdict(Counter)

    def add(self, ids: tuple[int, ...]) -> None:
        for before, token in zip((None, *ids), ids, strict=False):
            self.pairs[before][token] += 1

    def penalise(self, scores: Tensor, before: list[int | None]) -> None:
        """Lower the scores, `(rows, vocabulary)`, of tokens that texts have behind these."""
        for row, token in enumerate(before):
            for follower, count in self.pairs[token].items():
                scores[row, follower] -= PENALTY * count


@torch.no_grad()
def raised_texts(
    seeing: InProcess,
    alone: InProcess,
    conversations: list,
    tools: list,
    length: int,
    plausible: float,
    found: Found,
    told: Callable[[], object],
) -> list[Raised]:
    """One text behind each conversation, token by token the plausible one that the picture raises most.

    Args:
        seeing: the stock model with the picture.
        alone: the same without.
        conversations: what is asked.
        tools: with it.
        length: tokens of a text at most.
        plausible: a token must be at least as likely, with the picture, as this part of the likeliest one; at 1 the
            texts are the greedy answers.
        found: earlier texts, which are made less likely to come again; these are added.
        told: called at every token.
    """
    tokenizer = seeing.processor.tokenizer
    # A picture's token in an answer would want a picture.
    pictures = tokenizer.convert_tokens_to_ids(list(placeholder_tokens(seeing.processor)))
    barred = torch.tensor(pictures, dtype=torch.long, device=seeing.model.device)
    ends = set(end_ids(seeing.model, tokenizer))
    seeing.model.eval()
    streams = [Stream(one, conversations, tools, length) for one in (seeing, alone)]
    texts: list[list[tuple[int, float, float]]] = [[] for _ in conversations]
    before: list[int | None] = [None for _ in conversations]
    for _ in range(length):
        likely, usual = streams[0].log_probs.index_fill(1, barred, -torch.inf), streams[1].log_probs
        scores = likely - usual
        found.penalise(scores, before)
        best = likely.max(-1, keepdim=True).values
        scores.masked_fill_(likely < best + math.log(plausible), -torch.inf)
        chosen = scores.argmax(-1)
        told()
        for row, token in enumerate(chosen.tolist()):
            if before[row] not in ends:
                texts[row].append((token, likely[row, token].item(), usual[row, token].item()))
                before[row] = token
        if ends.issuperset(before):
            break
        for stream in streams:
            stream.go_on(chosen)
    raised = [Raised(row, *zip(*text, strict=True)) for row, text in enumerate(texts)]
    for one in raised:
        found.add(one.ids)
    return raised
