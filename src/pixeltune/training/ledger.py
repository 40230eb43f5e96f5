"""What a run takes, written into its log: tokens, picture encodings, operations, seconds by part."""

from __future__ import annotations

import copy
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from pixeltune.artwork.ledger import LEDGER, PARTS, TRAINING
from pixeltune.training.compat.trainer_insides import count_operations, wrap_loss, wrap_training_step
from pixeltune.training.compat.trl_insides import wrap_generation
from pixeltune.training.flops import ATTENTION, FlopCounter
from pixeltune.training.kept import Kept

REST = PARTS[-1]
"""The part of a run that is none of the others: the optimiser, saving, snapshots."""

TOKENS = tuple(f"{of}{name}_tokens" for of in ("", "rollout_") for name in ("prompt", "completion"))


class Ledger(TrainerCallback, ExportableState):
    """Keeps a run's books; its last entry in the log history gets them as `LEDGER`.

    The parts of a run are `steps` (forward and backward passes, rewards), `rollouts` (completions that are learned
    from), `scores` (of held-out rows) and `REST`. In checkpoints stands what there was when their step ended, so a
    resumed run has the numbers of an unbroken one, but for seconds. Several processes keep a ledger each, and the
    first one's is logged; `total_flos` is the trainer's sum over them.
    """

    def __init__(self, trainers: Sequence[Any], teacher: Any = None) -> None:
        """
        Args:
            trainers: of one run, the one with the optimiser first; nothing else is wrapped around their steps yet but
                the steps of the others.
            teacher: a model beside theirs that teaches; None: there is none.
        """
        self.counter, self.tokens = FlopCounter(), Counter[str]()
        self.seconds: Counter[str] = Counter()
        self.counter.part, self._since, self._told = REST, time.monotonic(), 0
        self.not_counted = _not_counted(trainers)
        self.kept = [Kept(one.model, self.counter) for one in trainers]
        for one in trainers:
            self.counter.watch(one.model)
            wrap_loss(one, self._learned)
            if hasattr(one, "_generate"):
                wrap_generation(one, self._generated)
        if teacher is not None:
            self.counter.watch(teacher)
        wrap_training_step(trainers[0], self._stepped)
        count_operations(trainers[0], self._new_operations)
        self._settle()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Within this what happens belongs to a part of the run, and not to the one around it."""
        self._credit()
        around, self.counter.part = self.counter.part, name
        try:
            yield
        finally:
            self._credit()
            self.counter.part = around

    def as_dict(self) -> dict[str, Any]:
        """All there is so far, as JSON."""
        self._credit()
        counter = self.counter
        return {
            **{name: self.tokens[name] for name in TOKENS if name in self.tokens},
            "picture_encodings": sum(counter.pictures.values()),
            "forward_flops": _by_part(counter.forward),
            "backward_flops": _by_part(counter.backward),
            "seconds": {name: round(value, 3) for name, value in _by_part(self.seconds).items()},
            "not_counted": self.not_counted,
        }

    def release(self) -> None:
        """Leave the models alone again; also after a training that ended in an error."""
        self.counter.release()

    # What the trainer calls.

    def state(self) -> dict:
        """What a checkpoint holds."""
        return {"args": {}, "attributes": {"books": self._settled}}

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        held = state.stateful_callbacks.get(type(self).__name__)
        if state.global_step and held:
            books = held["attributes"]["books"]
            for name, counts in self._books().items():
                counts.clear()
                counts.update(books[name])
            self._told = self._operations()
            for one, keys in zip(self.kept, books["kept"], strict=True):
                one.resume(keys)
        self._since = time.monotonic()
        self._settle()

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self._settle()

    def on_log(self, args, state, control, **kwargs) -> None:
        if "total_flos" in state.log_history[-1]:  # the summary at the end
            state.log_history[-1][LEDGER] = self.as_dict()

    def _settle(self) -> None:
        """Take what there is for a checkpoint: one that is saved in mid-step goes on at the step's beginning."""
        self._credit()
        books: dict[str, Any] = {name: dict(counts) for name, counts in self._books().items()}
        self._settled = copy.deepcopy(books) | {"kept": [one.keys() for one in self.kept]}

    def _books(self) -> dict[str, Counter[str]]:
        counter = self.counter
        return {
            "tokens": self.tokens,
            "forward": counter.forward,
            "backward": counter.backward,
            "pictures": counter.pictures,
            "seconds": self.seconds,
        }

    def _credit(self) -> None:
        """The time since this was last called goes to the part that goes on."""
        now = time.monotonic()
        self.seconds[self.counter.part] += now - self._since
        self._since = now

    def _operations(self) -> int:
        return sum(self.counter.forward[name] + self.counter.backward[name] for name in TRAINING)

    def _new_operations(self) -> int:
        """Those of training that the trainer was not told of yet."""
        told, self._told = self._told, self._operations()
        return self._told - told

    # What is wrapped around the trainers' methods.

    def _stepped(self, step: Callable, model: Any, inputs: Any, num_items_in_batch: Any) -> Any:
        with self.part("steps"):
            return step(model, inputs, num_items_in_batch)

    def _generated(self, generate: Callable, prompts: list) -> tuple:
        with self.part("rollouts"):
            out = generate(prompts)
        self.tokens["rollout_prompt_tokens"] += sum(map(len, out[0]))
        self.tokens["rollout_completion_tokens"] += sum(map(len, out[1]))
        return out

    def _learned(
        self, loss: Callable, model: Any, inputs: Mapping[str, Any], *given: Any, **named: Any
    ) -> Any:
        """Count the tokens of a batch: completions are what a loss is made of, prompts whatever else is no padding."""
        if model.training:
            self._count(inputs)
        return loss(model, inputs, *given, **named)

    def _count(self, inputs: Mapping[str, Any]) -> None:
        if "labels" in inputs:
            completion = int((inputs["labels"][:, 1:] != -100).sum())
        else:
            completion = int(inputs["completion_mask"].sum())
        asked = "prompt_mask" in inputs
        prompt = int(inputs["prompt_mask" if asked else "attention_mask"].sum()) - (
            0 if asked else completion
        )
        self.tokens["prompt_tokens"] += prompt
        self.tokens["completion_tokens"] += completion


def _by_part(counts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: counts[name] for name in PARTS if name in counts}


def _not_counted(trainers: Sequence[Any]) -> list[str]:
    """What takes operations that are not among those of the ledger."""
    out = []
    if any(getattr(one, "use_vllm", False) or getattr(one.args, "use_vllm", False) for one in trainers):
        out.append("rollouts, which an engine computes")
    configs = [trainers[0].model.config, trainers[0].model.config.get_text_config()]
    if "linear_attention" in (getattr(configs[1], "layer_types", None) or ()):
        out.append("recurrences of linear attention")
    if other := sorted({str(one._attn_implementation) for one in configs} - {ATTENTION}):
        out.append(f"attention by {', '.join(other)}")
    if getattr(trainers[0].args, "use_liger_kernel", False):
        out.append("Liger's heads")
    return out
