"""One training with any trainer of the installed TRL, on the bundled model and the task calls, from grey."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import pkgutil
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from pixeltune.adapter import ArtConfig
from pixeltune.adapter.guard import NoOpGuard
from pixeltune.bundled.tiny import PATH as TINY
from pixeltune.data.placement import place_row
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.scoring import score_rows
from pixeltune.model.loading import load_model, load_processor, weights_sha256
from pixeltune.model.preprocessing import Preprocessor
from pixeltune.picture.canvas import Canvas, start_picture
from pixeltune.tasks.synthetic import calls
from pixeltune.training.objectives import OBJECTIVES, contrast, rendered

ROOT = Path(__file__).parents[2]
TEACHER = ROOT / "docs/images/calls.png"  # the finished artwork that teachers wear
SEED, TRAIN_ROWS, HELD_OUT = 42, 160, 60

COMMON = {  # where a config class has the field; TRL's own defaults otherwise
    "learning_rate": 0.06,
    "lr_scheduler_type": "cosine",
    "adam_epsilon": 1e-16,
    "weight_decay": 0.0,
    "max_steps": 12,
    "per_device_train_batch_size": 8,
    "max_length": 1024,
    "max_prompt_length": None,
    "max_completion_length": 48,
    "max_new_tokens": 48,
    "bf16": False,
    "gradient_checkpointing": False,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "seed": SEED,
}
GROUPS = {"max_steps": 8, "per_device_train_batch_size": 32, "num_generations": 8}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a trainer is tried.

    `rows` names what it reads (see `rows_for`), `needs` what it takes beside that: "reward" or a "teacher",
    which is the same frozen model wearing the finished artwork of the README. `model` is how it gets the
    model: as an object with `peft_config`, already "wrapped" in PEFT where it has no `peft_config`, or by its
    "name". `why` says in one line what the outcome means, written by hand.
    """

    rows: str
    needs: tuple[str, ...] = ()
    settings: dict = dataclasses.field(default_factory=dict)
    model: Literal["object", "wrapped", "name"] = "object"
    why: str = ""


SERVER = "http://localhost:8001"  # TRL's own default for a teacher
RECIPES = {
    "SFTTrainer": Recipe("completions", why="the verb `sft`"),
    "DPOTrainer": Recipe("pairs", why="the verb `dpo`"),
    "KTOTrainer": Recipe("labels", why="the verb `kto`"),
    "GRPOTrainer": Recipe("prompts", ("reward",), GROUPS, why="the verb `grpo`"),
    "RLOOTrainer": Recipe("prompts", ("reward",), GROUPS, why="the verb `rloo`"),
    "DistillationTrainer": Recipe("prompts", ("teacher",), why="on the student's completions"),
    "RewardTrainer": Recipe(
        "pairs",
        model="name",
        why="it trains a scalar head, which is weights, and transformers has no such class for Qwen3-VL",
    ),
    "a2po.A2POTrainer": Recipe(
        "prompts",
        ("reward",),
        model="wrapped",
        why="it has no `peft_config`: give it `get_peft_model(model, ArtConfig(...))`, and a tokenizer that "
        "pads on the left; it copies the model",
    ),
    "async_distillation.AsyncDistillationTrainer": Recipe(
        "prompts",
        model="name",
        why="it loads the model itself, with `AutoModelForCausalLM`, which knows no multimodal model",
    ),
    "async_grpo.AsyncGRPOTrainer": Recipe(
        "prompts",
        ("reward",),
        model="name",
        why="it wants a GPU when it is made; by its code, not tried: it joins rows, which the adapter "
        "refuses, and syncs weights with an engine that is sent no picture",
    ),
    "bema_for_ref_model.DPOTrainer": Recipe(
        "pairs", why="like `dpo`; its `BEMACallback` fails with PEFT models (`TypeError`)"
    ),
    "cpo.CPOTrainer": Recipe("text pairs", why="preferences without a reference policy"),
    "distillation.DistillationTrainer": Recipe(
        "prompts", ("teacher",), why="deprecated name of the stable one"
    ),
    "gkd.GKDTrainer": Recipe(
        "conversations", ("teacher",), why="half on the student's completions, as is its default"
    ),
    "gmpo.GMPOTrainer": Recipe("prompts", ("reward",), GROUPS, why="GRPO with geometric means"),
    "gold.GOLDTrainer": Recipe("completions", ("teacher",), why="its loss across tokenizers was not tried"),
    "iw_opd.IWOPDTrainer": Recipe(
        "conversations", ("teacher",), why="local teacher; a teacher's server would get no picture"
    ),
    "kto.KTOTrainer": Recipe("labels", why="deprecated name of the stable one"),
    "online_dpo.OnlineDPOTrainer": Recipe(
        "prompts", ("reward",), {"per_device_train_batch_size": 16}, why="two completions per prompt"
    ),
    "orpo.ORPOTrainer": Recipe("text pairs", why="preferences without a reference policy"),
    "sdft.SDFTTrainer": Recipe("told", why="on the student's completions; the verb `distill` builds on it"),
    "sdpo.SDPOTrainer": Recipe(
        "spelled prompts",
        ("reward",),
        GROUPS | {"teacher_model_kind": "live"},
        why='with `teacher_model_kind="live"` ("ema", the default, is for LoRA); the teacher is the model '
        "shown a right answer of its own, of which the bundled one perhaps makes no use",
    ),
    "server_distillation.ServerDistillationTrainer": Recipe(
        "prompts",
        settings={"teacher_model_server_url": SERVER},
        why="its vLLM client is not installed here; by its code, not tried: that teacher gets no picture",
    ),
    "tpo.TPOTrainer": Recipe("triples", why="preferences and a reference completion"),
}


