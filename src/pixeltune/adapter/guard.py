"""Two checks that pixels are being trained, active in every trainer whose model wears an artwork.

Importing the package adds them to transformers' default callbacks, so that people who only pass
``peft_config=ArtConfig()`` get them too. In the training of other models they do nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from transformers import TrainerCallback

from pixeltune.adapter.layer import ArtLayer
from pixeltune.errors import RunError, UserError
from pixeltune.model.compat.bitsandbytes_insides import keep_differentiable
from pixeltune.model.precision import UNSCALED_FLOAT16
from pixeltune.picture.settings import RATES

_LOOK = "(log_completions shows it)"
_WIDER = (
    "Else sample wider (num_generations, temperature), ask easier rows, or paint by sft first and start from that "
    "artwork (start)"
)


class PixelWarning(UserWarning):
    """Pixels will not train well with these settings."""


class PixelOptimizerCheck(TrainerCallback):
    """Warn at the start of training when the optimiser's settings cannot move pixels, or would fade them."""

    def on_train_begin(self, args, state, control, model=None, optimizer=None, **kwargs) -> None:
        layer = find_art_layer(model)
        if layer is None or not state.is_world_process_zero:
            return
        pixels = {id(parameter) for parameter in layer.art_canvas.parameters()}
        for group in optimizer.param_groups if optimizer is not None else []:
            if not any(id(parameter) in pixels for parameter in group["params"]):
                continue
            for problem in _problems(group):
                warnings.warn(f"pixels will not train well: {problem}", PixelWarning, stacklevel=2)


class NoOpGuard(TrainerCallback):
    """Stop a training that trains nothing, or rubbish.

    At the start: the base is float16 and nobody scales the loss. In any step: a gradient is not finite, while
    the picture still is. Some steps in: no grey level changed, or no gradient came.
    """

    def __init__(self, steps: int = 10) -> None:
        """
        Args:
            steps: after how many the picture is looked at; a shorter training is looked at by its caller.
        """
        self.steps, self.layer = steps, None

    def on_train_begin(self, args, state, control, model=None, **kwargs) -> None:
        """
        Raises:
            ValueError: the base is in float16 without loss scaling.
        """
        self.pushed, self.layer = False, find_art_layer(model)
        if self.layer is None:
            return
        if not args.fp16 and any(parameter.dtype == torch.float16 for parameter in model.parameters()):
            raise UserError(UNSCALED_FLOAT16)
        keep_differentiable(model)
        self.first, self.end = self.layer.canvas().to_uint8(), state.global_step + self.steps

    def on_step_begin(self, args, state, control, **kwargs) -> None:
        if self.layer is not None:
            self.layer.begin_step(state.global_step)

    def on_pre_optimizer_step(self, args, state, control, **kwargs) -> None:
        """
        Raises:
            RuntimeError: a gradient is not finite; the optimiser has not used it yet.
        """
        if self.layer is None:
            return
        gradients = [p.grad for p in self.layer.art_canvas.parameters() if p.grad is not None]
        # A loss scaler begins too high on purpose and skips the steps that overflow.
        if not args.fp16 and not all(gradient.isfinite().all() for gradient in gradients):
            raise RunError(
                f"the gradient of the pixels is not finite in step {state.global_step + 1}; the last "
                "snapshot or checkpoint is good. Likely causes: the base overflows in its precision (use "
                "float32 or bfloat16), or the loss is not finite (a reward that is not, rows without a label)"
            )
        self.pushed = self.pushed or any(gradient.any() for gradient in gradients)

    def on_step_end(self, args, state, control, **kwargs) -> None:
        """
        Raises:
            RuntimeError: naming the likely causes, the likeliest first.
        """
        if self.layer is None or state.global_step != self.end:
            return
        if not self.pushed:
            raise RunError(
                f"the pixels had no gradient in {self.steps} steps: {why_no_gradient(state.log_history)}"
            )
        if (self.layer.canvas().to_uint8() == self.first).all():
            raise RunError(
                f"no pixel changed by a grey level in {self.steps} steps. Likely causes: learning_rate is "
                f"too small ({RATES} works); adam_epsilon exceeds the gradients (set 1e-16); "
                "warmup is long; bound or mask leaves nothing to paint"
            )


