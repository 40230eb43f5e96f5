"""Names and signatures inside of TRL, transformers' trainer and accelerate that `training/compat` touches.

One test for each function there: after an upgrade they say in a minute what broke.
"""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from types import SimpleNamespace

import datasets
import pytest
import torch
from accelerate import Accelerator
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
    trainer_utils,
)
from trl import DPOTrainer, GRPOTrainer, KTOTrainer, RLOOTrainer, SFTTrainer
from trl.generation.vllm_generation import VLLMGeneration
from trl.trainer import utils as trl_utils

from pixeltune.training.compat import trainer_insides, trl_insides
from pixeltune.training.compat import warnings as library_warnings
from pixeltune.training.distillation import DistillationTrainer, SDFTTrainer

ONLINE = [GRPOTrainer, RLOOTrainer]
ALL = [SFTTrainer, DPOTrainer, KTOTrainer, *ONLINE, DistillationTrainer]


def names(function: Callable) -> list[str]:
    return list(inspect.signature(function).parameters)


def source(owner: object) -> str:
    return inspect.getsource(owner)


def test_every_touch_is_held_here():
    """A function that is added there needs a test here."""
    own = [
        name
        for module in (trl_insides, trainer_insides)
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    ]
    said = source(inspect.getmodule(test_every_touch_is_held_here))
    assert [name for name in own if f"_insides.{name}" not in said] == []


def test_score_labelled_only(monkeypatch):
    """`trl_insides.score_labelled_only`: same loss and gradient from a head that sees the labelled positions alone."""
    assert source(trl_utils).count("_use_triton(") == 1  # nothing else is decided by it
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=40, **sizes))
    trl_utils.add_fused_lm_head(model)
    ids = torch.randint(0, 40, (3, 12))
    labels = ids.where(torch.arange(12) >= 9, -100)
    scored, run = [], trl_utils._ChunkedLogProbFunction.apply
    monkeypatch.setattr(
        trl_utils._ChunkedLogProbFunction,
        "apply",
        lambda hidden, *rest: scored.append(len(hidden)) or run(hidden, *rest),
    )

    def step() -> tuple[torch.Tensor, torch.Tensor]:
        model.zero_grad()
        loss = model(input_ids=ids, labels=labels, fused_lm_head=True).loss
        loss.backward()
        return loss.detach(), model.model.embed_tokens.weight.grad.clone()

    monkeypatch.setattr(trl_utils, "_use_triton", lambda device: False)  # what TRL says of a CPU
    everywhere = step()
    trl_insides.score_labelled_only()
    torch.testing.assert_close(step(), everywhere)
    assert scored == [3 * 11, 3 * 3]


def test_declare_context_length():
    assert "max_position_embeddings" in source(GRPOTrainer._tool_call_loop)
    config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(max_position_embeddings=77))
    trl_insides.declare_context_length(SimpleNamespace(config=config))
    assert config.max_position_embeddings == 77


@pytest.mark.parametrize("trainer", ALL[:-1])  # the experimental ones write no cards at checkpoints
def test_leave_out_model_cards(trainer):
    """Where this fails, TRL writes its card elsewhere: see `trl_insides.leave_out_model_cards`."""
    assert "self.create_model_card(" in source(trainer._save_checkpoint)
    assert names(trainer.create_model_card)[1:2] == ["model_name"]
    one = SimpleNamespace()
    trl_insides.leave_out_model_cards(one)
    assert one.create_model_card(model_name="x") is None


@pytest.mark.parametrize("trainer", [*ALL, SDFTTrainer])
def test_measured_values_by_mode_and_name(trainer):
    """`trl_insides.measure`, `trl_insides.take_measured`, `trl_insides.add_measured`."""
    init = "".join(source(kind.__init__) for kind in trainer.__mro__ if kind.__module__.startswith("trl."))
    assert 'self._metrics = {"train": defaultdict(list), "eval": defaultdict(list)}' in init


@pytest.mark.parametrize("trainer", ONLINE)
def test_wrap_scoring(trainer):
    """`trl_insides.wrap_scoring`, `trl_insides.wrap_generation`, `trl_insides.prompt_ids`."""
    assert names(trainer._generate_and_score_completions) == ["self", "inputs"]
    assert "self._generate_and_score_completions(" in source(trainer._prepare_inputs)
    assert names(trainer._generate) == ["self", "prompts"]
    assert "self._generate(prompts)" in source(trainer._generate_and_score_completions)
    assert names(trainer._tokenize_prompts) == ["self", "prompts"]
    assert "prompt_ids, images, multimodal_fields" in source(trainer._tokenize_prompts).rsplit("return", 1)[1]


def test_completions_of():
    """`trl_insides.completions_of`: at the third place of three, or the fourth of eight."""
    returned = [source(trainer._generate).rsplit("return", 1)[1] for trainer in ONLINE]
    grpo, rloo = (
        [part.strip(" \n()") for part in text.split(",") if part.strip(" \n()")] for text in returned
    )
    assert (len(grpo), grpo[3]) == (8, "completions")
    assert (len(rloo), rloo[2]) == (3, "completions")
    assert trl_insides.completions_of(tuple(range(8))) == 3
    assert trl_insides.completions_of(tuple(range(3))) == 2