def find_trainers() -> dict[str, type]:
    """Every public class `...Trainer` of TRL by name; experimental ones as `package.Class`."""
    import trl.experimental
    import trl.trainer

    def modules(package: Any) -> Iterator[Any]:
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            try:
                yield importlib.import_module(found.name)
            except ImportError as error:  # an optional dependency; a trainer must not hide behind it
                if found.name.endswith("_trainer"):
                    raise RuntimeError(f"{found.name} cannot be looked into: {error}") from error

    out = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for package in (trl.trainer, trl.experimental):
            for module in modules(package):
                for name, kind in vars(module).items():
                    own = inspect.isclass(kind) and kind.__module__ == module.__name__
                    if own and name.endswith("Trainer") and not name.startswith("_"):
                        stable = package is trl.trainer
                        out[name if stable else f"{module.__name__.split('.')[2]}.{name}"] = kind
    return out


def rows_for(kind: str, habits: dict, block: str, processor: Any) -> list:
    """Training rows with the artwork placed as text.

    Args:
        kind: what they hold. TRL drops `tools` in "text pairs", "conversations" and "spelled prompts", which
            therefore carry them as text.
        habits: from `find_habits`.
    """
    rows = calls.rows("train", TRAIN_ROWS, SEED)
    if kind in ("pairs", "triples", "text pairs", "labels"):
        objective = OBJECTIVES["kto" if kind == "labels" else "dpo"]
        rows = contrast(rows, habits["said"], habits["scores"], objective, SEED)
    placed = [place_row(row, block) for row in rows]
    if kind in ("completions", "pairs", "labels"):
        return placed
    if kind == "triples":
        return [{**row, "reference": row["chosen"]} for row in placed]
    if kind in ("prompts", "text pairs"):
        texts = rendered(placed, processor)
        for row, text in zip(placed, texts, strict=True):
            text.update({name: row[name][0]["content"] for name in ("chosen", "rejected") if name in row})
        return texts
    spelled = [[_tools_in_words(row, processor), *row["prompt"]] for row in placed]
    if kind == "conversations":
        return [{"messages": told + row["completion"]} for told, row in zip(spelled, placed, strict=True)]
    if kind == "spelled prompts":
        return [{"prompt": told, "call": row["call"]} for told, row in zip(spelled, placed, strict=True)]
    if kind == "told":
        return [{"prompt": told, "privileged_context": calls.TASK.instruction} for told in spelled]
    raise ValueError(f"no rows of the kind {kind!r}")


