"""A small run as a training verb leaves it, made of arithmetic: nothing is trained."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pixeltune.artwork.artwork import Artwork
from pixeltune.artwork.provenance import Provenance

STEPS = 12


def provenance(**changes: Any) -> Provenance:
    fields = {
        "base_model": "tiny",
        "image_tokens": 4,
        "placement": "before the first user text",
        "processor": {"patch": 16, "merge": 2},
        "objective": "grpo",
        "data": "calls",
        "seed": 1,
        "steps": STEPS,
        "start": "grey",
        "licence": "CC0-1.0",
        "created": "2026-11-01",
    }
    return Provenance(**(fields | changes))


def pixels(step: int) -> np.ndarray:
    """uint8 (64, 64, 3), grey at step 0, further from it with every step."""
    noise = np.random.default_rng(3).normal(size=(64, 64, 3))
    return np.clip(128 + 8 * step * noise, 0, 255).round().astype(np.uint8)


def plain_png(image: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()


def history(last: int = STEPS) -> list[dict]:
    entries = []
    for step in range(1, last + 1):
        if step % 4 == 0:
            entries.append({"step": step, "held_out_score": step / 16, "seconds": 2.0 * step})
        more = {"reward": step / 12, "kl": 0.01 * step, "completions/mean_length": 30.0 - step}
        entries.append({"step": step, "loss": 1 / step, "seconds": 2.0 * step, **more})
    return entries


def sample(name: str, asked: str, said: str, score: float) -> dict:
    prompt = [{"role": "system", "content": "secret"}, {"role": "user", "content": asked}]
    return {"id": name, "prompt": prompt, "completions": [said], "score": score}


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def make_run(folder: Path, **changes: Any) -> Path:
    """A whole run; ``changes`` are of its provenance."""
    Artwork(pixels(STEPS), provenance(**changes)).save(folder / "artwork.png")
    (folder / "snapshots").mkdir()
    for step in range(0, STEPS + 1, 2):
        (folder / "snapshots" / f"step-{step:06d}.png").write_bytes(plain_png(pixels(step)))
    write(folder / "log_history.json", history())
    write(folder / "samples" / "step-000000.json", [sample("0", "Call Emma.", "Good question!", 0.0)])
    write(folder / "samples" / f"step-{STEPS:06d}.json", [sample("0", "Call Emma.", "dial(Emma)", 1.0)])
    return folder


def make_evaluation(folder: Path) -> Path:
    """What ``pixeltune eval --task calls --compare off a.png`` leaves, with ten rows."""

    def candidate(score: float, interval: tuple[float, float]) -> dict:
        tokens = {"prompt_tokens": 70.0, "completion_tokens": 20.0, "latency": 0.1}
        return {"score": score, "n": 10, "ci95": interval, "failed": 0, **tokens}

    test = {"a": "a.png", "b": "off", "n": 10, "difference": 0.9, "p_holm": 0.004, "significant": True}
    part = {
        "rows": 10,
        "candidates": {"off": candidate(0.0, (0.0, 0.28)), "a.png": candidate(0.9, (0.6, 0.98))},
        "tests": [test],
        "verdict": "a.png: 90.0%; +90.0 points against off (significant, p = 0.004).",
    }
    share = {"harmful": 0.5, "harmless": 0.1, "n_harmful": 40, "n_harmless": 20}
    report = {"model": "tiny", "tasks": {"calls": part}, "refusals": {"a.png": share}, "about": "in process."}
    write(folder / "report.json", report)
    for name, said in (("off", "Good question!"), ("a.png", "dial(Emma)")):
        records = [{"row": i, "error": None, **sample(str(i), f"Question {i}", said, 1.0)} for i in range(10)]
        lines = "".join(json.dumps(record) + "\n" for record in records)
        write(folder / "rows" / f"calls-{name}-0123456789ab.jsonl", lines + '{"row": 10, "comple')
    return folder
