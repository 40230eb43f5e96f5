"""Which processor the pictures of a model go through: the one that was handed over, else the model's own."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from pixeltune.adapter.config import ArtConfig
from pixeltune.errors import UserError
from pixeltune.model.finding import find_model
from pixeltune.model.preprocessing import Preprocessor

_HANDED: WeakKeyDictionary[nn.Module, Preprocessor] = WeakKeyDictionary()


def use_processor(model: nn.Module, processor: Any) -> Preprocessor:
    """Let adapters of a model use this processor, which is loaded already, and load none of their own.

        model = AutoModelForImageTextToText.from_pretrained(name, revision=commit)
        use_processor(model, AutoProcessor.from_pretrained(name, revision=commit))
        model = get_peft_model(model, ArtConfig(revision=commit))  # or peft_config= of a trainer

    A config that names a processor itself (`ArtConfig(processor=...)`) goes before. Without this the one of
    `ArtConfig(revision=...)` is loaded: a model does not know which revision of its repository it is.

    Args:
        model: the base model, before or after it gets an adapter (then `model.get_base_model()`).
        processor: of transformers, the model's own; or a `Preprocessor`.

    Returns:
        The processor's view of a picture.

    Raises:
        ValueError: the processor is of a family that is not supported.
    """
    _HANDED[model] = processor if isinstance(processor, Preprocessor) else Preprocessor(processor)
    return _HANDED[model]


class Processors:
    """The processors of one model's adapters, each loaded once per name and revision."""

    def __init__(self) -> None:
        self.loaded: dict[tuple[str, str | None], Preprocessor] = {}

    def of(self, model: nn.Module, config: ArtConfig) -> Preprocessor:
        """The processor's view for one adapter of a model.

        Raises:
            ValueError: none was handed over, and none can be loaded.
        """
        if config.processor is None and model in _HANDED:
            return _HANDED[model]
        name = config.processor or model.name_or_path or config.base_model_name_or_path
        # A revision is one of the config's own base, not of a mirror or a copy of it.
        theirs = config.processor is None and config.base_model_name_or_path in (None, name)
        revision = config.revision if theirs else None
        if (name, revision) not in self.loaded:
            self.loaded[name, revision] = _load(name, revision)
        return self.loaded[name, revision]


def _load(name: str | None, revision: str | None) -> Preprocessor:
    from transformers import AutoProcessor

    if not name:
        raise UserError(
            "this model does not know where it was loaded from: hand its processor over "
            "(pixeltune.adapter.use_processor), or set ArtConfig(processor=...) to its path or hub name"
        )
    try:
        options = find_model(name, revision) | ({"revision": revision} if revision else {})
        processor = AutoProcessor.from_pretrained(name, **options)
    except Exception as error:
        raise UserError(
            f"cannot load the processor of {name!r} ({error}). Set ArtConfig(processor=...) to the path "
            "or hub name of the model's processor"
        ) from error
    return Preprocessor(processor)
