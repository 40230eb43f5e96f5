"""A teacher of distillation beside the student: the base wearing a LoRA, or another model. Importing needs no torch."""

from __future__ import annotations

import copy
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixeltune.artwork.folder import ARTWORK, CONFIG, WEIGHTS
from pixeltune.errors import UserError, escaped, first_line
from pixeltune.model.finding import BUNDLED, find_model, place, public_name
from pixeltune.training.settings import PaintArguments

if TYPE_CHECKING:
    from transformers import TrainingArguments

ADAPTER, MODEL = "adapter", "model"
MAX_CONFIG_BYTES = 1 << 20
INITIAL = True, False, None, "gaussian", "eva", "orthogonal"
"""What a LoRA may begin as. PEFT makes the others by changing the weights of the base, which the student has too."""

SHARED = "the LoRA; the weights of the base are shared"


@dataclass(frozen=True)
class Teacher:
    """Who is learned from, in evaluation mode; it reads rows without the artwork."""

    model: Any
    costs: str
    """A line for people: what it takes beside the student."""


def source_of(spec: str) -> tuple[str, str]:
    """`ADAPTER` or `MODEL`, and the folder or name behind it.

    Raises:
        UserError: it is neither.
    """
    kind, _, source = spec.partition(":")
    if kind in (ADAPTER, MODEL) and source:
        return kind, source
    if kind in ("http", "https"):
        raise UserError(
            "--teacher is an address, and an engine cannot teach: it tells a few log-probs, not all logits. "
            "Give model:NAME or adapter:FOLDER, which are loaded here"
        )
    raise UserError(f"--teacher is {spec!r:.60}: it must be adapter:FOLDER (a LoRA of PEFT) or model:NAME")


def model_of(arguments: PaintArguments) -> str | None:
    """The other model that teaches, None where the base itself does."""
    kind, source = source_of(arguments.teacher) if arguments.teacher else (ADAPTER, "")
    return source if kind == MODEL else None


def check_teacher(arguments: PaintArguments, config: TrainingArguments) -> None:
    """Refuse a teacher that cannot be one, as far as files tell.

    Args:
        arguments: with a `teacher`.
        config: TRL's.

    Raises:
        UserError: there is no such LoRA or model, it is not for the base, or other settings are against it.
    """
    kind, source = source_of(arguments.teacher or "")
    if arguments.also:
        raise UserError("--teacher is for one model: leave out --also")
    if getattr(config, "use_vllm", False):
        raise UserError("--use_vllm generates with the base, not with the --teacher: leave one of them out")
    if getattr(config, "teacher_model_kind", "base") != "base":
        raise UserError("--teacher_model_kind is another way to say who teaches: leave it or --teacher out")
    if kind == MODEL:
        find_model(source)
    else:
        check_adapter(source, arguments.model, arguments.revision)


def check_adapter(folder: str, model: str, revision: str | None) -> None:
    """Refuse what is no LoRA of this model in safetensors.

    Raises:
        UserError: saying what it is instead.
    """
    path = Path(folder)
    if not path.is_dir():
        raise UserError(f"there is no folder {folder}: --teacher adapter: takes one that PEFT has saved")
    said = _config(path / CONFIG)
    kind = escaped(said.get("peft_type"))[:60]
    if kind == "ART":
        raise UserError(
            f"{folder} is an artwork and no LoRA: to go on from its picture give --start {path / ARTWORK}"
        )
    if kind != "LORA":
        raise UserError(f"{folder} is an adapter of the kind {kind}: a teacher wears a LoRA")
    if (initial := said.get("init_lora_weights")) not in INITIAL:
        raise UserError(
            f"{folder} began as {escaped(initial)[:60]}, for which PEFT changes the base's weights: save it as a "
            "plain LoRA (path_initial_model_for_weight_conversion)"
        )
    _check_base(folder, said, model, revision)
    _check_weights(path)


def check_reader(name: str, processor: Any, model: str, revision: str | None) -> Any:
    """The processor of another model that teaches.

    Args:
        name: of the teacher.
        processor: of the student.
        model: the student's name.
        revision: of it.

    Raises:
        UserError: it has another vocabulary than the student, or there is no such model.
    """
    from transformers import AutoConfig

    from pixeltune.model.loading import load_processor

    reader = load_processor(name)
    vocabularies = [one.tokenizer.get_vocab().items() for one in (processor, reader)]
    if differ := len(vocabularies[0] ^ vocabularies[1]):
        raise UserError(
            f"{name} has another vocabulary than {model} ({differ:,} entries differ): what a teacher says of a token "
            "must be said of the same token; take a model with the same tokenizer"
        )
    named = (name, None), (model, revision)
    configs = [
        AutoConfig.from_pretrained(place(one), revision=at, **find_model(one, at)) for one, at in named
    ]
    theirs, ours = (config.get_text_config().vocab_size for config in configs)
    if ours != theirs:
        raise UserError(
            f"{name} has logits of {theirs:,} tokens and {model} of {ours:,}: take one of as many"
        )
    return reader


