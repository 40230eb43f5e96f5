"""One SFT painting on the bundled model, as `beauty.py` and `parametrisations.py` make them."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import transformers
from PIL import Image

from benchmarks.common.words import settings
from pixeltune.artwork.artwork import Artwork
from pixeltune.artwork.png import decode_png
from pixeltune.evaluation.in_process import InProcess, wearing
from pixeltune.evaluation.scoring import score_rows
from pixeltune.model.loading import load_model, load_processor, weights_sha256
from pixeltune.tasks.base import find_task
from pixeltune.training.paint import paint

STEPS, BATCH, RATE = 40, 16, 0.02
STAGES = (5, 10, 20)  # steps after which the picture is looked at as well
TEST = 200


def begin(out: Path, quick: bool) -> tuple[Path, int]:
    """Where results go, and how many test rows there are; a quick run has two steps and a file aside."""
    global STEPS, STAGES
    quiet()
    if not quick:
        return out, TEST
    STEPS, STAGES = 2, ()
    return Path(tempfile.gettempdir(), f"pixeltune-{out.stem}", out.name), 4


def amounts(rows: int) -> dict[str, Any]:
    """What every cell depends on, as settings of `cells.once`."""
    return {"base": base_hash(), "rows": rows, "steps": STEPS, "batch": BATCH, "rate": RATE}


def painting(task: str, seed: int, *flags: str) -> tuple[Artwork, dict[int, np.ndarray]]:
    """Paint, and keep what there was on the way.

    Args:
        task: of ours.
        seed: of the order of rows and whatever is random in the canvas.
        flags: of `pixeltune sft`, on top of the usual ones.

    Returns:
        The artwork; pictures `(H, W, 3)` uint8 by step.
    """
    usual = (
        f"--task {task} --seed {seed} --max_steps {STEPS} --per_device_train_batch_size {BATCH} "
        f"--train_rows 1000 --learning_rate {RATE} --held_out_rows 0 --save_strategy no "
        "--snapshot_steps 5 --report_to none"
    )
    with tempfile.TemporaryDirectory() as folder:
        given = settings(" ".join([usual, "--output_dir", folder, *flags]))
        artwork = paint("sft", quiet=True, **given).artwork
        files = {step: Path(folder, f"snapshots/step-{step:06d}.png") for step in (0, *STAGES)}
        pictures = {step: decode_png(file.read_bytes())[0] for step, file in files.items()}
    return artwork, pictures


def right(task: str, pixels: np.ndarray, n: int, seed: int, base: Any = None) -> str:
    """A 1 or 0 for each of `n` test rows, answered by the model (or `base`) that sees the picture."""
    with wearing(base or model(), processor(), Image.fromarray(pixels)) as backend:
        return marks(task, find_task(task).rows("test", n, seed), backend)


def marks(task: str, rows: list[dict], backend: InProcess, words: str = "") -> str:
    """A 1 or 0 for each row of a task, answered by `backend`, which is told `words`."""
    records = score_rows(find_task(task), rows, backend, words).records
    return "".join(f"{record['score']:.0f}" for record in records)


@cache
def model() -> Any:
    return load_model("tiny")


@cache
def processor() -> Any:
    return load_processor("tiny")


@cache
def base_hash() -> str:
    return weights_sha256(model())


def quiet() -> None:
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