def _tools_in_words(row: dict, processor: Any) -> dict:
    """The system message that the template makes of a row's tools."""
    text = processor.apply_chat_template(row["prompt"], tools=json.loads(row["tools"]), tokenize=False)
    return {"role": "system", "content": text.split("<|im_start|>system\n")[1].split("<|im_end|>")[0]}


def config_for(trainer: type, recipe: Recipe, folder: str) -> Any:
    """The trainer's config object: `COMMON` as far as it has those fields, then the recipe's settings."""
    package = importlib.import_module(trainer.__module__.rpartition(".")[0])
    name = trainer.__name__.replace("Trainer", "Config")
    config = getattr(package, name, None) or getattr(importlib.import_module("trl"), name)
    fields = {field.name for field in dataclasses.fields(config)}
    settings = {name: value for name, value in COMMON.items() if name in fields} | recipe.settings
    return config(output_dir=folder, **settings)


def train(name: str, habits: dict, folder: str) -> dict:
    """Train with one trainer, unmodified; what moved, and the score of the PNG in the stock model.

    Args:
        name: from `find_trainers`.
        habits: from `find_habits`.
        folder: for what the trainer writes.
    """
    from datasets import Dataset
    from peft import get_peft_model

    trainer_class, recipe = find_trainers()[name], RECIPES[name]
    started = time.perf_counter()
    model, processor = load_model("tiny"), load_processor("tiny")
    processor.tokenizer.padding_side = "left"  # as TRL loads it; A2PO generates with whatever side it gets
    art = ArtConfig(image_tokens=64, start="grey")
    before, block = weights_sha256(model), art.block(Preprocessor(processor))
    placed = rows_for(recipe.rows, habits, block, processor)
    extra = {} if recipe.model == "wrapped" else {"peft_config": art}
    if "reward" in recipe.needs:
        extra["reward_funcs"] = calls.reward
    if "teacher" in recipe.needs:
        seen = ArtConfig(image_tokens=64, start=str(TEACHER))
        extra["teacher_model"] = get_peft_model(load_model("tiny"), seen).eval()
    given = {"object": model, "name": str(TINY)}.get(recipe.model) or get_peft_model(model, art)
    trainer = trainer_class(
        model=given,
        args=config_for(trainer_class, recipe, folder),
        train_dataset=Dataset.from_list(placed),
        processing_class=processor.tokenizer,
        **extra,
    )
    guard = next(c for c in trainer.callback_handler.callbacks if isinstance(c, NoOpGuard))
    first = trainer.model.get_artwork_image().astype(int)
    trainer.train()
    pixels = trainer.model.get_artwork_image()
    seconds = time.perf_counter() - started
    backend = InProcess(load_model("tiny"), processor, Image.fromarray(pixels))
    return {
        "steps": trainer.state.global_step,
        "pixels_moved": float(np.abs(pixels.astype(int) - first).mean()),
        "gradient_seen": bool(guard.pushed),
        "base_unchanged": weights_sha256(trainer.model.get_base_model()) == before,
        "after": score_rows(calls.TASK, calls.rows("test", HELD_OUT), backend).summary(),
        "seconds": round(seconds, 1),
    }


def find_habits() -> dict:
    """What the model says to the training rows while it looks at the start picture; its held-out score."""
    model, processor = load_model("tiny"), load_processor("tiny")
    backend = InProcess(model, processor, Image.fromarray(Canvas(start_picture("grey", 256, 256)).to_uint8()))
    own = score_rows(calls.TASK, calls.rows("train", TRAIN_ROWS, SEED), backend).records
    return {
        "said": [record["completions"][0] for record in own],
        "scores": [record["score"] for record in own],
        "before": score_rows(calls.TASK, calls.rows("test", HELD_OUT), backend).summary(),
    }
