"""One row as it would be trained on, without loading the model."""

from __future__ import annotations

from typing import Any

from pixeltune.data.preview import Preview
from pixeltune.data.preview import preview as preview_row
from pixeltune.training.arguments import read_settings
from pixeltune.training.paint import Painting
from pixeltune.training.rows import place_rows


def preview(objective: str = "sft", **settings: Any) -> Preview:
    """The first row as `paint` with these settings would train on it: rendered, counted in tokens.

    Of a task's rows for dpo and kto, which are made of the model's own answers, the good side is shown.

    Raises:
        UserError: whatever `paint` refuses before the model loads.
    """
    painting = Painting(objective, *read_settings(objective, settings), quiet=True)
    painting.prepare()
    ready, art = painting.ready, painting.art
    (placed, *_), _ = place_rows(ready, art, painting.block, painting.processor)
    heading = f"One of {len(ready.train_rows)} rows, as {objective} trains on it:"
    return preview_row(placed, painting.processor, painting.block, art.image_tokens, heading)
