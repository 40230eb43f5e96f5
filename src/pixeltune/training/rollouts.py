"""Completions from an engine: every request looks at the live picture; weights never travel.

An online trainer of TRL that uses vLLM asks its ``vllm_generation`` for two things: to synchronise weights,
and to generate. Here the weights are frozen, so there is nothing to synchronise, and the policy of the
current step is one PNG. :func:`ask_engines` puts any OpenAI-compatible servers in that place;
:func:`show_live_picture` keeps TRL's own colocated vLLM and hands it the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from itertools import count, repeat
from math import nan
from typing import Any, NamedTuple

from PIL import Image
from transformers.utils import get_json_schema
from trl import RLOOTrainer

from pixeltune.artwork.png import encode_png
from pixeltune.data.images import as_urls, attach
from pixeltune.data.messages import Message
from pixeltune.data.placement import place_image
from pixeltune.data.tools import tools_of
from pixeltune.engines.engine import Engine
from pixeltune.engines.replies import Completion, EngineError
from pixeltune.errors import UserError
from pixeltune.evaluation.drawing import ON_ENGINES
from pixeltune.picture.files import data_url
from pixeltune.training.compat.trl_insides import (
    generate_here,
    generate_with,
    measure,
    prompt_ids,
    watch_tools,
    wrap_scoring,
    wrap_vllm,
)

CONCURRENCY = 16  # requests at a time, for each engine


class Conversation(NamedTuple):
    """What to send for a prompt."""

    messages: list[Message]
    """Without the artwork."""
    tools: list[dict] | None
    tokens: int
    """Of the question that it began with."""


class Answer(NamedTuple):
    """A completion as TRL wants it."""

    ids: list[int]
    logprobs: list[float]
    """NaN where they are not known; TRL takes them for its own."""


class EngineRollouts:
    """Stands in ``trainer.vllm_generation``: sampled completions of engines that serve the base model.

    Of an episode with tools each turn is a request with all messages so far. Now and then the engine makes other
    tokens of what the model said before than those that it said; such a turn is then written in this process.
    """

    def __init__(
        self,
        trainer: Any,
        engines: Sequence[Engine],
        conversations: Mapping[tuple[int, ...], Conversation],
    ) -> None:
        """
        Args:
            trainer: whose live picture and length of completions count.
            engines: share the questions between them; one that fails is stepped over.
            conversations: what to send for the token ids of a prompt.
        """
        self.trainer, self.engines, self.conversations = trainer, list(engines), conversations
        self.logprobs: dict[tuple[int, ...], float] = {}
        """Of prompt and completion: the engine's sum over the completion, for the completions of a step."""
        self.answered: dict[tuple[int, ...], Conversation] = {}
        """Of prompt and completion: the conversation with that answer, for the completions of a step."""
        self.results: dict[tuple[int, ...], list[Message]] = {}
        """What tools said in this step, by the token ids that TRL puts behind a completion."""

    def sync_weights(self) -> None:
        """Nothing to do, the weights are frozen; TRL calls it when a step asks first."""
        self.logprobs.clear()
        self.answered.clear()
        self.results.clear()

    def hear(self, ids: tuple[int, ...], messages: list[Message]) -> None:
        """Remember what tools said.

        Args:
            ids: as TRL puts it behind a completion.
            messages: of the role ``tool``.

        Raises:
            EngineError: it is not all text.
        """
        if not all(isinstance(message["content"], str) for message in messages):
            raise EngineError("a tool returned a picture, which engines are not shown: leave out --rollouts")
        self.results[ids] = [*messages]

    def generate(
        self, prompts: list[list[int]], images: Any, num_generations: int, profiler: Any = None
    ) -> tuple[list[list[int]], list[list[int]], list[list[list[float]]], None]:
        """Completions in TRL's shape; unseeded, because seeds can bring vLLM 0.32 down on a CPU.

        Args:
            prompts: token ids; each question stands there ``num_generations`` times in a row, and a later turn of an
                episode once.
            images: for each prompt its pictures, the artwork's stand-in first, None where rows have none of
                their own. The live picture is sent in place of the stand-in.
            num_generations: answers wanted for each question, one request for all of them.
            profiler: a context to generate in.

        Returns:
            Prompt ids, completion ids (end-of-turn token included), log-probs with one entry per token in a
            list of its own, None.

        Raises:
            EngineError: no engine answers, or one tokenizes a prompt otherwise than it is trained on.
        """
        url = data_url(encode_png(self.trainer.model.get_artwork_image(), {}))
        questions = [tuple(prompt) for prompt in prompts[::num_generations]]
        own = [shown[1:] for shown in images[::num_generations]] if images else [[]] * len(questions)
        pool = ThreadPoolExecutor(CONCURRENCY * len(self.engines))
        try:
            with profiler or nullcontext():
                list(pool.map(lambda engine: engine.show(url), self.engines))  # its bytes travel once a step
                work = pool.map(self._group, count(), questions, own, repeat(url), repeat(num_generations))
                groups = list(work)
        finally:
            pool.shutdown(cancel_futures=True)
        if any(prompt not in self.conversations for prompt in questions):
            self._complete_here(questions, groups)
        answers = [answer for group in groups for answer in group]
        for prompt, (ids, said) in zip(prompts, answers, strict=True):
            self.logprobs[(*prompt, *ids)] = sum(said)
            if getattr(self.trainer, "tools", None):
                self.answered[(*prompt, *ids)] = self._with_answer(self._conversation(tuple(prompt)), ids)
        logprobs = [[[value] for value in answer.logprobs] for answer in answers]
        return prompts, [answer.ids for answer in answers], logprobs, None

    def _complete_here(self, questions: list[tuple[int, ...]], groups: list[list[Answer]]) -> None:
        """Write later turns that no engine could, and log their share (``sampling/turns_written_here``)."""
        missing = [number for number, group in enumerate(groups) if not group]
        if missing:
            written = generate_here(self.trainer, [questions[number] for number in missing])
            for number, ids in zip(missing, written, strict=True):
                groups[number] = [Answer(ids, [nan] * len(ids))]
        measure(self.trainer, {"sampling/turns_written_here": len(missing) / len(questions)})

    def _with_answer(self, asked: Conversation, ids: list[int]) -> Conversation:
        tokenizer = getattr(self.trainer.processing_class, "tokenizer", self.trainer.processing_class)
        text = tokenizer.decode(ids[:-1] if ids[-1:] == [tokenizer.eos_token_id] else ids)
        return asked._replace(messages=[*asked.messages, {"role": "assistant", "content": text}])

    def _conversation(self, prompt: tuple[int, ...]) -> Conversation:
        """What to send for a prompt: a row's, or an answer of this step with what tools said to it."""
        if prompt in self.conversations:
            return self.conversations[prompt]
        for ids, said in self.results.items():
            before = prompt[: len(prompt) - len(ids)]
            if before in self.answered and prompt[len(before) :] == ids:
                messages, tools, tokens = self.answered[before]
                return Conversation([*messages, *said], tools, tokens)
        raise EngineError(
            "a prompt that is not among the training rows, such as one that an environment's reset adds to: leave "
            "out --rollouts and generate in this process"
        )

    def _group(
        self, number: int, prompt: tuple[int, ...], own: list[Image.Image], url: str, n: int
    ) -> list[Answer]:
        """The answers to a prompt; none where an engine reads a later turn in other tokens."""
        messages, tools, tokens = self._conversation(prompt)
        later = prompt not in self.conversations
        messages = as_urls(attach(messages, own)) if own else messages
        kwargs = getattr(self.trainer.args, "chat_template_kwargs", None)  # such as enable_thinking
        sampling = {**ON_ENGINES, **({"chat_template_kwargs": kwargs} if kwargs else {})}
        failures = []
        for turn in range(len(self.engines)):
            engine = self.engines[(number + turn) % len(self.engines)]
            try:
                answers = engine.sample(
                    place_image(messages, url),
                    tools,
                    n=n,
                    # An engine refuses what would not fit into its context, and TRL cuts the rest off.
                    max_tokens=max(1, self.trainer.args.max_completion_length + tokens - len(prompt)),
                    temperature=1.0,
                    logprobs=True,
                    sampling=sampling,
                )
            except EngineError as error:
                failures.append(str(error))
                continue
            if len(answers) != n:
                raise EngineError(f"{engine.url} returned {len(answers)} answers where {n} were asked for")
            if answers[0].prompt_token_ids is None or any(one.token_ids is None for one in answers):
                raise EngineError(f"{engine.url} returned no token ids: use vLLM")
            if answers[0].prompt_token_ids != list(prompt):
                if later and not own:
                    return []
                raise EngineError(
                    f"{engine.url} makes {len(answers[0].prompt_token_ids)} tokens of a prompt that has "
                    f"{len(prompt)} in training: serve the same model with its own chat template"
                )
            return [_answer(one) for one in answers]
        raise EngineError("; ".join(failures))