@pytest.mark.parametrize("trainer", ONLINE)
def test_generate_with(trainer):
    """`trl_insides.generate_with`, `trl_insides.wrap_vllm`."""
    text = source(trainer._generate_single_turn)
    assert "self.state.global_step != self._last_loaded_step" in text
    assert "self.vllm_generation.sync_weights()" in text
    assert "prompts=prompt_ids,\n" in text
    assert names(VLLMGeneration.sync_weights) == ["self"]
    assert names(VLLMGeneration.generate)[:5] == ["self", "prompts", "images", "num_generations", "profiler"]
    own = SimpleNamespace()
    trl_insides.generate_with(own, "engine")
    assert (own.vllm_generation, own.use_vllm, own._last_loaded_step) == ("engine", True, -1)
    assert own.vllm_mode != "colocate"


def test_tool_loop():
    """`trl_insides.generate_here`, `trl_insides.watch_tools`, and the tools of `trl_insides.prompt_ids`."""
    loop, one = source(GRPOTrainer._tool_call_loop), GRPOTrainer._generate_single_turn
    assert 'self.use_vllm and self.vllm_mode == "colocate"' in loop
    assert "suffix_ids = self._get_tool_suffix_ids(tool_messages)" in loop
    assert names(one)[:5] == ["self", "prompt_ids", "images", "multimodal_fields", "num_generations"]
    assert "if self.use_vllm:" in source(one)
    assert source(one).rsplit("return", 1)[1].split()[0] == "completion_ids,"
    assert "self._batch_environments, strict=True" in source(GRPOTrainer._tokenize_prompts)
    heard = []
    own = SimpleNamespace(_get_tool_suffix_ids=lambda messages: [1, 2])
    trl_insides.watch_tools(own, lambda *said: heard.append(said))
    assert own._get_tool_suffix_ids(["said"]) == [1, 2]
    assert heard == [((1, 2), ["said"])]
    used = []
    own = SimpleNamespace(use_vllm=True)
    own._generate_single_turn = lambda *asked: (used.append((own.use_vllm, *asked)), ([[7]], None))[1]
    assert trl_insides.generate_here(own, [(1, 2)]) == [[7]]
    assert (used, own.use_vllm) == ([(False, [[1, 2]], None, {}, 1)], True)


def test_limit_turns():
    """`trl_insides.limit_turns`."""
    assert "self.max_tool_calling_iterations" in source(GRPOTrainer._tool_call_loop)


def test_generate_as_teacher():
    assert names(SDFTTrainer._generate) == ["self", "prompt_ids"]
    assert names(SDFTTrainer._get_teacher_context_for_self_distillation) == ["self"]
    assert "self.generate_from_teacher = " in source(SDFTTrainer.__init__)
    assert "self._generate(" in source(SDFTTrainer)
    inside = []

    @contextmanager
    def teacher():
        inside.append(True)
        yield
        inside.pop()

    one = SimpleNamespace(
        generate_from_teacher=True,
        _generate=lambda prompt_ids: (prompt_ids, list(inside)),
        _get_teacher_context_for_self_distillation=teacher,
    )
    trl_insides.generate_as_teacher(one)
    assert one._generate([[1]]) == ([[1]], [True])
    one.generate_from_teacher = False
    assert one._generate([[1]]) == ([[1]], [])


def test_learn_from():
    """Logits are the teacher's without a context around them, and so is what is generated from its prompt."""
    assert "self.teacher_model" in source(SDFTTrainer.compute_loss)
    assert "self.model_wrapped" in source(SDFTTrainer._generate_transformers)
    assert "self._get_teacher_context_for_self_distillation()" in source(
        SDFTTrainer._compute_teacher_student_logits
    )
    one = SimpleNamespace(generate_from_teacher=True, model_wrapped="student")
    one._generate = lambda prompt_ids: (prompt_ids, one.model_wrapped)
    trl_insides.learn_from(one, "teacher")
    assert one.teacher_model == "teacher"
    assert one._generate([[1]]) == ([[1]], "teacher")
    assert one.model_wrapped == "student"
    one.generate_from_teacher = False
    assert one._generate([[1]]) == ([[1]], "student")
    with one._get_teacher_context_for_self_distillation():
        pass


def test_mean_over_step():
    """`trainer_insides.mean_over_step`."""
    assert 'hasattr(unwrapped_model, "accepts_loss_kwargs")' in source(Trainer)


def test_save_checkpoint():
    """`trainer_insides.save_checkpoint`."""
    assert names(Trainer._save_checkpoint) == ["self", "model", "trial"]


def test_save_as_one():
    """`trainer_insides.save_as_one`: the switch that saving and loading look at, set once."""
    for method in (Trainer._save_optimizer_and_scheduler, Trainer.save_model, Trainer._load_from_checkpoint):
        assert "self.is_fsdp_enabled" in source(method), method.__name__
    assert source(Trainer.create_accelerator_and_postprocess).count("self.is_fsdp_enabled =") == 1
    one = SimpleNamespace(is_fsdp_enabled=True)
    trainer_insides.save_as_one(one)
    assert one.is_fsdp_enabled is False


