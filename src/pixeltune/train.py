"""Painting an artwork with TRL's SFTTrainer, unmodified: the frozen model, one canvas, a task's rows."""

from __future__ import annotations

import argparse
import datetime
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from pixeltune import rows as row_files
from pixeltune import tiny
from pixeltune.tasks import find_task
from pixeltune.torchvision_cpu import declare_operators

declare_operators()

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import AutoModelForImageTextToText, AutoProcessor, ProgressCallback  # noqa: E402
from trl import SFTConfig, SFTTrainer, TrlParser  # noqa: E402

from pixeltune.adapter import ArtConfig  # noqa: E402
from pixeltune.artwork import Artwork, Provenance  # noqa: E402
from pixeltune.callbacks import (  # noqa: E402
    HeldOutScore,
    PixelOptimizerCheck,
    PixelProgress,
    SnapshotCallback,
    StopSignal,
)
from pixeltune.canvas import paintable_mask, start_picture  # noqa: E402
from pixeltune.evaluate import Local  # noqa: E402
from pixeltune.placement import PLACEMENT, place_dataset  # noqa: E402
from pixeltune.sight import Sight  # noqa: E402

# TRL's defaults are made for weights. A pixel lives in [0, 1], its gradient is 1e-7 and smaller: Adam needs
# a rate of a few grey levels a step and an epsilon far below the gradients. Weight decay would fade to black.
PIXEL_DEFAULTS = {
    "output_dir": "runs/sft",
    "learning_rate": 0.02,
    "lr_scheduler_type": "cosine",
    "adam_epsilon": 1e-16,
    "weight_decay": 0.0,
    "per_device_train_batch_size": 32,
    "max_steps": 100,
    "save_steps": 50,
    "save_total_limit": 2,
    "logging_steps": 5,
    "max_length": None,  # TRL's 1024 counts image tokens and would cut answers off
    "gradient_checkpointing": False,  # costs a second forward; switch on when memory is short
}


@dataclass
class ArtArguments:
    """What to paint, for which model, from which rows."""

    model: str = field(default="tiny", metadata={"help": '"tiny" (bundled), a hub name or a folder.'})
    revision: str | None = field(default=None, metadata={"help": "Commit or tag of the model on the hub."})
    task: str | None = field(default=None, metadata={"help": "A bundled task: calls, sums or turns."})
    data: str | None = field(
        default=None, metadata={"help": "Or: a JSONL file of rows with prompt and completion (and tools)."}
    )
    train_rows: int = field(default=2000, metadata={"help": "Rows of the task to train on."})
    held_out_rows: int = field(default=100, metadata={"help": "Rows the held-out score is taken on."})
    score_steps: int = field(default=25, metadata={"help": "Held-out score every so many steps; 0: never."})
    snapshot_steps: int = field(default=25, metadata={"help": "Snapshot PNG every so many steps; 0: never."})
    image_tokens: int | None = field(default=None, metadata={"help": "Budget in image tokens; default 64."})
    height: int | None = field(default=None, metadata={"help": "Height in pixels, instead of a budget."})
    width: int | None = field(default=None, metadata={"help": "Width in pixels, instead of a budget."})
    start: str = field(default="grey", metadata={"help": 'Start picture: "grey", "noise" or a file.'})
    bound: int | None = field(default=None, metadata={"help": "Largest change of a pixel, grey levels."})
    mask: str | None = field(default=None, metadata={"help": "Picture, white where it may be painted."})
    licence: str | None = field(
        default=None, metadata={"help": "Licence of the artwork; needed when start is a file."}
    )

    def __post_init__(self) -> None:
        if (self.task is None) == (self.data is None):
            raise ValueError("give either --task (calls, sums, turns) or --data rows.jsonl")
        if self.start not in ("grey", "noise") and not self.licence:
            raise ValueError(
                f"the artwork will be an edit of {self.start}: say under which licence with --licence"
            )
        if self.train_rows < 1 or self.held_out_rows < 0:
            raise ValueError("--train_rows must be at least 1 and --held_out_rows at least 0")
        if self.score_steps < 0 or self.snapshot_steps < 0:
            raise ValueError("--score_steps and --snapshot_steps are 0 (never) or more")


def parse(argv: list[str]) -> tuple[ArtArguments, SFTConfig]:
    """Read ``pixeltune sft`` flags, and YAML after ``--config``; TRL's own fields keep their names.

    Raises:
        ValueError: for anything wrong with them, before a model is loaded.
    """
    parser = TrlParser((ArtArguments, SFTConfig), prog="pixeltune sft")
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    # bf16 autocast would round activations on machines that gain nothing from it.
    parser.set_defaults(**PIXEL_DEFAULTS, bf16=torch.cuda.is_available() and torch.cuda.is_bf16_supported())
    return parser.parse_args_and_config(argv)


def read_rows(arguments: ArtArguments, seed: int) -> tuple[ModuleType | None, list[dict], list[dict]]:
    """The task (None for a file) with training rows and held-out rows.

    Raises:
        ValueError: the task is unknown, or the file cannot be used.
    """
    if arguments.data is not None:
        return None, row_files.read(arguments.data), []
    task = find_task(arguments.task)
    return task, task.rows("train", arguments.train_rows, seed), task.rows("test", arguments.held_out_rows)


def find_checkpoint(config: SFTConfig) -> str | None:
    """The checkpoint to resume from: a folder, or with "true" the newest whole one in ``output_dir``.

    A run that is killed while it saves leaves a folder without ``trainer_state.json``, which is written last.

    Raises:
        ValueError: there is none.
    """
    wanted = str(config.resume_from_checkpoint)
    if wanted.lower() in ("none", "false"):
        return None
    folders = [Path(wanted)]
    if wanted.lower() == "true":
        folders = sorted(
            Path(config.output_dir).glob("checkpoint-*"), key=lambda folder: int(folder.name.split("-")[1])
        )
    whole = [str(folder) for folder in folders if (folder / "trainer_state.json").is_file()]
    if not whole:
        place = config.output_dir if wanted.lower() == "true" else wanted
        raise ValueError(f"no checkpoint in {place} to resume from")
    return whole[-1]