def _answer(said: Completion) -> Answer:
    return Answer(said.token_ids or [], said.logprobs or [])


def ask_engines(trainer: Any, engines: Sequence[Engine], rows: Sequence[dict], texts: Sequence[Any]) -> None:
    """Let a GRPO or RLOO trainer of TRL take its completions from engines.

    GRPO then logs the gap between its own log-probs and the engine's and corrects for it, as it does for its
    own vLLM (``vllm_importance_sampling_*`` in its config). RLOO corrects for none, there as here; its gap is
    logged by :func:`log_gap`.

    Args:
        trainer: built without ``use_vllm``.
        engines: serving the frozen base model.
        rows: the training rows, without the artwork: ``prompt`` messages and perhaps ``tools``.
        texts: the prompts that the trainer was given for them, with the artwork's block.

    Raises:
        ValueError: the trainer samples in a way whose log-probs an engine does not report.
    """
    args = trainer.args
    plain = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": None, "repetition_penalty": 1.0}
    for name, value in plain.items():
        if getattr(args, name) != value:
            raise UserError(
                f"{name}={getattr(args, name)}: an engine reports log-probs before such a change; with "
                f"--rollouts leave it at {value}"
            )
    played = [get_json_schema(tool) for tool in getattr(trainer, "tools", None) or ()]  # of an environment
    talks = {
        ids: Conversation(row["prompt"], played or tools_of(row), len(ids))
        for row, ids in zip(rows, prompt_ids(trainer, texts), strict=True)
    }
    rollouts = EngineRollouts(trainer, engines, talks)
    generate_with(trainer, rollouts)
    if played:
        watch_tools(trainer, rollouts.hear)
    if isinstance(trainer, RLOOTrainer):
        log_gap(trainer)


