"""One training of the comparison in `accuracy.py`: the same trainer on the same rows, whatever is trained.

What may differ between methods is what is trained, its learning rate and Adam's epsilon (pixel gradients are
far below that for weights); everything else is one code for all. A run that trains nothing, or a
base model that changes, is an error here and not a low score.
"""

from __future__ import annotations

import gc
import hashlib
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from transformers import PrinterCallback, TrainerCallback, set_seed

from benchmarks.common.bases import processor as processor_of
from pixeltune.adapter import ArtConfig
from pixeltune.data.placement import place_row
from pixeltune.data.turns import each_turn
from pixeltune.evaluation import soft_prompt
from pixeltune.model.loading import load_model, weights_sha256
from pixeltune.training.defaults import OFFLINE, ONLINE, PIXEL_DEFAULTS
from pixeltune.training.objectives import OBJECTIVES, rendered

TOKENS = 64  # of the artwork, and vectors of the soft prompt
LINEAR = r".*language_model.*(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj|in_proj_\w+|out_proj)"
RATES = {  # learning rates to choose from, as many for each method
    "artwork": (0.02, 0.06, 0.15),
    "lora4": (1e-3, 3e-3, 1e-2),
    "lora16": (1e-3, 3e-3, 1e-2),
    "lora64": (1e-3, 3e-3, 1e-2),
    "prompt": (1e-2, 3e-2, 1e-1),
    "full": (1e-4, 3e-4, 1e-3),
}
PATIENCE = 8  # steps without one group of completions that is rewarded unevenly: nothing to learn from
COMMON = {
    "lr_scheduler_type": PIXEL_DEFAULTS["lr_scheduler_type"],
    "weight_decay": 0.0,
    "gradient_checkpointing": False,
    "bf16": False,  # the weights are what precision they are
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "logging_steps": 1,
    "logging_nan_inf_filter": False,
}


@dataclass(frozen=True)
class Trained:
    """A finished training."""

    model: Any
    """A ``PeftModel``, or after full fine-tuning the model itself."""
    facts: dict
    """What happened, as JSON: steps, seconds, losses, curve, lessons."""
    step_seconds: list[float]
    """Of each step."""


class Watch(TrainerCallback):
    """Times the steps, takes the learning curve between them, and ends a training that cannot learn."""

    def __init__(self, curve: tuple[int, ...], score: Callable[[], float] | None) -> None:
        self.curve, self.score = curve, score
        self.each, self.points, self.losses, self.rewards, self.uneven = [], [], [], [], 0

    def on_step_begin(self, args, state, control, **kwargs) -> None:
        self.begun = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # what was only queued is not done
        self.each.append(time.perf_counter() - self.begun)
        if self.score and state.global_step in self.curve:
            with torch.random.fork_rng(devices=[]):
                self.points.append([state.global_step, round(sum(self.each), 2), self.score()])

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        if "loss" in logs:
            self.losses.append(float(logs["loss"]))
        if "reward" in logs:
            self.rewards.append(float(logs["reward"] or 0.0))
            self.uneven += logs["frac_reward_zero_std"] < 1
            if len(self.rewards) >= PATIENCE and not self.uneven:
                control.should_training_stop = True


def adapt(model: Any, method: str, seed: int = 0, image_tokens: int = TOKENS) -> Any:
    """The model with what a method trains, and nothing else trainable.

    Args:
        model: a fresh one; it is changed.
        method: one of `RATES`.
        seed: of whatever starts at random.
        image_tokens: of an artwork.
    """
    set_seed(seed)
    if method == "full":
        return model.requires_grad_(True)
    if method == "artwork":
        return get_peft_model(model, ArtConfig(image_tokens=image_tokens, seed=seed))
    if method == "prompt":
        return with_soft_prompt(model)
    r = int(method.removeprefix("lora"))
    return get_peft_model(model, LoraConfig(r=r, lora_alpha=2 * r, target_modules=LINEAR))


def with_soft_prompt(model: Any) -> Any:
    """PEFT's prompt tuning, generating as `pixeltune.evaluation.soft_prompt` does it.

    In training Qwen's backbone counts padding as positions unless it holds ``rope_deltas``, and left-padded
    prompts (GRPO) would stand apart from the vectors.

    The vectors start as embeddings of tokens drawn from the vocabulary, which does better than noise (Lester,
    Al-Rfou and Constant 2021, section 3.2).
    """
    config = PromptTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=TOKENS, prompt_tuning_init="SAMPLE_VOCAB"
    )
    adapted = get_peft_model(model, config)
    model.model.rope_deltas = torch.zeros(1, 1, dtype=torch.long, device=model.device)
    adapted.generate = MethodType(soft_prompt.generate, adapted)
    return adapted


def placed(verb: str, rows: list[dict], block: str, processor: Any) -> list[dict]:
    """Rows as the trainers take them, every turn of the assistant a row of its own.

    Args:
        verb: "sft" or "grpo".
        rows: of a task.
        block: the artwork's placeholder text, empty for other methods.
        processor: renders tools.
    """
    rows = each_turn(rows)
    rows = [place_row(row, block) for row in rows] if block else rows
    if verb == "sft":
        return rows
    return rendered([{**row, "wanted": row["completion"][0]["content"]} for row in rows], processor)


