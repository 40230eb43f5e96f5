"""ART as a PEFT method: `get_peft_model(model, ArtConfig())`, or `peft_config=ArtConfig()` in a TRL trainer.

Import this package before loading a saved adapter: importing it is what makes PEFT know the method. It
imports torch, transformers and PEFT, and the rooms `picture` and `model`.
"""

from pixeltune.model.compat.versions import check_versions

check_versions()  # before what others would break is imported

from pixeltune.adapter.compat import register_method
from pixeltune.adapter.config import ArtConfig
from pixeltune.adapter.guard import NoOpGuard, PixelOptimizerCheck
from pixeltune.adapter.layer import ArtLayer
from pixeltune.adapter.model import ArtModel
from pixeltune.adapter.processors import use_processor
from pixeltune.adapter.sharding import WholeCanvas
from pixeltune.model.compat.transformers_insides import watch_every_trainer

register_method("ART", ArtConfig, ArtModel)
watch_every_trainer([WholeCanvas, PixelOptimizerCheck, NoOpGuard])

__all__ = ["ArtConfig", "ArtLayer", "ArtModel", "use_processor"]
