"""``pixeltune gallery``: runs in, a folder of static pages out."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from pixeltune.artwork.folder import ARTWORK, MAPS
from pixeltune.errors import UserError, escaped
from pixeltune.gallery import page, pictures
from pixeltune.gallery.evaluations import Evaluation, read_evaluation
from pixeltune.gallery.maps import TokenMaps, read_maps, store_maps, token_maps
from pixeltune.gallery.run import Frame, Run, evenly, no_run, read_run
from pixeltune.version import __version__

MARK = "gallery.json"
"""In every gallery: what made it, and its files."""

STRIP = 8
"""Pictures of a film strip."""


def build_gallery(
    runs: Sequence[str | Path],
    output_dir: str | Path,
    *,
    evaluations: Sequence[str | Path] = (),
    maps: int = 0,
    model: str | None = None,
    revision: str | None = None,
    data: str | Path | None = None,
) -> Path:
    """Make static pages of runs, to be opened in a browser.

    Args:
        runs: folders that training verbs wrote. Evaluations may be among them, as in ``runs/*``.
        output_dir: folder to write; a gallery that is there is replaced.
        evaluations: folders that `pixeltune eval` wrote, for the index; those inside of a run are found.
        maps: find out which squares matter, on so many rows of each run's task; loads the model.
        model: for maps, where the artwork's own name does not lead to it.
        revision: commit or tag of that model on the hub.
        data: for maps, folder of a benchmark's files; None: the hub.

    Returns:
        The first page.

    Raises:
        UserError: a run cannot be read, or the folder is something else; nothing was written then.
    """
    if maps < 0:
        raise UserError("maps is a number of rows, 1 or more")
    out = Path(output_dir)
    check_place(out)
    read, scored = read_folders(runs)
    for folder in evaluations:
        try:
            scored.append(read_evaluation(Path(folder)))
        except ValueError as error:
            raise UserError(f"{folder}: {error}") from error
    for one in read:
        if out.resolve() in one.folder.parents or out.resolve() == one.folder:
            raise UserError(f"{one.folder} is inside of {out}, which is to be replaced: give another folder")
    drawn = [_maps(one, maps, model, revision, data) for one in read]
    content: dict[str, bytes] = {}
    listed = [page.ListedRun(one, slug) for one, slug in zip(read, slugs(read), strict=True)]
    order = sorted(range(len(read)), key=lambda i: (read[i].name.casefold(), listed[i].slug))
    for i in order:
        content |= {f"{listed[i].slug}/{name}": data for name, data in _files(read[i], drawn[i]).items()}
    content["index.html"] = page.index([listed[i] for i in order], scored).encode()
    for name in ("style.css", "sort.js"):
        content[name] = page.asset(name).encode()
    write_folder(out, content)
    return out / "index.html"


def read_folders(folders: Sequence[str | Path]) -> tuple[list[Run], list[Evaluation]]:
    """Runs and evaluations, told apart. Beside a run, a folder that is neither is left out, aloud.

    Raises:
        UserError: there is no run among them, one is not there, or one is broken.
    """
    runs, evaluations, neither = [], [], []
    for folder in dict.fromkeys(Path(f).resolve() for f in folders):
        if (folder / ARTWORK).is_file() or not folder.exists():
            runs.append(read_run(folder))
            continue
        try:
            evaluations.append(read_evaluation(folder))
        except ValueError:
            neither.append(folder)
    if not runs:
        raise UserError(no_run(Path(folders[0])))
    for folder in neither:
        print(f"left out: {escaped(no_run(folder))}", file=sys.stderr)
    return runs, evaluations


def check_place(out: Path) -> None:
    """Whether a gallery may be written there: nothing, an empty folder, or a gallery and nothing else.

    Raises:
        ValueError: there is something that would be lost.
    """
    if not out.exists() and not out.is_symlink():
        return
    if out.is_symlink() or not out.is_dir():
        raise UserError(f"{out} exists and is no folder: give another folder")
    there = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_symlink() or not p.is_dir()}
    if not there:
        return
    try:
        known = set(json.loads((out / MARK).read_text("utf-8"))["files"]) | {MARK}
    except (OSError, ValueError, TypeError, KeyError):
        raise UserError(f"{out} exists and is no gallery: give another folder") from None
    if there - known:
        raise UserError(f"{out} holds {min(there - known)}, which is no part of the gallery: move it away")


def write_folder(out: Path, content: dict[str, bytes]) -> None:
    """Write files aside, then put the folder in its place, where the old gallery or the whole new one stands.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")
    old = aside.with_suffix(".old")
    try:
        for name, data in content.items():
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            (aside / name).write_bytes(data)
        mark = {"pixeltune": __version__, "files": sorted(content)}
        (aside / MARK).write_text(json.dumps(mark, indent=1) + "\n", "utf-8")
        check_place(out)
        if out.exists():
            os.rename(out, old)
        try:
            os.rename(aside, out)
        except OSError:
            if old.exists():
                os.rename(old, out)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def slugs(runs: list[Run]) -> list[str]:
    """A folder's name for each run, safe in URLs and on every file system, no two alike."""
    out: list[str] = []
    for one in runs:
        plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in one.name)
        stem = plain.strip("-")[:60] or "run"
        taken = {slug.casefold() for slug in out}
        out.append(
            next(
                s
                for n in range(1, len(runs) + 1)
                if (s := f"{stem}-{n}" if n > 1 else stem).casefold() not in taken
            )
        )
    return out


def _files(one: Run, maps: TokenMaps | None) -> dict[str, bytes]:
    """The page of a run and the pictures on it."""
    frames = evenly(one.frames, STRIP)
    strip: list[tuple[Frame, str]] = [(frame, f"frames/step-{frame.step:06d}.webp") for frame in frames]
    out = {name: pictures.webp(frame.image) for frame, name in strip}
    out[ARTWORK] = one.png
    if len(one.frames) > 1:
        out["animation.webp"] = pictures.animation([frame.image for frame in one.frames])
    if one.start is not None:
        levels = pictures.difference(one.artwork.pixels, one.start)
        out["difference.webp"] = pictures.webp(pictures.difference_map(levels))
    out["index.html"] = page.page(one, strip, maps).encode()
    return out


def _maps(
    one: Run, rows: int, model: str | None, revision: str | None, data: str | Path | None
) -> TokenMaps | None:
    """Stored or new token maps; None where there are none, and why in ``absent``."""
    try:
        if not rows:
            return read_maps(one.folder, one.artwork)
        maps = token_maps(one.artwork, one.start, rows, model, revision, data)
        store_maps(one.folder, maps)
        return maps
    except ValueError as error:
        stored = (one.folder / MAPS).exists()
        one.absent["maps"] = str(error) if rows or stored else "not computed (--maps 8 does)"
        if rows:
            print(f"{escaped(one.name)}: no token maps: {escaped(error)}", file=sys.stderr)
        return None
