"""The folder that a run writes: what in it is a run's, and keeping two runs apart."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pixeltune.artwork.folder import (
    ARTWORK,
    CARD,
    CONFIG,
    HISTORY,
    SAMPLES,
    SNAPSHOTS,
    STATE,
    WEIGHTS,
    checkpoints,
)
from pixeltune.data.contexts import CONTEXTS
from pixeltune.data.hashes import HELD_OUT, TRAINED
from pixeltune.errors import UserError

WRITTEN_BY_TRL = CONFIG, WEIGHTS, "training_args.bin"
_STEP_FILE = re.compile(r"step-(\d+)\.(?:png|json)")
HELD_OUT_OF = "held_out-{}.jsonl"
"""As `HELD_OUT`, of one of several files."""
MAX_JSON_BYTES = 16 << 20


def find_checkpoint(wanted: str | bool | None, folder: Path) -> Path | None:
    """The checkpoint to resume from: a folder, or with "true" the newest whole one of a run.

    A run that is killed while it saves leaves a folder without `STATE`, which is written last, or half of it.

    Raises:
        UserError: there is none.
    """
    wanted = str(wanted)
    if wanted.lower() in ("none", "false"):
        return None
    newest = wanted.lower() == "true"
    those = _checkpoints(folder).values() if newest else [Path(wanted)]
    whole = [one for one in those if _is_whole(one)]
    if not whole:
        raise UserError(f"no checkpoint in {folder if newest else wanted} to resume from")
    return whole[-1]


def check_folder(folder: Path, overwrite: bool, checkpoint: Path | None) -> None:
    """Refuse to mix two runs in one folder.

    Raises:
        UserError: there is a run and no word of what is to become of it, or something that is not a folder.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: give another --output_dir")
    if checkpoint is not None and overwrite:
        raise UserError("--overwrite removes a run, --resume_from_checkpoint goes on with one: give either")
    found = holds(folder)
    if not found or (checkpoint is not None and _is_in(checkpoint, folder)):
        return
    if not overwrite:
        whole = any(map(_is_whole, _checkpoints(folder).values()))
        resume = "--resume_from_checkpoint true to go on, " if whole else ""
        raise UserError(
            f"{folder} holds a run already ({', '.join(found)}): give {resume}--overwrite to remove it, or "
            "another --output_dir"
        )
    if reports := sorted(path.parent.name for path in folder.glob("*/report.json")):
        raise UserError(
            f"{folder} holds evaluations of the old artwork ({', '.join(reports)}): move them elsewhere first"
        )


def check_inputs(folder: Path, checkpoint: Path | None, inputs: Iterable[str]) -> None:
    """Refuse to remove, or to write over, what is to be read.

    Args:
        folder: of the run that begins now.
        checkpoint: to resume from; of the same folder nothing is removed that a run reads.
        inputs: names of files and folders, perhaps of other things.

    Raises:
        UserError: one of them is what `clear` removes from the folder.
    """
    if checkpoint is not None and _is_in(checkpoint, folder):
        return
    removed = [*_own_files(folder), *_checkpoints(folder).values(), folder / SNAPSHOTS, folder / SAMPLES]
    gone = {path.resolve() for path in removed if path.exists()}
    for name in inputs:
        path = Path(name)
        if path.exists() and not gone.isdisjoint([path.resolve(), *path.resolve().parents]):
            raise UserError(
                f"{name} is of the run that {folder} holds and would be removed: copy it elsewhere first"
            )


def holds(folder: Path) -> list[str]:
    """What a folder holds of a run that is worth keeping: artwork, log, whole checkpoints, snapshots."""
    found = [name for name in (ARTWORK, HISTORY) if (folder / name).exists()]
    found += [one.name for one in _checkpoints(folder).values() if _is_whole(one)]
    if any(step > 0 for step, _ in _step_files(folder, [SNAPSHOTS])):
        found.append(SNAPSHOTS)
    return found


def read_adapter(folder: Path) -> dict[str, Any]:
    """The settings of an artwork's adapter that was saved in a folder, as JSON.

    Raises:
        UserError: there is no adapter in it, or not an artwork's.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            there = [Path("runs/sft/checkpoint-50"), *checkpoints(folder).values()][-1]
            raise UserError(
                f"{folder} has no {name}: give the folder of a checkpoint ({there}), or one that an artwork's "
                "adapter was saved in"
            )
    said = read_json(folder / CONFIG)
    if said.get("peft_type") != "ART":
        raise UserError(f"{folder} holds an adapter of type {said.get('peft_type')}, which is no artwork")
    return said


def read_json(path: Path) -> dict[str, Any]:
    """
    Raises:
        UserError: the file is too large, or holds no JSON object.
    """
    if path.stat().st_size > MAX_JSON_BYTES:
        raise UserError(f"{path} is larger than {MAX_JSON_BYTES >> 20} MiB")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} is not a JSON object")
    return found


def clear(folder: Path, checkpoint: Path | None) -> None:
    """Remove what an earlier run left and this one would not write over; what is not a run's stays.

    Args:
        folder: of the run that begins now.
        checkpoint: to resume from; then only what was made after it goes.
    """
    kept = -1
    if checkpoint is not None and _is_in(checkpoint, folder):
        kept = json.loads((checkpoint / STATE).read_text())["global_step"]
    else:
        for path in _own_files(folder):
            path.unlink(missing_ok=True)
        if "pixeltune" in _head(folder / CARD):
            (folder / CARD).unlink()
    for step, one in _checkpoints(folder).items():
        if step > kept:
            shutil.rmtree(one)
    for step, path in _step_files(folder, [SNAPSHOTS, SAMPLES, f"{SAMPLES}/*"]):
        if step > kept:
            path.unlink()


def _own_files(folder: Path) -> list[Path]:
    """What a run writes beside its card, checkpoints and files of steps, whether it is there or not."""
    names = (ARTWORK, HISTORY, HELD_OUT, TRAINED, CONTEXTS, *WRITTEN_BY_TRL)
    return [*(folder / name for name in names), *folder.glob(HELD_OUT_OF.format("*"))]


def _checkpoints(folder: Path) -> dict[int, Path]:
    """By step; a link is none."""
    found = checkpoints(folder)
    return {step: one for step, one in found.items() if one.is_dir() and not one.is_symlink()}


def _is_in(checkpoint: Path, folder: Path) -> bool:
    return checkpoint.resolve().parent == folder.resolve()


def _is_whole(checkpoint: Path) -> bool:
    try:
        return "global_step" in json.loads((checkpoint / STATE).read_text())
    except (OSError, ValueError):
        return False


def _step_files(folder: Path, inside: Iterable[str]) -> list[tuple[int, Path]]:
    files = [path for place in inside for path in folder.glob(f"{place}/step-*.*")]
    return [(int(match[1]), path) for path in files if (match := _STEP_FILE.fullmatch(path.name))]


def _head(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(4096)