def train(
    verb: str,
    method: str,
    rate: float,
    seed: int,
    rows: list[dict],
    settings: dict,
    reward: Callable | None = None,
    curve: tuple[int, ...] = (),
    score: Callable[[Any], float] | None = None,
    base: str = "tiny",
    dtype: str = "auto",
    begun: Any = None,
) -> Trained:
    """Train a fresh copy of a model with one method, or go on with what the same method has trained.

    Full fine-tuning of a bfloat16 model is in mixed precision: steps at these rates are lost in eight bits. Its
    weights are float32 while it is trained and bfloat16 when it answers.

    Args:
        verb: "sft" or "grpo".
        method: one of `RATES`.
        rate: the learning rate.
        seed: of the order of rows, of sampling, and of what starts at random.
        rows: of a task.
        settings: of TRL's config, beside those of `COMMON`.
        reward: of grpo, in TRL's signature; rows have a column `wanted`, the reference answer.
        curve: steps after which the model is scored.
        score: of a model.
        base: name of the model.
        dtype: of its weights.
        begun: a finished training's model, which is trained on.

    Raises:
        RuntimeError: what should be trained did not move, or something else did.
    """
    gc.collect()  # a trainer and its model refer to each other; two large models do not fit
    torch.cuda.empty_cache()
    mixed = method == "full" and dtype == "bfloat16"
    objective, processor = OBJECTIVES[verb], processor_of(base)
    if begun is None:
        model = load_model(base, dtype="float32" if mixed else dtype)
        adapted = adapt(model, method, seed)
    else:
        adapted = (begun.float() if mixed else begun).train()
        model = adapted if method == "full" else adapted.get_base_model()
    before = weights_sha256(model)
    if verb == "sft":
        model.accepts_loss_kwargs = True  # as `pixeltune sft` has it
    watch = Watch(curve, score and (lambda: score(adapted)))
    with tempfile.TemporaryDirectory() as folder:
        epsilon = {"adam_epsilon": PIXEL_DEFAULTS["adam_epsilon"]} if method == "artwork" else {}
        config = COMMON | (OFFLINE if verb == "sft" else ONLINE) | epsilon | settings
        if mixed:
            config |= {"bf16": True, "use_cpu": not torch.cuda.is_available()}
        block = adapted.art_block if method == "artwork" else ""
        trainer = objective.trainer(
            model=adapted,
            args=objective.config(output_dir=folder, learning_rate=rate, seed=seed, data_seed=seed, **config),
            train_dataset=Dataset.from_list(placed(verb, rows, block, processor)),
            processing_class=processor.tokenizer,
            callbacks=[watch],
            **({"reward_funcs": reward} if verb == "grpo" else {}),
        )
        trainer.remove_callback(PrinterCallback)
        trainable = {name: p for name, p in adapted.named_parameters() if p.requires_grad}
        first = {name: _digest(p) for name, p in trainable.items()}
        trainer.train()
    lessons = watch.uneven if verb == "grpo" else trainer.state.global_step
    still = [name for name, p in trainable.items() if _digest(p) == first[name]]
    check(method, lessons, still, len(first), weights_sha256(model) != before)
    facts = {
        "rate": rate,
        "steps": trainer.state.global_step,
        "lessons": int(lessons),
        "seconds": round(sum(watch.each), 2),
        "trained_numbers": sum(p.numel() for p in trainable.values()),
        "loss": [_finite(value) for value in (watch.losses[0], watch.losses[-1])],
        **({"reward": [round(watch.rewards[0], 4), round(watch.rewards[-1], 4)]} if watch.rewards else {}),
        **({"curve": watch.points} if curve else {}),
    }
    adapted = adapted.to(torch.bfloat16) if mixed else adapted
    return Trained(adapted.eval(), facts, watch.each)


def check(method: str, lessons: int, still: list[str], tensors: int, base_changed: bool) -> None:
    """Refuse a run that trained nothing, not all, or what it should not.

    Args:
        method: one of `RATES`.
        lessons: steps that had a gradient.
        still: trainable tensors that did not move.
        tensors: how many are trainable.
        base_changed: whether the weights of the base model are others than before.

    Raises:
        RuntimeError: saying which.
    """
    if lessons and len(still) == tensors:
        raise RuntimeError(f"{method}: nothing moved in {lessons} steps with a gradient; raise the rate")
    # One half of a LoRA has no gradient until the other has moved; without pictures the tower has none.
    if method != "full" and lessons > 1 and still:
        raise RuntimeError(f"{method}: {len(still)} of {tensors} tensors did not move, {still[0]} first")
    if base_changed != (method == "full" and lessons > 0):
        change = "changed" if base_changed else "did not change"
        raise RuntimeError(f"{method}: the weights of the base {change}")


def _digest(parameter: torch.Tensor) -> bytes:
    """Of its bytes, which take less memory than a copy."""
    flat = parameter.detach().flatten().cpu().contiguous()
    return hashlib.sha256(flat.view(torch.uint8).numpy()).digest()


def _finite(value: float) -> float | None:
    return round(value, 5) if math.isfinite(value) else None
