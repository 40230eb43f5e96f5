"""The bundled model: 3.7 M parameters of Qwen3-VL raised from nothing, a test article.

``docs/design/tiny.md`` describes it. Here are its weights, the recipe that made them, and the demo; these
import `picture`, `artwork`, `tasks`, `model`, `evaluation`, `training` and `bundled.snapshot`.
"""

from pathlib import Path

PATH = Path(__file__).parent / "weights"