def load_teacher(arguments: PaintArguments, base: Any) -> Teacher:
    """The teacher, beside the base, whose weights stay what they are.

    A LoRA is put on modules of its own around the base's very weights, so it costs its own numbers alone;
    where the base is quantised, on a second copy.

    Args:
        arguments: checked by `check_teacher`.
        base: the frozen model, which wears nothing yet.

    Raises:
        UserError: the LoRA does not fit the base, or the other model cannot be loaded.
    """
    from pixeltune.model.loading import load_model

    kind, source = source_of(arguments.teacher or "")
    how = arguments.dtype, arguments.bits, arguments.device_map
    if kind == MODEL:
        model, what = load_model(source, None, *how), "a second model"
    else:
        under = load_model(arguments.model, arguments.revision, *how) if arguments.bits else _beside(base)
        model = _wear(under, source, arguments.model)
        what = "a second copy of the quantised base, with the LoRA" if arguments.bits else SHARED
    shared = {id(one) for one in base.parameters()}
    size = sum(one.numel() * one.element_size() for one in model.parameters() if id(one) not in shared)
    return Teacher(model, f"teacher: {public(arguments)}, {size / 1e6:,.1f} MB more memory ({what})")


def check_differs(teacher: Any, base: Any, text: str, tokenizer: Any, name: str) -> None:
    """Refuse a teacher that says what the base says anyway.

    Args:
        teacher: a model.
        base: the frozen model, which wears nothing yet.
        text: a prompt as the teacher reads it.
        tokenizer: of both.
        name: of the teacher, for the message.

    Raises:
        UserError: all logits of this prompt are the same.
    """
    import torch

    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        ours, theirs = (
            model(input_ids=ids.to(model.device)).logits.float().cpu() for model in (base, teacher)
        )
    if torch.allclose(ours, theirs, rtol=0, atol=1e-5):
        raise UserError(
            f"--teacher {name} changes nothing: on the first row its logits are the base's. Is the LoRA trained, and "
            "are these its weights?"
        )


def public(arguments: PaintArguments) -> str:
    """The teacher as strangers may know it, without folders."""
    kind, source = source_of(arguments.teacher or "")
    return f"{kind}:{public_name(source)}"


def _config(path: Path) -> dict[str, Any]:
    """
    Raises:
        UserError: there is no such file, or it is none of PEFT's.
    """
    if not path.is_file():
        raise UserError(f"{path.parent} is no PEFT adapter: it has no {path.name}")
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ValueError("larger than 1 MiB")
        said = json.loads(path.read_bytes())
        if not isinstance(said, dict):
            raise ValueError("no JSON object")
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {first_line(error)}") from error
    return said


def _check_base(folder: str, said: dict[str, Any], model: str, revision: str | None) -> None:
    base, at = said.get("base_model_name_or_path"), said.get("revision")
    if not base or not isinstance(base, str):
        raise UserError(
            f"{folder} does not say of which model it is: write its name into {CONFIG} "
            "(base_model_name_or_path)"
        )
    if not _is_called(base, model):
        raise UserError(
            f"{folder} is a LoRA of {escaped(base)[:200]}, and the model is {model}: give --model that, or, where it "
            f"is the same one, write {model} into {CONFIG} (base_model_name_or_path)"
        )
    if isinstance(at, str) and at != (revision or "main"):
        raise UserError(
            f"{folder} is a LoRA of revision {escaped(at)[:60]} of its base: give --revision that"
        )


def _is_called(base: str, model: str) -> bool:
    """Whether what a LoRA calls its base is this model; a folder may be elsewhere, or a copy of a hub's model."""
    if model in BUNDLED:
        return public_name(base) == model or Path(base).parts[-3:] == BUNDLED[model].parts[-3:]
    ours, theirs = Path(model), Path(base)
    if ours.is_dir() and theirs.is_dir():
        return ours.resolve() == theirs.resolve()
    return ours.name == theirs.name if ours.is_dir() or theirs.is_absolute() else model == base


def _check_weights(folder: Path) -> None:
    """Refuse pickles, which run what they say, and weights beside the LoRA's, which PEFT would put into the base.

    Raises:
        UserError: naming what is there.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / WEIGHTS
    if not path.is_file():
        pickles = sorted(one.name for one in folder.glob("adapter_model.*") if one.is_file())
        has = f", only {pickles[0]}, and pickles are never read" if pickles else ""
        raise UserError(
            f"{folder} has no {WEIGHTS}{has}: save it with PEFT's save_pretrained, as safetensors"
        )
    try:
        with safe_open(path, "np") as file:
            others = [name for name in file.keys() if ".lora_" not in name]  # noqa: SIM118, it is no dict
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read: {first_line(error)}") from error
    if others:
        raise UserError(
            f"{folder} holds whole weights beside its LoRA ({escaped(others[0])[:100]}): merge it into a copy of the "
            "base, and give --teacher model:FOLDER"
        )


def _beside(model: Any) -> Any:
    """The model once more: modules of its own around the very same weights."""
    return copy.deepcopy(model, {id(one): one for one in (*model.parameters(), *model.buffers())})


def _wear(model: Any, folder: str, name: str) -> Any:
    """The model wearing a LoRA, which is not trained.

    Raises:
        UserError: the LoRA is not for such a model.
    """
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Found missing adapter keys")
        try:
            return PeftModel.from_pretrained(model, folder).eval()
        except (OSError, ValueError, TypeError, RuntimeError, KeyError, UserWarning) as error:
            raise UserError(f"{folder} does not fit {name}: {' '.join(str(error).split())[:200]}") from error
