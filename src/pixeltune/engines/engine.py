"""Speaking to a running engine: chat requests over HTTP to anything OpenAI-compatible, vLLM first of all."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from pixeltune.data.messages import text_of
from pixeltune.errors import RunError, UserError
from pixeltune.tasks.parsing.tool_calls import from_openai

Message = Mapping[str, Any]

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


_NO_JSON = (json.JSONDecodeError, UnicodeDecodeError)


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


def _reason(said: Any) -> str:
    """What an engine says of an error, in a 200 too, in brackets; empty where it says nothing."""
    error = getattr(said, "error", None)
    message = error.get("message", error) if isinstance(error, Mapping) else error
    return f" ({' '.join(str(message).split())[:200]})" if message else ""


def api_url(url: str) -> str:
    """The address of an OpenAI-compatible API, given with or without the trailing /v1."""
    url = url.rstrip("/")
    return url if url.endswith("/v1") else url + "/v1"


class Engine:
    """An OpenAI-compatible endpoint that serves one model.

    Messages are OpenAI chat messages; the artwork travels as an `image_url` part (see placement.py).
    Requests may run in parallel; the object is thread-safe.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        api_key: str | None = None,
        timeout: float = 120.0,
        *,
        extras: bool = True,
        tool_choice: str | None = "none",
        retries: int = 2,
    ) -> None:
        """Connect, and find out which model is served.

        Args:
            url: address, with or without the trailing /v1.
            model: name as served; None takes the only one. An engine that lists none is taken at the name
                given (`transformers serve` lists its cache, not the folder it was started with).
            api_key: sent only when given: a key from the environment is meant for somebody else.
            timeout: seconds for one request.
            extras: send vLLM's extra fields (token ids, special tokens in the text). Off for engines that
                refuse unknown fields.
            tool_choice: sent with `tools`. On vLLM "none" puts the tools in the prompt and leaves the answer
                as raw text, with or without --enable-auto-tool-choice on the server; its default, "auto", is
                refused by a server without. SGLang drops the tools at "none": use None there. Calls that come
                back parsed are then written into the text again, as Qwen writes them.
            retries: of a request that got no connection, no answer in time, 429 or 5xx; openai's client
                waits half a second before the first, twice as long before each further one, 8 s at most.

        Raises:
            EngineError: nobody answers at `url`, or the model is not served.
        """
        try:
            import openai
        except ImportError:
            raise EngineError("the openai package is missing: pip install 'pixeltune[eval]'") from None
        self.url = api_url(url)
        self.extras, self.tool_choice = extras, tool_choice
        self._client = openai.OpenAI(
            base_url=self.url, api_key=api_key or "EMPTY", timeout=timeout, max_retries=retries
        )
        self._openai = openai
        try:
            served = [m.id for m in self._client.models.list().data]
        except openai.OpenAIError as error:
            self._fail(error)
        except (AttributeError, TypeError, *_NO_JSON) as error:  # a page of HTML, or anything else
            raise EngineError(
                f"{self.url} lists no models: give the address of an OpenAI-compatible API"
            ) from error
        if model is None and len(served) != 1:
            raise EngineError(f"{self.url} serves {', '.join(served) or 'no model'}: name the model to use")
        if model is not None and served and model not in served:
            raise EngineError(f"{self.url} does not serve {model!r}: choose from {', '.join(served)}")
        self.model: str = model or served[0]

    def complete(
        self, messages: list[Message], tools: list[dict[str, Any]] | None = None, **options: Any
    ) -> Completion:
        """One answer to a conversation; greedy unless a temperature is given.

        Args:
            options: keyword arguments of `sample`.

        Raises:
            EngineError: the engine refuses or is gone, or leaves out log-probs that were asked for.
        """
        return self.sample(messages, tools, **options)[0]

    def sample(
        self,
        messages: list[Message],
        tools: list[dict[str, Any]] | None = None,
        *,
        n: int | None = None,
        max_tokens: int = 256,
        temperature: float = 0.0,
        seed: int | None = None,
        logprobs: bool = False,
        sampling: Mapping[str, Any] | None = None,
    ) -> list[Completion]:
        """`n` answers to one conversation, in one request.

        Args:
            sampling: further sampling parameters, sent as they are (vLLM: `top_k`, `min_p`, ...).

        Raises:
            EngineError: the engine refuses or is gone, or leaves out log-probs that were asked for.
        """
        extra = {"skip_special_tokens": False, "return_token_ids": True} if self.extras else {}
        begin = time.perf_counter()
        response = self._create(
            messages,
            tools,
            {**extra, **(sampling or {})},
            n=n,
            max_tokens=max_tokens,
            temperature=temperature,
            seed=seed,
            logprobs=logprobs or None,
        )
        latency = time.perf_counter() - begin
        choices = self._choices(response)
        return [self._completion(response, choice, latency, logprobs) for choice in choices]

    def _choices(self, response: Any) -> list[Any]:
        """The choices of a response, each with a message and ended as an answer ends.

        Raises:
            EngineError: there is none, or the engine gave up on one.
        """
        # openai's client checks little of what comes: it may be a page of HTML.
        choices = getattr(response, "choices", None)
        if not isinstance(choices, list) or not choices:
            why = _reason(response)
            raise EngineError(f"{self.url} returned no answer{why}: is it an OpenAI-compatible engine?")
        for choice in choices:
            reason = getattr(choice, "finish_reason", None)
            message: Any = getattr(choice, "message", None)
            if reason is not None and str(reason).lower() not in ENDS:
                why = _reason(choice) or _reason(response)
                raise EngineError(f"{self.url} gave up on the answer ({reason}){why}: see the engine's log")
            if not isinstance(message, self._openai.BaseModel):
                raise EngineError(f"{self.url} returned a choice without a message: is it a chat engine?")
            if reason is None and not (
                getattr(message, "content", None) or getattr(message, "tool_calls", None)
            ):
                raise EngineError(f"{self.url} said nothing, nor why it ended: see the engine's log")
        return choices

    def _completion(self, response: Any, choice: Any, latency: float, logprobs: bool) -> Completion:
        # Some servers answer in parts, thinking among them (microsoft/agent-framework#6978).
        try:
            text = text_of(getattr(choice.message, "content", None)) or text_of(choice.message.refusal)
        except UserError as error:
            raise EngineError(f"{self.url} returned an answer that cannot be read: {error}") from error
        token_ids = getattr(choice, "token_ids", None)
        entries: Any = choice.logprobs.content if choice.logprobs else None
        if token_ids is None and entries and all(isinstance(getattr(e, "id", None), int) for e in entries):
            token_ids = [entry.id for entry in entries]  # llama.cpp
        if choice.message.tool_calls and self.tool_choice == "none":
            raise EngineError(
                f"{self.url} parsed the answer into tool calls though it was asked not to, and its raw text "
                "is gone: start it without a tool parser, or take the parsed calls with tool_choice='auto'"
            )
        if choice.message.tool_calls:
            text += from_openai(choice.message.tool_calls)
        if logprobs and entries is None:
            raise NoLogProbs(f"{self.url} returned no log-probs: use an engine that does, e.g. vLLM")
        if token_ids is not None and entries is not None and len(token_ids) != len(entries):
            raise EngineError(f"{self.url} returned {len(entries)} log-probs for {len(token_ids)} tokens")
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

    def score(
        self, messages: list[Message], answer: str, tools: list[dict[str, Any]] | None = None
    ) -> Scored:
        """Log-probs of a given answer to a conversation (vLLM only: it needs `prompt_logprobs`).

        Raises:
            EngineError: the engine has no prompt log-probs, or the template renders the answer otherwise.
        """
        if not self.extras:
            raise EngineError("scoring a given text needs vLLM's extra fields: use Engine(..., extras=True)")
        whole = self._create(
            [*messages, {"role": "assistant", "content": answer}],
            tools,
            {
                "return_token_ids": True,
                "prompt_logprobs": 0,  # 0: of the tokens themselves, and no alternatives
                "continue_final_message": True,
                "add_generation_prompt": False,
            },
            max_tokens=1,
        )
        # The same conversation without the answer tells where the answer starts.
        bare = self._create(messages, tools, {"return_token_ids": True}, max_tokens=1)
        for response in (whole, bare):
            self._choices(response)
        table, ids = (getattr(whole, name, None) for name in ("prompt_logprobs", "prompt_token_ids"))
        prompt = getattr(bare, "prompt_token_ids", None)
        if not table or not ids or not prompt:
            raise EngineError(f"{self.url} returned no prompt log-probs: use vLLM")
        if ids[: len(prompt)] != prompt or len(ids) == len(prompt):
            raise EngineError(
                "the template renders a given answer otherwise than a generated one: cannot score"
            )
        return Scored(
            prompt_token_ids=prompt,
            token_ids=ids[len(prompt) :],
            logprobs=[table[i][str(ids[i])]["logprob"] for i in range(len(prompt), len(ids))],
        )

    def _create(
        self,
        messages: list[Message],
        tools: list[dict[str, Any]] | None,
        extra: dict[str, Any],
        **options: Any,
    ) -> Any:
        """One chat request; openai's exceptions become EngineError."""
        if tools:
            options |= {"tools": tools, "tool_choice": self.tool_choice}
        options = {name: value for name, value in options.items() if value is not None}
        try:
            return self._client.chat.completions.create(
                model=self.model, messages=list[Any](messages), extra_body=extra, **options
            )
        except self._openai.OpenAIError as error:
            self._fail(error)
        except _NO_JSON as error:
            raise EngineError(f"{self.url} answered with no JSON ({error}): see the engine's log") from error

    def _fail(self, error: Exception) -> NoReturn:
        known, line = self._openai, (str(error).strip() or type(error).__name__).splitlines()[0]
        if isinstance(error, known.APITimeoutError):
            remedy = "no answer in time: raise the timeout or lower the concurrency"
        elif isinstance(error, known.APIConnectionError):
            remedy = "nobody answers there: start the engine, or check the address"
        elif isinstance(error, known.AuthenticationError | known.PermissionDeniedError):
            remedy = f"access refused: pass the right API key ({line})"
        elif isinstance(error, known.NotFoundError):
            remedy = f"nothing found: give the address of an OpenAI-compatible API ({line})"
        elif isinstance(error, known.BadRequestError | known.UnprocessableEntityError):
            remedy = (
                f"request refused: change it, or where extra fields are unknown use extras=False ({line})"
            )
            raise RequestRefused(f"{self.url}: {remedy}") from error
        else:
            remedy = f"the engine failed: see its log ({line})"
        raise EngineError(f"{self.url}: {remedy}") from error
