"""What engines answer: as completions and log-probs, or as what is wrong with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pixeltune.data.messages import text_of
from pixeltune.errors import RunError, UserError
from pixeltune.tasks.parsing.tool_calls import from_openai

ENDS = frozenset(
    {
        *("stop", "length", "tool_calls", "function_call"),  # OpenAI's own
        *("eos", "eos_token", "stop_sequence", "end_turn", "stop_token"),  # as other engines call a stop
        *("max_tokens", "model_length", "repetition", "tool_use"),  # ... a length, vLLM's guard, calls
    }
)
"""Reasons why an answer ended that leave it an answer, in small letters.

Every other one ("abort", "error", "content_filter", ...) is a request that failed, whatever text came with it:
engines answer 200 then, too (vllm-project/vllm#57082). Some engines give none: then what was said is the
answer, and where nothing was said the request failed."""


class EngineError(RunError):
    """The engine cannot do what was asked. The message is one line: the problem and the remedy."""


class RequestRefused(EngineError):
    """The engine does not take this request: a field it does not know, a prompt too long, ..."""


class NoLogProbs(EngineError):
    """The engine answered, without the log-probs that were asked for."""


@dataclass(frozen=True)
class Completion:
    """One answer. Token ids and log-probs are None where the engine was not asked or does not say."""

    text: str  # special tokens kept, e.g. <tool_call>; the end-of-turn token is not part of it
    finish_reason: str | None  # stop, length, ...
    latency: float  # seconds from request to answer
    prompt_token_ids: list[int] | None = None  # the picture expanded to its image tokens
    token_ids: list[int] | None = None  # of the answer, end-of-turn token included (llama.cpp: without)
    tokens: list[str] | None = None  # the same as texts, beside log-probs
    logprobs: list[float] | None = None  # natural log, one per entry of tokens
    prompt_tokens: int | None = None  # as the engine counts them, the picture's included
    completion_tokens: int | None = None  # None where one request asked for several answers


@dataclass(frozen=True)
class Scored:
    """The log-probs an engine gives to a text that it did not write itself."""

    prompt_token_ids: list[int]  # everything before that text
    token_ids: list[int]  # of the text, without an end-of-turn token
    logprobs: list[float]  # natural log, one per entry of token_ids


def choices_of(response: Any, url: str) -> list[Any]:
    """The choices of a response, each with a message and ended as an answer ends.

    Args:
        response: as openai's client gives it, which checks little of what comes: it may be a page of HTML.
        url: of the engine, for messages.

    Raises:
        EngineError: there is none, or the engine gave up on one.
    """
    from openai import BaseModel

    choices = getattr(response, "choices", None)
    if not isinstance(choices, list) or not choices:
        why = _reason(response)
        raise EngineError(f"{url} returned no answer{why}: is it an OpenAI-compatible engine?")
    for choice in choices:
        reason = getattr(choice, "finish_reason", None)
        message: Any = getattr(choice, "message", None)
        if reason is not None and str(reason).lower() not in ENDS:
            why = _reason(choice) or _reason(response)
            raise EngineError(f"{url} gave up on the answer ({reason}){why}: see the engine's log")
        if not isinstance(message, BaseModel):
            raise EngineError(f"{url} returned a choice without a message: is it a chat engine?")
        if reason is None and not (getattr(message, "content", None) or getattr(message, "tool_calls", None)):
            raise EngineError(f"{url} said nothing, nor why it ended: see the engine's log")
    return choices


def completion_of(
    response: Any, choice: Any, latency: float, *, logprobs: bool, raw: bool, url: str
) -> Completion:
    """One of the `choices_of` a response as an answer.

    Args:
        response: as openai's client gives it.
        choice: of it.
        latency: seconds it took.
        logprobs: whether they were asked for.
        raw: whether it was asked to leave calls of tools in the text.
        url: of the engine, for messages.

    Raises:
        EngineError: it cannot be read, or is not what was asked for.
    """
    # Some servers answer in parts, thinking among them (microsoft/agent-framework#6978).
    try:
        text = text_of(getattr(choice.message, "content", None)) or text_of(choice.message.refusal)
    except UserError as error:
        raise EngineError(f"{url} returned an answer that cannot be read: {error}") from error
    token_ids = getattr(choice, "token_ids", None)
    entries: Any = choice.logprobs.content if choice.logprobs else None
    if token_ids is None and entries and all(isinstance(getattr(e, "id", None), int) for e in entries):
        token_ids = [entry.id for entry in entries]  # llama.cpp
    if choice.message.tool_calls and raw:
        raise EngineError(
            f"{url} parsed the answer into tool calls though it was asked not to, and its raw text "
            "is gone: start it without a tool parser, or take the parsed calls with tool_choice='auto'"
        )
    if choice.message.tool_calls:
        text += from_openai(choice.message.tool_calls)
    if logprobs and entries is None:
        raise NoLogProbs(f"{url} returned no log-probs: use an engine that does, e.g. vLLM")
    if token_ids is not None and entries is not None and len(token_ids) != len(entries):
        raise EngineError(f"{url} returned {len(entries)} log-probs for {len(token_ids)} tokens")
    return Completion(
        text=text,
        finish_reason=getattr(choice, "finish_reason", None),
        latency=latency,
        prompt_token_ids=getattr(response, "prompt_token_ids", None),
        token_ids=token_ids,
        tokens=[entry.token for entry in entries] if logprobs else None,
        logprobs=[entry.logprob for entry in entries] if logprobs else None,
        prompt_tokens=usage.prompt_tokens if (usage := response.usage) else None,
        completion_tokens=usage.completion_tokens if usage and len(response.choices) == 1 else None,
    )


def _reason(said: Any) -> str:
    """What an engine says of an error, in a 200 too, in brackets; empty where it says nothing."""
    error = getattr(said, "error", None)
    message = error.get("message", error) if isinstance(error, Mapping) else error
    return f" ({' '.join(str(message).split())[:200]})" if message else ""
