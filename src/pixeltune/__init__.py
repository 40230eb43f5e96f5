"""pixeltune: fine-tune a frozen multimodal model by painting one picture.

The method is ART, Art-based Reinforcement Training (arXiv 2606.11854): the gradient of any training
loss flows through the untouched model into the pixels of one image, the artwork. The finished PNG is
sent with every request to an unmodified engine and works like an adapter.
"""

from pixeltune.model.compat.torchvision_cpu import declare_before_import

__version__ = "0.1.0"

declare_before_import()
