"""Whether an engine says what the model here says, judged by as much as the engine tells of itself.

vLLM tells the ids of the prompt and of the answer with their log-probs; other engines tell log-probs beside
the text of each token, others the text of the answer alone. `compare` takes the strongest evidence there is
and says which it was; what an engine does not tell is not vouched for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pixeltune.data.messages import Message
from pixeltune.engines.replies import Completion
from pixeltune.evaluation.backends import image_parts
from pixeltune.evaluation.ends import end_ids
from pixeltune.tasks.parsing.tool_calls import parse


@dataclass(frozen=True)
class Greedy:
    """What the model here answers, token by token."""

    prompt: list[int]
    """Token ids, the picture expanded."""
    said: list[int]
    """Token ids of the answer, its end-of-turn token included if it came to one."""
    logprobs: list[float]
    """Natural log, one per entry of ``said``."""
    ended: bool
    """Its last token ends the turn; otherwise it was cut off."""


@dataclass(frozen=True)
class Comparison:
    """One answer of an engine beside the model's here."""

    same: bool
    """The greedy answers are equal, by the evidence named in ``by``."""
    by: str
    """"token ids", "tokens" (their texts), "text", or "calls" (an engine's parsed tool calls)."""
    prompt: str | None
    """"same ids", "same number", "other ids", "other number"; None where the engine does not say."""
    gaps: tuple[float, ...] = ()
    """|difference| of log-probs in nats, of each token that both gave one to; empty without log-probs."""
    margin: float | None = None
    """At the first token that differs: how much likelier, in nats, the model here finds its own token than
    the engine's; next to nothing means that two tokens tie. None where nothing differs or no ids are known.
    """


def after(
    model: Any,
    processor: Any,
    picture: Any,
    messages: list[Message],
    tools: list[dict] | None,
    said: list[int],
) -> tuple[list[int], torch.Tensor]:
    """Prompt token ids, and log-probs of what follows the prompt and of what follows each of ``said``.

    Args:
        model: the stock model.
        processor: its processor.
        picture: PIL picture placed in ``messages``, or None.
        messages: a conversation with an image part where the picture stands.
        tools: OpenAI tools, or None.
        said: token ids of an answer.

    Returns:
        The ids, and (len(said) + 1, vocabulary) float32, natural log.
    """
    batch = encode_conversation(processor, picture, messages, tools).to(model.device)
    prompt = batch["input_ids"][0].tolist()
    with torch.no_grad():
        logits = model(**{**batch, **with_answer(batch, said)}).logits[0, len(prompt) - 1 :]
    return prompt, logits.float().log_softmax(-1)


def encode_conversation(
    processor: Any, picture: Any, messages: list[Message], tools: list[dict] | None
) -> Any:
    """The prompt of a conversation as a batch of one; ``picture`` where its image part stands, or None."""
    text = processor.apply_chat_template(
        image_parts(messages), tools=tools, tokenize=False, add_generation_prompt=True
    )
    return processor(text=[text], images=[picture] if picture is not None else None, return_tensors="pt")


def with_answer(batch: Mapping[str, torch.Tensor], said: Sequence[int]) -> dict[str, torch.Tensor]:
    """What of a batch is as long as its text, with an answer behind the prompt.

    Args:
        batch: a processor's, of one prompt without padding.
        said: token ids of the answer.

    Returns:
        ``input_ids``, ``attention_mask`` and the token types that the batch has, each (1, tokens), int64.
    """
    more = torch.tensor([said], device=batch["input_ids"].device, dtype=torch.long)
    ids = torch.cat([batch["input_ids"], more], 1)
    kinds = {"mm_token_type_ids", "token_type_ids"} & batch.keys()
    types = {name: torch.cat([batch[name], torch.zeros_like(more)], 1) for name in kinds}
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **types}


