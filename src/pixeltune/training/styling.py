"""A style in training: its gradient joins that of the trainer's loss, in every trainer alike."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback

from pixeltune.adapter.guard import art_layer
from pixeltune.data.placement import place
from pixeltune.model.families import encode_pictures, vision_tower
from pixeltune.model.preprocessing import Preprocessor
from pixeltune.picture.canvas import start_picture
from pixeltune.picture.style import Term
from pixeltune.training.callbacks import log_beside
from pixeltune.training.scores import SCORE
from pixeltune.training.settings import check_weight

HASTE = 20.0  # change of the weight's logarithm for a score of 1.0 too high


class LiveView:
    """The artwork that a model wears, as style terms look at it (`pixeltune.picture.style.View`)."""

    def __init__(self, model: Any, processor: Any) -> None:
        """
        Args:
            model: a `PeftModel` with an artwork.
            processor: of the base model.
        """
        self.model, self.processor, self.preprocessor = model, processor, Preprocessor(processor)
        self.layer = art_layer(model)
        self.backbone, _ = vision_tower(model.get_base_model())
        self._references: dict[str, list[Tensor]] = {}
        self.renew()

    def renew(self) -> None:
        """Look at the picture as it is now, without what `robust` does to the one that is trained on."""
        canvas = self.layer.canvas()
        canvas.project()
        self.image, self.start = canvas(), canvas.start_image()

    def features(self, picture: Tensor) -> list[Tensor]:
        seen = encode_pictures(self.backbone, **self.preprocessor.pixel_values(picture))
        deep = getattr(seen, "deepstack_features", None) or ()
        return [tokens[0].float() for tokens in (seen.pooler_output, *deep)]

    def reference_features(self, name: str) -> list[Tensor]:
        if name not in self._references:
            height, width = self.start.shape[1:]
            picture = self.start if name == "start" else start_picture(name, height, width, fit="stretch")
            with torch.no_grad():
                self._references[name] = self.features(picture.to(self.start.device))
        return self._references[name]

    def caption_loss(self, caption: str, prompt: str) -> Tensor:
        messages = place([{"role": "user", "content": prompt}], self.model.art_block)
        text = self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        tokenizer = self.processor.tokenizer
        asked, said = (
            tokenizer(part, add_special_tokens=False)["input_ids"]
            for part in (text, caption + tokenizer.eos_token)
        )
        ids = torch.tensor([asked + said], device=self.start.device)
        training = self.layer.training
        self.layer.eval()  # which shows the clean picture, whatever `robust` says
        out = self.model(input_ids=ids, attention_mask=torch.ones_like(ids), logits_to_keep=len(said) + 1)
        self.layer.train(training)
        return torch.nn.functional.cross_entropy(out.logits[0, :-1].float(), ids[0, -len(said) :])


class Styling(TrainerCallback):
    """Add the gradient of a style before each optimiser step.

    It comes once per step, after all batches of the step, so it does not depend on how a step is cut into
    batches or processes. The trainer's clipping of gradients has been done by then.

    With a floor the weight is that of a constraint, "the most style with at least this held-out score": after
    each score it is multiplied by exp(HASTE (score - floor)), at most by 4 either way: dual ascent on the
    multiplier of the score, whose inverse the weight is.
    """

    def __init__(
        self,
        style: Term,
        view: LiveView,
        log: Callable[[dict[str, float]], None],
        schedule: str = "constant",
        floor: float | None = None,
    ) -> None:
        """
        Args:
            style: what is wanted.
            view: of the model that is trained.
            log: takes values by name; those of the style are logged with the trainer's own.
            schedule: the weight over the training: "constant", "rise" from 0, or "fade" to 0.
            floor: the held-out score to keep, in [0, 1].

        Raises:
            ValueError: no such schedule, a floor outside [0, 1], or one beside a schedule.
        """
        check_weight(schedule, floor)
        self.style, self.view, self.log = style, view, log
        self.schedule, self.floor, self.weight = schedule, floor, 1.0
        self.value, self.score = math.nan, math.inf

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self.weight = 1.0
        for entry in state.log_history:  # of the part before a resumption
            if entry.get("step") != 0:
                self._weigh(entry)

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        if state.global_step > 0:  # the start picture's score is nobody's fault
            self._weigh(logs or {})

    def _weigh(self, logs: dict[str, Any]) -> None:
        if self.floor is not None and SCORE in logs:
            self.score = logs[SCORE]
            self.weight *= min(max(math.exp(HASTE * (self.score - self.floor)), 0.25), 4.0)

    def on_train_end(self, args, state, control, **kwargs) -> None:
        if self.floor is not None and self.score < self.floor:
            warnings.warn(
                f"the last held-out score, {self.score:.3f}, is below the style floor of {self.floor}: train "
                "longer, look more often (--score_steps), or begin with smaller weights",
                stacklevel=2,
            )

    def on_pre_optimizer_step(self, args, state, control, **kwargs) -> None:
        progress = state.global_step / max(1, state.max_steps)
        weight = self.weight * {"constant": 1.0, "rise": progress, "fade": 1 - progress}[self.schedule]
        with torch.enable_grad():
            self.view.renew()
            value = self.style(self.view)
            (weight * value).backward()
        self.value, self.used = value.item(), weight

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if state.logging_steps and state.global_step % state.logging_steps == 0:
            log_beside(self.log, control, {"style": self.value, "style_weight": self.used})