def test_prepare_without_wrapper():
    """`trainer_insides.prepare_without_wrapper`."""
    assert names(Accelerator.prepare_model)[1:] == ["model", "device_placement", "evaluation_mode"]
    assert "self.model_wrapped" in source(Trainer.__init__)


@pytest.mark.parametrize("on", [True, False])
def test_renamed(on):
    """`trainer_insides.renamed`: without a warning, and by either name."""
    given = trainer_insides.renamed({"gradient_checkpointing": on, "max_steps": 3}, TrainingArguments)
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        assert TrainingArguments(**given).gradient_checkpointing is on
    assert trainer_insides.renamed(given, TrainingArguments) == given


@pytest.mark.parametrize(
    ("methods", "called"),
    [
        (["gradient_checkpointing_enable"], "gradient_checkpointing_enable"),
        (
            ["gradient_checkpointing_enable", "activation_checkpointing_enable"],
            "activation_checkpointing_enable",
        ),
    ],
)
def test_checkpoint_gradients(methods, called):
    """By the name that the trainer itself calls, with its settings as the first argument."""
    heard = []
    model = SimpleNamespace(
        **{name: lambda given, name=name: heard.append((name, given)) for name in methods}
    )
    trainer_insides.checkpoint_gradients(model, {"use_reentrant": False})
    assert heard == [(called, {"use_reentrant": False})]
    new = hasattr(PreTrainedModel, "activation_checkpointing_enable")
    name = "activation_checkpointing_enable" if new else "gradient_checkpointing_enable"
    assert f"self.model.{name}(" in source(Trainer)
    assert names(getattr(PreTrainedModel, name))[1] == name.replace("enable", "kwargs")


@pytest.mark.parametrize("trainer", [Trainer, *ALL])
def test_wrap_training_step(trainer):
    """`trainer_insides.wrap_training_step`, `trainer_insides.step_along`."""
    passed_on = ["self", "args", "kwargs"]
    assert names(trainer.training_step) in (["self", "model", "inputs", "num_items_in_batch"], passed_on)
    assert "self.current_gradient_accumulation_steps" in source(Trainer.training_step)


@pytest.mark.parametrize("trainer", [SFTTrainer, DPOTrainer])
def test_wrap_batches(trainer):
    """`trainer_insides.wrap_batches`: all batches of a step, before the first of them is computed."""
    assert names(trainer.get_batch_samples)[:3] == ["self", "epoch_iterator", "num_batches"]
    assert "return batch_samples, num_items_in_batch" in source(trainer.get_batch_samples)
    loop = source(Trainer)
    assert loop.count("self.get_batch_samples(") == 1
    assert loop.index("self.get_batch_samples(") < loop.index("self.training_step(model, inputs")


@pytest.mark.parametrize("trainer", ALL)
def test_wrap_loss(trainer):
    """`trainer_insides.wrap_loss`."""
    assert names(trainer.compute_loss)[:3] == ["self", "model", "inputs"]
    assert "self.compute_loss(model, inputs, num_items_in_batch=" in source(Trainer.training_step)


def test_count_operations():
    """`trainer_insides.count_operations`: asked once a batch, told anew at the end and in checkpoints."""
    assert names(Trainer.floating_point_ops) == ["self", "inputs"]
    assert source(Trainer).count("self.current_flos += float(self.floating_point_ops(inputs))") == 1
    assert "total_flos" in source(Trainer.store_flos)


@pytest.mark.parametrize(
    ("said_by", "prefix", "text"),
    [
        (trainer_utils.align_special_tokens, "", "The tokenizer has new PAD/BOS/EOS tokens"),
        (
            trainer_utils.compare_trainer_and_checkpoint_args,
            "",
            "Warning: The following arguments do not match the ones in the `trainer_state.json`",
        ),
        (KTOTrainer, "[RANK 0] ", "You have different amounts of desirable/positive"),
        (GRPOTrainer, "[RANK 0] ", "All reward functions returned None for the following kwargs"),
        (RLOOTrainer, "[RANK 0] ", "All reward functions returned None for the following kwargs"),
    ],
)
def test_messages_that_are_silenced_are_still_said(said_by, prefix, text):
    """And only those, and only within; bars are as before afterwards."""
    assert text in source(said_by)
    logger = logging.getLogger(said_by.__module__)
    heard: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())
    logger.addHandler(handler)
    before = datasets.are_progress_bars_disabled()
    try:
        with library_warnings.quiet_libraries():
            assert datasets.are_progress_bars_disabled()
            logger.warning(f"{prefix}{text} and so on")
            logger.warning("something else")
        logger.warning(f"{text} once more")
    finally:
        logger.removeHandler(handler)
    assert heard == ["something else", f"{text} once more"]
    assert datasets.are_progress_bars_disabled() == before
