"""Where backends for candidates come from: one running engine, or models loaded into this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Literal, Protocol

from pixeltune.errors import UserError, first_line
from pixeltune.evaluation.backends import Backend, OnEngine
from pixeltune.evaluation.candidates import Candidate
from pixeltune.evaluation.doubts import doubt, other_model
from pixeltune.evaluation.in_process import InProcess, wearing
from pixeltune.evaluation.plans import Plan, check_plans


class Provider(Protocol):
    """Gives a candidate somebody who answers."""

    def of(self, one: Candidate) -> AbstractContextManager[Backend]:
        """A backend for as long as the context lasts."""
        ...


class EngineProvider:
    """Candidates on a running engine.

    Args:
        connect: makes a connection to it for the name of a model, None for its only one.
        default: the model's name there, None for the only one.
        concurrency: requests at a time.

    Raises:
        EngineError: nobody answers, or the model is not served.
    """

    def __init__(self, connect: Callable[..., Any], default: str | None, concurrency: int):
        self.connect, self.concurrency = connect, concurrency
        self.default = connect(model=default)

    def of(self, one: Candidate) -> AbstractContextManager[Backend]:
        engine = self.connect(model=one.source) if one.kind == "model" else self.default
        return nullcontext(OnEngine(engine, one.data_url(), self.concurrency))


class ModelProvider:
    """Candidates in this process; the base model is loaded once, and once more for every adapter.

    Args:
        load: loads the base model.
        name: of the base model, for messages.
        processor: its processor.
        batch_size: rows at a time.
        quiet: no bars, those of downloads neither.
    """

    def __init__(
        self, load: Callable[[], Any], name: str, processor: Any, batch_size: int, quiet: bool = False
    ):
        self.load, self.name, self.processor, self.batch_size = load, name, processor, batch_size
        self.quiet, self.base = quiet, None
        self.weights: str | None = None

    def of(self, one: Candidate) -> AbstractContextManager[Backend]:
        if one.kind == "adapter":
            return nullcontext(InProcess(self._adapted(one.source), self.processor, chunk=self.batch_size))
        self.base = self.base or self._loaded()
        if said := other_model(one, self.name, self._weights(one), self.processor):
            doubt(said)
        if one.picture is not None:
            return wearing(self.base, self.processor, one.picture, self.batch_size)
        return nullcontext(InProcess(self.base, self.processor, chunk=self.batch_size))

    def seeing(self, one: Candidate) -> InProcess:
        """The stock model that is shown a candidate's picture, if it has one."""
        self.base = self.base or self._loaded()
        return InProcess(self.base, self.processor, one.picture, self.batch_size)

    def _weights(self, one: Candidate) -> str | None:
        """The hash of the base's weights, taken once, for an artwork that can be compared with it."""
        from pixeltune.evaluation.bases import is_as_painted
        from pixeltune.model.loading import weights_sha256

        if one.artwork is None or not is_as_painted(one.artwork.provenance, self.base):
            return None
        self.weights = self.weights or weights_sha256(self.base)
        return self.weights

    def _loaded(self) -> Any:
        from pixeltune.model.compat.bars import without_bars

        with without_bars(downloads=self.quiet):
            return self.load()

    def _adapted(self, folder: str) -> Any:
        """
        Raises:
            UserError: the adapter's weights are not for this model.
        """
        from peft import PeftModel

        from pixeltune.adapter import use_processor

        base = self._loaded()
        use_processor(base, self.processor)
        try:
            return PeftModel.from_pretrained(base, folder).eval()
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise UserError(f"{folder} does not fit {self.name}: {first_line(error)}") from error


def on_engine(
    url: str, model: str | None, api_key: str | None, tool_choice: str | None, concurrency: int
) -> EngineProvider:
    """An engine, as `pixeltune.evaluate` is told of it.

    Raises:
        EngineError: nobody answers, or the model is not served.
    """
    from pixeltune.engines.engine import Engine

    connect = partial(Engine, url, api_key=api_key, tool_choice=tool_choice)
    return EngineProvider(connect, model, concurrency)


def in_this_process(
    plans: Sequence[Plan],
    field: Sequence[Candidate],
    model: str,
    revision: str | None,
    dtype: str | None,
    bits: Literal[4, 8] | None,
    device_map: str | None,
    batch_size: int,
    quiet: bool,
) -> ModelProvider:
    """A model, as `pixeltune.evaluate` is told of it, after a look at what it is to be asked; not loaded yet.

    Raises:
        UserError: its processor cannot be loaded, or see `check_plans`.
    """
    from pixeltune.model.loading import load_model, load_processor

    processor = load_processor(model, revision)
    check_plans(plans, field, processor, model, revision)
    load = partial(load_model, model, revision, dtype or "auto", bits, device_map)
    return ModelProvider(load, model, processor, batch_size, quiet)
