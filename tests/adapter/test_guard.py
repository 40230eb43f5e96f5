"""Both checks are active in an unmodified trainer that is only given ``peft_config=``."""

import importlib
import re
import warnings

import pytest
import torch
from datasets import Dataset
from transformers import Trainer, TrainingArguments
from transformers.trainer import DEFAULT_CALLBACKS

import pixeltune.adapter
from pixeltune.adapter import ArtConfig, guard
from pixeltune.model.compat.transformers_insides import watch_every_trainer
from training import make_trainer


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": 2e-5}, "learning_rate=2e-05 moves a pixel by 0.0051 grey levels a step at most"),
        (
            {"learning_rate": 10.0},
            "learning_rate=10 moves a pixel by 2,550 grey levels a step.* 0.005 to 0.1 works",
        ),
        ({"learning_rate": 0.6}, "0.005 to 0.1 works"),
        ({"learning_rate": 0.5}, None),
        ({"learning_rate": 1e-4}, None),
        ({"learning_rate": 10.0, "optim": "sgd"}, None),  # of a gradient of 1e-7
        ({"weight_decay": 0.01}, "fades the picture"),
        ({"adam_epsilon": 1e-8}, "adam_epsilon=1e-16"),
        ({"learning_rate": 5e-3, "warmup_steps": 2}, None),
    ],
)
def test_optimiser_settings_that_cannot_move_pixels_are_reported(checkpoints, tmp_path, settings, message):
    trainer = make_trainer(checkpoints["qwen3_vl"], str(tmp_path), ArtConfig(), max_steps=1, **settings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.train()
    found = [
        str(warning.message) for warning in caught if "pixels will not train well" in str(warning.message)
    ]
    assert len(found) == (message is not None)
    assert all(re.search(message, text) for text in found)


def test_a_training_that_changes_no_grey_level_is_stopped(checkpoints, tmp_path):
    trainer = make_trainer(
        checkpoints["qwen3_vl"], str(tmp_path), ArtConfig(), max_steps=12, learning_rate=1e-7
    )
    with (
        pytest.warns(UserWarning, match="pixels will not train well"),
        pytest.raises(RuntimeError, match="no pixel changed by a grey level in 10 steps"),
    ):
        trainer.train()
    assert trainer.state.global_step == 10


def test_a_training_without_a_gradient_is_stopped(checkpoints, tmp_path, monkeypatch):
    trainer = make_trainer(checkpoints["qwen3_vl"], str(tmp_path), ArtConfig(), max_steps=12)
    loss = trainer.compute_loss
    monkeypatch.setattr(trainer, "compute_loss", lambda *rest, **options: 0 * loss(*rest, **options))
    with pytest.raises(RuntimeError, match="the pixels had no gradient in 10 steps"):
        trainer.train()


def test_trainers_of_other_models_are_left_alone(tmp_path):
    class Line(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return {"loss": (x * 0 * self.weight).sum()}

    settings = TrainingArguments(
        output_dir=str(tmp_path), max_steps=12, learning_rate=1e-9, report_to="none", save_strategy="no"
    )
    rows = Dataset.from_list([{"x": float(n)} for n in range(8)])
    assert Trainer(Line(), settings, train_dataset=rows).train().global_step == 12


def test_a_float16_base_without_loss_scaling_is_refused_at_the_start(checkpoints, tmp_path):
    trainer = make_trainer(checkpoints["qwen3_vl"], str(tmp_path), ArtConfig())
    trainer.model.half()
    with pytest.raises(ValueError, match="float16 base loses pixel gradients"):
        trainer.train()
    assert trainer.state.global_step == 0


def test_a_gradient_that_is_not_finite_stops_the_training_before_the_pixels_are_lost(
    checkpoints, tmp_path, monkeypatch
):
    trainer = make_trainer(checkpoints["qwen3_vl"], str(tmp_path), ArtConfig())
    loss, calls = trainer.compute_loss, []

    def overflow(*rest, **options):
        calls.append(1)
        return loss(*rest, **options) * (float("inf") if len(calls) == 2 else 1)

    monkeypatch.setattr(trainer, "compute_loss", overflow)
    with pytest.raises(RuntimeError, match="not finite in step 2"):
        trainer.train()
    assert all(p.isfinite().all() for p in trainer.model.parameters() if p.requires_grad)


@pytest.mark.parametrize("module", [guard, pixeltune.adapter])
def test_loading_the_module_again_adds_nothing(module):
    before = list(DEFAULT_CALLBACKS)
    kept = dict(vars(module))
    try:
        importlib.reload(module)
        watch_every_trainer([pixeltune.adapter.guard.NoOpGuard, pixeltune.adapter.guard.PixelOptimizerCheck])
        names = [callback.__qualname__ for callback in DEFAULT_CALLBACKS]
        assert names.count("NoOpGuard") == names.count("PixelOptimizerCheck") == 1
        assert len(DEFAULT_CALLBACKS) == len(before)
    finally:
        vars(module).update(kept)
        DEFAULT_CALLBACKS[:] = before


def group(reward, std=0.0, alike=1.0, cut=0.0):
    """What TRL logs of a step's rewards."""
    return {
        "reward": reward,
        "reward_std": std,
        "frac_reward_zero_std": alike,
        "completions/clipped_ratio": cut,
    }


@pytest.mark.parametrize(
    ("history", "said"),
    [
        ([group(0.0), group(0.0)], "no completion was ever rewarded"),
        ([group(1.0), group(1.0)], r"every completion was rewarded alike \(1\)"),
        ([group(0.0, std=1.0)], "all completions of a group were rewarded alike, so"),  # groups of -1 and of 1
        ([group(0.0), group(0.5)], "all completions of a group were rewarded alike, so"),
        ([group(0.0, cut=0.9), group(0.0, cut=1.0)], "95% of completions were cut off: raise max_completion_length"),
        ([group(0.3, std=0.2, alike=0.5)], "every label is masked"),
        ([{"loss": 0.0}], "every label is masked"),
        ([], "every label is masked"),
        ([{"reward": None}], "^the reward gave None or NaN for every completion, (?!.*length)"),
    ],
)  # fmt: skip
def test_why_there_is_no_gradient_is_read_from_the_log(history, said):
    why = guard.why_no_gradient(history)
    assert re.search(said, why)
    assert "learning_rate" not in why
    for remedy in ("num_generations", "temperature", "by sft first"):
        assert remedy in why
