"""ART as a PEFT method: `get_peft_model(model, ArtConfig())`, or `peft_config=ArtConfig()` in a TRL trainer.

Import this package before loading a saved adapter: importing it is what makes PEFT know the method.
"""

from peft.mapping import (
    PEFT_TYPE_TO_CONFIG_MAPPING,
    PEFT_TYPE_TO_PREFIX_MAPPING,
    PEFT_TYPE_TO_TUNER_MAPPING,
)

from pixeltune.adapter.config import ArtConfig
from pixeltune.adapter.guard import watch_every_trainer
from pixeltune.adapter.layer import ArtLayer
from pixeltune.adapter.model import ArtModel
from pixeltune.adapter.processors import use_processor

# peft.utils.register_peft_method accepts only names of PEFT's own PeftType enum, so write its tables.
PEFT_TYPE_TO_CONFIG_MAPPING["ART"] = ArtConfig
PEFT_TYPE_TO_TUNER_MAPPING["ART"] = ArtModel
PEFT_TYPE_TO_PREFIX_MAPPING["ART"] = ArtModel.prefix

watch_every_trainer()

__all__ = ["ArtConfig", "ArtLayer", "ArtModel", "use_processor"]