def log_gap(trainer: Any) -> None:
    """Log the largest and the mean gap, over the completions of a step, between the trainer's log-prob of a
    whole completion and the engine's: ``sampling/sequence_logp_difference/max`` and ``/mean``, in nats.
    """

    def score_and_compare(score: Callable, batch: list[dict[str, Any]]) -> dict[str, Any]:
        out, said = score(batch), trainer.vllm_generation.logprobs
        gaps = []
        for logprob, *row in zip(
            out["old_logps"].tolist(),
            *(out[f"{part}_{kind}"] for part in ("prompt", "completion") for kind in ("ids", "mask")),
            strict=True,
        ):
            prompt, prompt_mask, completion, mask = row
            if mask.any():  # else it was cut off, and mask_truncated_completions leaves it out
                ids = (*prompt[prompt_mask.bool()].tolist(), *completion[mask.bool()].tolist())
                gaps.append(abs(logprob - said[ids]))
        name = "sampling/sequence_logp_difference"
        measure(
            trainer, {f"{name}/max": max(gaps, default=0.0), f"{name}/mean": sum(gaps) / max(1, len(gaps))}
        )
        return out

    wrap_scoring(trainer, score_and_compare)


def show_live_picture(trainer: Any) -> None:
    """Make TRL's colocated vLLM look at the live picture. Without this it would see none: the rows are text.

    Two assignments; nothing else needs resetting, because a changed picture has another hash and unchanged
    weights keep the prefix cache valid. Tested with a stand-in for vLLM, not yet on a GPU.
    """

    def with_picture(generate: Callable, prompts: list, images: Any, *rest: Any, **options: Any) -> tuple:
        picture = Image.fromarray(trainer.model.get_artwork_image())
        own = [shown[1:] for shown in images] if images else [[]] * len(prompts)
        return generate(prompts, [[picture, *rows] for rows in own], *rest, **options)

    wrap_vllm(trainer, with_picture)
