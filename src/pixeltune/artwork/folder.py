"""What a run's folder holds: the names of its files, for those who write them and those who read them.

`pixeltune.data.hashes` has two more, of what belongs to rows: `TRAINED` and `HELD_OUT`; `pixeltune.data.contexts` one
of what they stand behind.
"""

from __future__ import annotations

import re
from pathlib import Path

ARTWORK = "artwork.png"
"""The finished picture; in a checkpoint's folder and on the hub too."""

CARD = "README.md"
"""The artwork's, beside it."""

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
"""The adapter as PEFT saves it: from it a training goes on; the PNG alone suffices to serve."""

HISTORY = "log_history.json"
"""The trainer's log of the whole run, once it is finished."""

SCORE = "held_out_score"
"""In its entries: the score of held-out rows, 0 to 1."""

STATE = "trainer_state.json"
"""Of a checkpoint, with the log up to its step under `log_history`."""

SNAPSHOTS = "snapshots"
"""A folder of ``step-000123.png``."""

SAMPLES = "samples"
"""A folder of ``step-000123.json``: what was said to a few held-out rows."""

MAPS = "maps.json"
"""Which squares of the artwork matter, where `pixeltune gallery --maps` found out."""

_CHECKPOINT = re.compile(r"checkpoint-(0|[1-9]\d{0,8})")


def checkpoints(folder: Path) -> dict[int, Path]:
    """What is called ``checkpoint-123`` in a run's folder, by step, the newest last."""
    named = {path: _CHECKPOINT.fullmatch(path.name) for path in folder.glob("checkpoint-*")}
    found = {int(match[1]): path for path, match in named.items() if match}
    return {step: found[step] for step in sorted(found)}
