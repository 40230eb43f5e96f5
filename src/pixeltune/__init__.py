"""pixeltune: fine-tune a frozen multimodal model by painting one picture.

The method is ART, Art-based Reinforcement Training (arXiv 2606.11854): the gradient of any training
loss flows through the untouched model into the pixels of one image, the artwork. The finished PNG is
sent with every request to an unmodified engine and works like an adapter.

The names below are imported when they are first used, so that importing the package costs nothing.
"""

import logging
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pixeltune.model.compat.torchvision_cpu import declare_before_import
from pixeltune.version import __version__ as __version__

if TYPE_CHECKING:
    from pixeltune.adapter import ArtConfig
    from pixeltune.artwork.artwork import Artwork
    from pixeltune.data.placement import place_dataset
    from pixeltune.engines.client import with_artwork
    from pixeltune.errors import UserError
    from pixeltune.evaluation.check import check
    from pixeltune.evaluation.evaluate import evaluate
    from pixeltune.evaluation.mixing import mix
    from pixeltune.evaluation.robustness import robustness
    from pixeltune.evaluation.sampling import sample
    from pixeltune.evaluation.sayings import says
    from pixeltune.model.loading import load_model, load_processor
    from pixeltune.model.preprocessing import Preprocessor
    from pixeltune.training.arguments import trainer_config
    from pixeltune.training.paint import paint

__all__ = [
    "ArtConfig",
    "Artwork",
    "Preprocessor",
    "UserError",
    "check",
    "evaluate",
    "load_model",
    "load_processor",
    "mix",
    "paint",
    "place_dataset",
    "robustness",
    "sample",
    "says",
    "trainer_config",
    "with_artwork",
]

_HOMES = {
    "ArtConfig": "pixeltune.adapter",
    "Artwork": "pixeltune.artwork.artwork",
    "Preprocessor": "pixeltune.model.preprocessing",
    "UserError": "pixeltune.errors",
    "check": "pixeltune.evaluation.check",
    "evaluate": "pixeltune.evaluation.evaluate",
    "load_model": "pixeltune.model.loading",
    "load_processor": "pixeltune.model.loading",
    "mix": "pixeltune.evaluation.mixing",
    "paint": "pixeltune.training.paint",
    "place_dataset": "pixeltune.data.placement",
    "robustness": "pixeltune.evaluation.robustness",
    "sample": "pixeltune.evaluation.sampling",
    "says": "pixeltune.evaluation.sayings",
    "trainer_config": "pixeltune.training.arguments",
    "with_artwork": "pixeltune.engines.client",
}

declare_before_import()
# PEFT imports it where it is installed, and on CPUs it asks for a faster 4-bit kernel, needed or not.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
# PEFT 0.21 and TRL 1.16 ask every model by the name that transformers had for it before 5.23.
warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pixeltune' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
