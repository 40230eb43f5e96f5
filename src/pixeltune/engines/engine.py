"""Speaking to a running engine: chat requests over HTTP to anything OpenAI-compatible, vLLM first of all."""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NoReturn

from pixeltune.data.messages import Message
from pixeltune.data.placement import place_image
from pixeltune.engines.replies import (
    Completion,
    EngineError,
    RequestRefused,
    Scored,
    choices_of,
    completion_of,
)
from pixeltune.errors import first_line

SHOW_SECONDS = 10.0  # in which an engine that is not busy has seen a picture
_NO_JSON = (json.JSONDecodeError, UnicodeDecodeError)


def api_url(url: str) -> str:
    """The address of an OpenAI-compatible API, given with or without the trailing /v1."""
    url = url.rstrip("/")
    return url if url.endswith("/v1") else url + "/v1"


class Engine:
    """An OpenAI-compatible endpoint that serves one model.

    Messages are OpenAI chat messages; the artwork travels as an `image_url` part (see placement.py), and its
    bytes only once where the engine keeps pictures by name (see exchanges.py). Requests may run in parallel;
    the object is thread-safe.
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

            from pixeltune.engines.exchanges import OnceClient
        except ImportError:
            raise EngineError("the openai package is missing: pip install 'pixeltune[eval]'") from None
        self.url = api_url(url)
        self.extras, self.tool_choice = extras, tool_choice
        http_client = OnceClient(timeout=timeout)
        self._exchanges = http_client.exchanges
        self._client = openai.OpenAI(
            base_url=self.url,
            api_key=api_key or "EMPTY",
            timeout=timeout,
            max_retries=retries,
            http_client=http_client,
        )
        self._openai = openai
        try:
            models = self._client.models.list().data
            served = [m.id for m in models]
        except openai.OpenAIError as error:
            self._fail(error)
        except (AttributeError, TypeError, *_NO_JSON) as error:  # a page of HTML, or anything else
            raise EngineError(
                f"{self.url} lists no models: give the address of an OpenAI-compatible API"
            ) from error
        self._exchanges.told(self.url, [m.model_dump() for m in models])
        if model is None and len(served) != 1:
            raise EngineError(
                f"{self.url} serves {', '.join(served) or 'no model'}: name the model to use (eval and check: "
                "--engine_model)"
            )
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
        raw = self.tool_choice == "none"
        return [
            completion_of(response, choice, latency, logprobs=logprobs, raw=raw, url=self.url)
            for choice in choices_of(response, self.url)
        ]

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
            choices_of(response, self.url)
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

    def show(self, url: str) -> None:
        """Let the engine see a picture before many requests at a time begin with it.

        They then only name it, where else each of them would carry it. Nothing is sent to an engine that does
        not keep pictures by name, and nothing said of a failure: the requests carry the picture then, and say
        what is wrong.

        Args:
            url: a `data:` URL.
        """
        if not self._exchanges.keeps(self.url):
            return
        client = self._client.with_options(max_retries=0, timeout=SHOW_SECONDS)
        messages = list[Any](place_image([{"role": "user", "content": "."}], url))
        with suppress(self._openai.OpenAIError, *_NO_JSON):
            client.chat.completions.create(model=self.model, messages=messages, max_tokens=1)

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
        known, line = self._openai, first_line(error)
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
