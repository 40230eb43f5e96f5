"""What engines are asked (`engines.py`), and what transformers answers to it in this process."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from benchmarks.common.engine_environments import ROOT
from pixeltune.artwork.artwork import Artwork
from pixeltune.data.placement import place_image
from pixeltune.evaluation.agreement import Greedy, greedy
from pixeltune.model.loading import load_model, load_processor
from pixeltune.tasks.synthetic import calls, sums

TASKS = (calls.TASK, sums.TASK)
ROWS, SEED, MAX_TOKENS = 30, 11, 96


@cache
def here() -> tuple[Any, Any]:
    """The model and the processor in this process: transformers, float32."""
    return load_model("tiny"), load_processor("tiny")


@cache
def artworks() -> dict[str, Artwork]:
    return {task.name: Artwork.load(ROOT / "docs" / "images" / f"{task.name}.png") for task in TASKS}


@cache
def requests() -> list[dict]:
    """Prompts with the artwork (`picture` is its path) and without (null)."""
    found = []
    for task in TASKS:
        for row in task.rows("test", ROWS, seed=SEED):
            for picture in (str(ROOT / "docs" / "images" / f"{task.name}.png"), None):
                content = row["prompt"]
                tools = json.loads(row["tools"]) if "tools" in row else None
                found.append(
                    {"task": task.name, "row": row, "messages": content, "tools": tools, "picture": picture}
                )
    return found


def given(request: dict) -> tuple:
    """A request as `greedy` and `compare` take it."""
    if request["picture"] is None:
        return *here(), None, request["messages"], request["tools"]
    art = artworks()[request["task"]]
    return *here(), art.image, place_image(request["messages"], art.data_url()), request["tools"]


@cache
def references() -> list[Greedy]:
    """What transformers answers, in float32, in this process."""
    return [greedy(*given(request), MAX_TOKENS) for request in requests()]