def load_processor(name: str, revision: str | None = None) -> Any:
    """The processor of a hub name or folder; "tiny" is the bundled model.

    Raises:
        ValueError: there is no such model, or no image processor in it.
    """
    return _load(AutoProcessor, name, revision)


def load_model(name: str, revision: str | None = None) -> Any:
    """The model of a hub name or folder, in evaluation mode; "tiny" is the bundled one.

    Raises:
        ValueError: there is no such model.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return _load(AutoModelForImageTextToText, name, revision).eval().to(device)


def _load(auto: Any, name: str, revision: str | None) -> Any:
    try:
        return auto.from_pretrained(str(tiny.PATH) if name == "tiny" else name, revision=revision)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot load {name!r}: {str(error).splitlines()[0]}") from error


def weights_sha256(model: torch.nn.Module) -> str:
    """SHA-256 over names, dtypes and bytes of a model's parameters and buffers, without any artwork."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if ".art_canvas." in name:
            continue
        digest.update(f"{name.replace('.base_layer.', '.')} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def paint(arguments: ArtArguments, config: SFTConfig, quiet: bool = False) -> tuple[Artwork, Any, bool]:
    """Paint one artwork.

    Args:
        arguments: what, for which model, from which rows.
        config: TRL's, as for any other SFT.
        quiet: no progress bar.

    Returns:
        The artwork (also in ``output_dir/artwork.png``), the model that wears it, and whether training
        went to its end (False: it was interrupted; a checkpoint was saved and no artwork written).

    Raises:
        ValueError: for anything wrong with arguments, data, pictures or sizes; before training starts.
        RuntimeError: the base weights changed, or the pixels did not: then nothing is written.
    """
    checkpoint = find_checkpoint(config)
    task, train_rows, held_out = read_rows(arguments, config.seed)
    art = ArtConfig(
        image_tokens=arguments.image_tokens,
        height=arguments.height,
        width=arguments.width,
        start=arguments.start,
        bound=arguments.bound,
        mask=arguments.mask,
        seed=config.seed,
    )
    start_picture(arguments.start, 32, 32)  # a file that cannot be read is reported before the model loads
    if arguments.mask:
        paintable_mask(arguments.mask, 32, 32)
    processor = load_processor(arguments.model, arguments.revision)
    sight = Sight(processor)
    dataset = place_dataset(Dataset.from_list(train_rows), art.block(sight))
    model = load_model(arguments.model, arguments.revision)
    before = weights_sha256(model)

    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=dataset,
        processing_class=processor.tokenizer,  # the artwork is text to TRL; the adapter supplies the picture
        peft_config=art,
        callbacks=[PixelOptimizerCheck(), stop := StopSignal()],
    )
    trainer.remove_callback(ProgressCallback)
    if not quiet:
        trainer.add_callback(PixelProgress())
    if arguments.snapshot_steps:
        folder = Path(config.output_dir) / "snapshots"
        trainer.add_callback(SnapshotCallback(arguments.snapshot_steps, folder))
    if task is not None and held_out and arguments.score_steps:
        system = Local(trainer.model, processor)
        trainer.add_callback(HeldOutScore(task, held_out, system, arguments.score_steps, trainer.log))
    first = trainer.model.get_artwork_image()
    trainer.train(resume_from_checkpoint=checkpoint)

    pixels = trainer.model.get_artwork_image()
    if weights_sha256(model) != before:
        raise RuntimeError("the base weights changed during training; the artwork is not saved")
    if not stop.stopped and checkpoint is None and (pixels == first).all():
        raise RuntimeError("not one pixel changed: raise --learning_rate; the artwork is not saved")
    artwork = Artwork(
        pixels,
        Provenance(
            base_model=Path(arguments.model).name if Path(arguments.model).is_dir() else arguments.model,
            revision=getattr(model.config, "_commit_hash", None) or arguments.revision,
            base_sha256=before,
            image_tokens=art.image_tokens,
            placement=PLACEMENT,
            processor=sight.constants(),
            template_sha256=template_sha256(processor),
            objective="sft",
            data=arguments.task or Path(arguments.data).name,
            seed=config.seed,
            steps=trainer.state.global_step,
            start=arguments.start if arguments.start in ("grey", "noise") else Path(arguments.start).name,
            bound=None if arguments.bound is None else arguments.bound / 255,
            training={
                "learning_rate": config.learning_rate,
                "batch_size": config.per_device_train_batch_size * config.gradient_accumulation_steps,
                "rows": len(train_rows),
            },
            licence=arguments.licence or "CC0-1.0",
            created=datetime.date.today().isoformat(),
        ),
    )
    if not stop.stopped:
        trainer.save_model()
        artwork.save(Path(config.output_dir) / "artwork.png")
    return artwork, trainer.model, not stop.stopped


def template_sha256(processor: Any) -> str:
    """SHA-256 of the chat template's text."""
    return hashlib.sha256((processor.chat_template or processor.tokenizer.chat_template).encode()).hexdigest()


def sft(argv: list[str]) -> int:
    """``pixeltune sft``."""
    arguments, config = parse(argv)
    _, _, finished = paint(arguments, config)
    if not finished:
        print(f"Interrupted. Go on with: --resume_from_checkpoint true --output_dir {config.output_dir}")
        return 130
    print(f"{Path(config.output_dir) / 'artwork.png'}")
    return 0
