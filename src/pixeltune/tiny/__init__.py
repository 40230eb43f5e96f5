"""The bundled model: 3.7 M parameters of Qwen3-VL raised from nothing, a test article.

``docs/design/tiny.md`` describes it.
"""

from pathlib import Path

PATH = Path(__file__).parent / "weights"
