"""TRL's insides that are relied on: written for TRL 1.16."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any


def declare_context_length(model: Any) -> None:
    """Put the language model's `max_position_embeddings` on the whole model's configuration.

    TRL's tool loop reads it there unless its processing class is a multimodal processor; with the artwork as
    text it is a tokenizer (`_tool_call_loop`,
    https://github.com/huggingface/trl/blob/v1.16.0/trl/trainer/grpo_trainer.py).
    """
    model.config.max_position_embeddings = model.config.get_text_config().max_position_embeddings


def leave_out_model_cards(trainer: Any) -> None:
    """Keep a trainer from writing README.md at each checkpoint: of an artwork it has no base model's name.

    It would say "fine-tuned version of None" (`BaseTrainer.create_model_card`,
    https://github.com/huggingface/trl/blob/v1.16.0/trl/trainer/base_trainer.py); the run writes its own card.
    """
    trainer.create_model_card = lambda *args, **kwargs: None


def score_labelled_only() -> None:
    """Let the head of TRL's trainers run at labelled positions only, on every device.

    Without Triton it runs at all of them, image tokens and prompts included, so that a compiler for Neuron sees one
    shape (`_fused_forward`, https://github.com/huggingface/trl/blob/v1.16.0/trl/trainer/utils.py); a CPU or an
    Apple chip compiles nothing. In that module the name says nothing else.
    """
    from trl.trainer import utils

    utils._use_triton = lambda device: True


def measure(trainer: Any, values: dict[str, float]) -> None:
    """Log values with the trainer's own of this step, as their mean over the steps since the last entry.

    There is no public way to add to them (`_metrics`, by mode and name a list,
    https://github.com/huggingface/trl/blob/v1.16.0/trl/trainer/grpo_trainer.py).
    """
    metrics = trainer._metrics["train" if trainer.model.training else "eval"]
    for name, value in values.items():
        metrics[name].append(value)


def take_measured(trainer: Any) -> dict[str, list[float]]:
    """What a trainer measured in training since it was last taken, by name; it will not log it itself.

    For a trainer that never logs, because it takes part in another's steps. Trainers that are not TRL's
    measure nothing.
    """
    measured = getattr(trainer, "_metrics", {"train": {}})["train"]
    taken = dict(measured)
    measured.clear()
    return taken


def add_measured(trainer: Any, measured: dict[str, list[float]]) -> None:
    """Let a trainer log what another one measured in training."""
    for name, values in measured.items():
        trainer._metrics["train"][name] += values


def wrap_scoring(trainer: Any, around: Callable[[Callable, list[dict]], Any]) -> None:
    """Have `around(score, batch)` called where an online trainer generates and scores a batch of rows.

    TRL has no hook there (`_generate_and_score_completions` of GRPO and RLOO,
    https://github.com/huggingface/trl/blob/v1.16.0/trl/trainer/rloo_trainer.py).
    """
    score = trainer._generate_and_score_completions
    trainer._generate_and_score_completions = lambda batch: around(score, batch)


def wrap_generation(trainer: Any, around: Callable[[Callable, list], tuple]) -> None:
    """Have `around(generate, prompts)` called where an online trainer generates.

    TRL has no hook between generating and scoring (`_generate` of GRPO and RLOO,
    https://github.com/huggingface/trl/blob/v1.16.0/trl/trainer/grpo_trainer.py).
    """
    generate = trainer._generate
    trainer._generate = lambda prompts: around(generate, prompts)


def generate_as_teacher(trainer: Any) -> None:
    """Let a self-distillation generate with the teacher's weights where it generates from the teacher's prompt.

    TRL does so for logits only: completions would come from the student, told in words (`_generate` and
    `_get_teacher_context_for_self_distillation` of `SDFTTrainer`,
    https://github.com/huggingface/trl/blob/v1.16.0/trl/experimental/sdft/sdft_trainer.py).
    """
    generate = trainer._generate

    def with_the_teacher(prompt_ids: list[list[int]]) -> tuple:
        if not trainer.generate_from_teacher:
            return generate(prompt_ids)
        with trainer._get_teacher_context_for_self_distillation():
            return generate(prompt_ids)

    trainer._generate = with_the_teacher


def learn_from(trainer: Any, teacher: Any) -> None:
    """Let a self-distillation take a teacher's logits and completions from another model than the student.

    TRL's teacher is the student's base, live or averaged weights (`_setup_teacher_model`, `compute_loss`, `_generate`
    and `_get_teacher_context_for_self_distillation` of `SDFTTrainer`,
    https://github.com/huggingface/trl/blob/v1.16.0/trl/experimental/sdft/sdft_trainer.py).
    """
    generate = trainer._generate
    trainer.teacher_model = teacher
    trainer._get_teacher_context_for_self_distillation = (
        nullcontext  # there is no adapter of the student to disable
    )

    def with_the_teacher(prompt_ids: list[list[int]]) -> tuple:
        if not trainer.generate_from_teacher:
            return generate(prompt_ids)
        student, trainer.model_wrapped = trainer.model_wrapped, teacher
        try:
            return generate(prompt_ids)
        finally:
            trainer.model_wrapped = student

    trainer._generate = with_the_teacher


def completions_of(generated: tuple) -> list:
    """The completions in what `_generate` returns: RLOO's has three parts, GRPO's eight; token ids are second."""
    return generated[2] if len(generated) == 3 else generated[3]


def prompt_ids(trainer: Any, prompts: Sequence[Any]) -> list[tuple[int, ...]]:
    """Token ids of prompts as an online trainer makes them, chat template and pictures included.

    `_tokenize_prompts`, https://github.com/huggingface/trl/blob/v1.16.0/trl/trainer/grpo_trainer.py, which in GRPO
    looks up each prompt's tools by the names of a batch's environments: None where there is one for all.
    """
    if getattr(trainer, "environment_factories", None):
        trainer._batch_environments = [None] * len(prompts)
    return [tuple(ids) for ids in trainer._tokenize_prompts(list(prompts))[0]]


def generate_with(trainer: Any, generation: Any) -> None:
    """Let an online trainer take its completions from an object in the place of its vLLM.

    These are the assignments at the end of `GRPOTrainer.__init__` with ``use_vllm``. The object has
    ``sync_weights()`` and ``generate(prompts, images, num_generations, profiler)``
    (https://github.com/huggingface/trl/blob/v1.16.0/trl/generation/vllm_generation.py). Only a colocated one is
    asked for the length of its context, in episodes.
    """
    trainer.vllm_generation = generation
    trainer.use_vllm, trainer.vllm_mode, trainer._last_loaded_step = True, "server", -1


def generate_here(trainer: Any, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """One completion of each prompt by a GRPO trainer's own model, though another object generates for it.

    `_generate_single_turn`, https://github.com/huggingface/trl/blob/v1.16.0/trl/trainer/grpo_trainer.py.
    """
    trainer.use_vllm = False
    try:
        return trainer._generate_single_turn([list(ids) for ids in prompts], None, {}, 1)[0]
    finally:
        trainer.use_vllm = True


def watch_tools(trainer: Any, look: Callable[[tuple[int, ...], list[dict]], None]) -> None:
    """Have `look(ids, messages)` called with what tools say in a turn, as token ids and as messages.

    `_get_tool_suffix_ids`, https://github.com/huggingface/trl/blob/v1.16.0/trl/trainer/grpo_trainer.py.
    """
    render = trainer._get_tool_suffix_ids

    def render_and_look(messages: list[dict]) -> list[int]:
        ids = render(messages)
        look(tuple(ids), messages)
        return ids

    trainer._get_tool_suffix_ids = render_and_look


def wrap_vllm(trainer: Any, around: Callable[..., tuple]) -> None:
    """Have `around(generate, prompts, images, ...)` called where a trainer's own vLLM generates.

    And never let it synchronise weights, which are frozen (`VLLMGeneration.generate`, `.sync_weights`,
    https://github.com/huggingface/trl/blob/v1.16.0/trl/generation/vllm_generation.py).
    """
    generation = trainer.vllm_generation
    generate = generation.generate
    generation.sync_weights = lambda: None
    generation.generate = lambda *args, **kwargs: around(generate, *args, **kwargs)


def limit_turns(trainer: Any, turns: int) -> None:
    """How many calls an episode of GRPO may make, one after another, from now on.

    The trainer reads the config once and its own attribute in each episode (`max_tool_calling_iterations`,
    https://github.com/huggingface/trl/blob/v1.16.0/trl/trainer/grpo_trainer.py).
    """
    trainer.max_tool_calling_iterations = turns
