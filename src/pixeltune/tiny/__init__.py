"""The bundled model: a 3.7 M parameter Qwen3-VL trained from nothing, a test article (``docs/tiny.md``)."""

from pathlib import Path

PATH = Path(__file__).parent / "weights"
