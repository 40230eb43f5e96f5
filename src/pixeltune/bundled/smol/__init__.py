"""SmolLM2-135M's language, untouched, in a stock Qwen2.5-VL with a small vision tower of our own.

``docs/design/smol.md`` describes it. Here are the tower, the recipe that trains it, and what puts both together;
these import `model`, `bundled.tiny` and `bundled.snapshot`.
"""

from pathlib import Path

TOWER = Path(__file__).parent / "tower.safetensors"
"""The trained tower, bfloat16; in a checkout only, not in the wheel."""