def why_unchanged(trainer: Any) -> str:
    """Why a training that is over changed no pixel, and what to do."""
    guards = [one for one in trainer.callback_handler.callbacks if isinstance(one, NoOpGuard)]
    if guards and not guards[0].pushed:
        return f"the pixels had no gradient: {why_no_gradient(trainer.state.log_history)}"
    return (
        f"they had a gradient, but a step was too small to show in 8 bits: raise learning_rate ({RATES} works) "
        "or max_steps"
    )


def why_no_gradient(history: Sequence[dict[str, Any]]) -> str:
    """Why pixels had no gradient, as far as a trainer's log tells, and what to do.

    A higher learning rate is no remedy: it multiplies nothing. With rewards TRL logs whether the completions of
    each group were rewarded alike; then every advantage is 0, and so is the gradient.
    """
    rewarded = [entry for entry in history if entry.get("reward") is not None]
    if not rewarded and any("reward" in entry for entry in history):
        return (
            "the reward gave None or NaN for every completion, which leaves all of them out, so nothing is being "
            f"learned. Let it give a number wherever a completion can be judged {_LOOK}. {_WIDER}"
        )
    if not rewarded or any(entry.get("frac_reward_zero_std", 1.0) < 1 for entry in rewarded):
        return (
            "nothing is being learned. Likely causes: max_length or max_completion_length cuts every answer off; "
            "every label is masked; with rewards, all completions of a group were rewarded alike (shape the reward, "
            "sample wider by num_generations and temperature, or paint by sft first and start from that artwork)"
        )
    rewards = {round(entry["reward"], 6) for entry in rewarded}
    one = len(rewards) == 1 and not any(entry.get("reward_std") for entry in rewarded)
    if one and rewards == {0.0}:
        what = (
            "no completion was ever rewarded, so nothing is being learned. Look at what the reward is given"
        )
    elif one:
        what = (
            f"every completion was rewarded alike ({rewards.pop():g}), so nothing is being learned. Look whether "
            "the reward tells good completions from bad ones, and whether there are bad ones"
        )
    else:
        what = (
            "all completions of a group were rewarded alike, so nothing is being learned. Look whether the reward "
            "tells good completions from bad ones, and gives parts of a point"
        )
    cut = sum(entry.get("completions/clipped_ratio", 0.0) for entry in rewarded) / len(rewarded)
    length = f"{cut:.0%} of completions were cut off: raise max_completion_length. " if cut > 0.5 else ""
    return f"{what} {_LOOK}. {length}{_WIDER}"


def _problems(group: dict[str, Any]) -> list[str]:
    """What is wrong with an optimiser's parameter group, each with its remedy."""
    rate = group.get("initial_lr", group["lr"])  # a warm-up starts from 0
    epsilon = group.get("eps")
    problems = []
    if rate < 1e-4:
        problems.append(
            f"learning_rate={rate:g} moves a pixel by {rate * 255:.2g} grey levels a step at most, and rounding to "
            f"8 bits hides that (trainers' defaults are made for weights): {RATES} works"
        )
    # Of Adam and its kin, whose steps are as long as the rate; plain descent takes steps of the tiny gradient.
    if rate > 0.5 and "betas" in group:
        problems.append(
            f"learning_rate={rate:g} moves a pixel by {rate * 255:,.0f} grey levels a step, of the 255 that "
            f"there are, so it jumps between black and white: {RATES} works"
        )
    if group.get("weight_decay"):
        problems.append(
            f"weight_decay={group['weight_decay']:g} fades the picture to black; set weight_decay=0"
        )
    if isinstance(epsilon, float) and epsilon > 2e-10:
        problems.append(
            f"eps={epsilon:g} is larger than most pixel gradients (1e-7 and less) and shrinks their steps; "
            "set adam_epsilon=1e-16"
        )
    return problems


def find_art_layer(model: Any) -> ArtLayer | None:
    """The layer of a model that holds its canvas, None if there is none, or no model."""
    modules = model.modules() if model is not None else ()
    return next((module for module in modules if isinstance(module, ArtLayer)), None)


def art_layer(model: Any) -> ArtLayer:
    """The layer of a model that holds its canvas.

    Raises:
        ValueError: the model has none.
    """
    layer = find_art_layer(model)
    if layer is None:
        raise UserError("this model has no artwork: pass peft_config=ArtConfig(...) to the trainer")
    return layer
