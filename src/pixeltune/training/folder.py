"""The folder that a run writes: what in it is a run's, and keeping two runs apart."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from pixeltune.errors import UserError

ARTWORK = "artwork.png"
HISTORY = "log_history.json"
CARD = "README.md"
WRITTEN_BY_TRL = "adapter_config.json", "adapter_model.safetensors", "training_args.bin"
SNAPSHOTS = "snapshots"
SAMPLES = "samples"
_STEP_FILE = re.compile(r"step-(\d+)\.(?:png|json)")
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


def find_checkpoint(wanted: str | bool | None, folder: Path) -> Path | None:
    """The checkpoint to resume from: a folder, or with "true" the newest whole one of a run.

    A run that is killed while it saves leaves a folder without ``trainer_state.json``, which is written last.

    Raises:
        UserError: there is none.
    """
    wanted = str(wanted)
    if wanted.lower() in ("none", "false"):
        return None
    newest = wanted.lower() == "true"
    whole = [one for one in (_checkpoints(folder) if newest else [Path(wanted)]) if _is_whole(one)]
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
        resume = (
            "--resume_from_checkpoint true to go on, " if any(map(_is_whole, _checkpoints(folder))) else ""
        )
        raise UserError(
            f"{folder} holds a run already ({', '.join(found)}): give {resume}--overwrite to remove it, or "
            "another --output_dir"
        )
    if reports := sorted(path.parent.name for path in folder.glob("*/report.json")):
        raise UserError(
            f"{folder} holds evaluations of the old artwork ({', '.join(reports)}): move them elsewhere first"
        )


def holds(folder: Path) -> list[str]:
    """What a folder holds of a run that is worth keeping: artwork, log, whole checkpoints, snapshots."""
    found = [name for name in (ARTWORK, HISTORY) if (folder / name).exists()]
    found += [one.name for one in _checkpoints(folder) if _is_whole(one)]
    if any(step > 0 for step, _ in _step_files(folder, [SNAPSHOTS])):
        found.append(SNAPSHOTS)
    return found


def clear(folder: Path, checkpoint: Path | None) -> None:
    """Remove what an earlier run left and this one would not write over; what is not a run's stays.

    Args:
        folder: of the run that begins now.
        checkpoint: to resume from; then only what was made after it goes.
    """
    kept = -1
    if checkpoint is not None and _is_in(checkpoint, folder):
        kept = json.loads((checkpoint / "trainer_state.json").read_text())["global_step"]
    else:
        for name in (ARTWORK, HISTORY, *WRITTEN_BY_TRL):
            (folder / name).unlink(missing_ok=True)
        if "pixeltune" in _head(folder / CARD):
            (folder / CARD).unlink()
    for one in _checkpoints(folder):
        if int(_CHECKPOINT.fullmatch(one.name)[1]) > kept:
            shutil.rmtree(one)
    for step, path in _step_files(folder, [SNAPSHOTS, SAMPLES, f"{SAMPLES}/*"]):
        if step > kept:
            path.unlink()


def _checkpoints(folder: Path) -> list[Path]:
    """By step; of a folder that is reached through a link, none."""
    found = [one for one in folder.glob("checkpoint-*") if _CHECKPOINT.fullmatch(one.name)]
    real = [one for one in found if one.is_dir() and not one.is_symlink()]
    return sorted(real, key=lambda one: int(_CHECKPOINT.fullmatch(one.name)[1]))


def _is_in(checkpoint: Path, folder: Path) -> bool:
    return checkpoint.resolve().parent == folder.resolve()


def _is_whole(checkpoint: Path) -> bool:
    return (checkpoint / "trainer_state.json").is_file()


def _step_files(folder: Path, inside: Iterable[str]) -> list[tuple[int, Path]]:
    files = [path for place in inside for path in folder.glob(f"{place}/step-*.*")]
    return [(int(match[1]), path) for path in files if (match := _STEP_FILE.fullmatch(path.name))]


def _head(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(4096)