def greedy(
    model: Any,
    processor: Any,
    picture: Any,
    messages: list[Message],
    tools: list[dict] | None,
    max_new_tokens: int,
) -> Greedy:
    """What ``model`` itself answers, by its own ``generate``."""
    batch = encode_conversation(processor, picture, messages, tools).to(model.device)
    first = batch["input_ids"].shape[1]
    with torch.no_grad():
        ends = end_ids(model, processor.tokenizer)
        out = model.generate(
            **batch, max_new_tokens=max_new_tokens, do_sample=False, eos_token_id=ends or None
        )
    said = out[0, first:].tolist()
    prompt, table = after(model, processor, picture, messages, tools, said)
    logprobs = [table[i, token].item() for i, token in enumerate(said)]
    return Greedy(prompt, said, logprobs, ended=said[-1] in ends)


def compare(
    answer: Completion,
    reference: Greedy,
    model: Any,
    processor: Any,
    picture: Any,
    messages: list[Message],
    tools: list[dict] | None,
) -> Comparison:
    """An engine's greedy answer beside the model's here, to the same conversation.

    With token ids, the model here scores the engine's own tokens, so log-probs are compared to the end of the
    answer even where the two took different ways. With token texts, they are compared as far as these agree.

    Args:
        reference: from `greedy`, with as many tokens at most as the engine was allowed.
        picture, messages, tools: as for `after`; only with token ids is the model asked again.
    """
    tokenizer, prompt = processor.tokenizer, _prompt(answer, reference)
    if answer.token_ids is not None:
        said, gaps = answer.token_ids, ()
        same, first = _agree(said, reference.said, reference.ended)
        if same and answer.logprobs is None:
            return Comparison(True, "token ids", prompt)
        _, table = after(model, processor, picture, messages, tools, said)
        if answer.logprobs is not None:
            here = (table[i, token].item() for i, token in enumerate(said))
            gaps = tuple(abs(a - b) for a, b in zip(answer.logprobs, here, strict=True))
        if same:
            return Comparison(True, "token ids", prompt, gaps)
        # An answer that ends too early without an end-of-turn token has no token to compare there.
        theirs = table[first, said[first]].item() if first < len(said) else None
        margin = None if theirs is None else table[first].max().item() - theirs
        return Comparison(False, "token ids", prompt, gaps, margin)
    if answer.tokens is not None and answer.logprobs is not None:
        own = [tokenizer.decode([token]) for token in reference.said]
        same, first = _agree(answer.tokens, own, reference.ended)
        gaps = zip(answer.logprobs[:first], reference.logprobs[:first], strict=True)
        return Comparison(same, "tokens", prompt, tuple(abs(a - b) for a, b in gaps))
    return Comparison(*_texts(answer.text, reference, tokenizer), prompt)


def _agree(theirs: list, own: list, ended: bool) -> tuple[bool, int]:
    """Whether two answers are equal, and for how many tokens; their end-of-turn token may be missing."""
    length = next(
        (i for i, pair in enumerate(zip(theirs, own, strict=False)) if pair[0] != pair[1]),
        min(len(theirs), len(own)),
    )
    return length == len(theirs) and len(own) - length <= int(ended), length


def _texts(theirs: str, reference: Greedy, tokenizer: Any) -> tuple[bool, str]:
    """Whether two answers read the same, and how that was found.

    Engines may leave special tokens out of a text (OpenAI's protocol does not say) or hand calls over parsed.
    """
    plain = tokenizer.decode(reference.said, skip_special_tokens=True)
    kept = tokenizer.decode(reference.said)
    ended = tokenizer.decode(reference.said[:-1]) if reference.ended else kept
    if theirs.strip() in {text.strip() for text in (plain, kept, ended)}:
        return True, "text"
    calls = parse(theirs)
    return (True, "calls") if calls and calls == parse(kept) else (False, "text")


def _prompt(answer: Completion, reference: Greedy) -> str | None:
    if answer.prompt_token_ids is not None:
        return "same ids" if answer.prompt_token_ids == reference.prompt else "other ids"
    if answer.prompt_tokens is not None:
        return "same number" if answer.prompt_tokens == len(reference.prompt) else "other number"
    return None
