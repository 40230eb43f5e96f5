"""The bundled model: 3.7 M parameters of Qwen3-VL raised from nothing, a test article.

``docs/design/tiny.md`` describes it. Here are its weights, the recipe that made them, and the demo; these may
import every room but `serve`, `gallery` and `cli`, and no room imports them.
"""

from pathlib import Path

PATH = Path(__file__).parent / "weights"
