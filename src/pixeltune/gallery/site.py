"""``pixeltune gallery``: runs in, a folder of static pages out."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from argparse import Namespace
from pathlib import Path

from pixeltune import __version__
from pixeltune.errors import UserError
from pixeltune.gallery import page, pictures
from pixeltune.gallery.evaluations import read_evaluation
from pixeltune.gallery.maps import TokenMaps, read_maps, store_maps, token_maps
from pixeltune.gallery.run import Frame, Run, evenly, read_run

MARK = "gallery.json"
"""In every gallery: what made it, and its files."""

STRIP = 8
"""Pictures of a film strip."""


def run(arguments: Namespace) -> int:
    """Make a gallery, print where it is.

    Raises:
        ValueError: a run cannot be read, or ``--out`` is something else; nothing was written then.
    """
    out = Path(arguments.out)
    check_place(out)
    runs = [read_run(folder) for folder in dict.fromkeys(Path(f).resolve() for f in arguments.run)]
    evaluations = []
    for folder in arguments.eval:
        try:
            evaluations.append(read_evaluation(Path(folder)))
        except ValueError as error:
            raise UserError(f"{folder}: {error}") from error
    for one in runs:
        if out.resolve() in one.folder.parents or out.resolve() == one.folder:
            raise UserError(f"{one.folder} is inside of {out}, which is to be replaced: give another --out")
    maps = [_maps(one, arguments) for one in runs]
    content: dict[str, bytes] = {}
    entries = [page.Entry(one, slug) for one, slug in zip(runs, slugs(runs), strict=True)]
    order = sorted(range(len(runs)), key=lambda i: (runs[i].name.casefold(), entries[i].slug))
    for i in order:
        content |= {f"{entries[i].slug}/{name}": data for name, data in _files(runs[i], maps[i]).items()}
    content["index.html"] = page.index([entries[i] for i in order], evaluations).encode()
    for name in ("style.css", "sort.js"):
        content[name] = page.asset(name).encode()
    write_folder(out, content)
    print(out / "index.html")
    return 0


def check_place(out: Path) -> None:
    """Whether a gallery may be written there: nothing, an empty folder, or a gallery and nothing else.

    Raises:
        ValueError: there is something that would be lost.
    """
    if not out.exists() and not out.is_symlink():
        return
    if out.is_symlink() or not out.is_dir():
        raise UserError(f"{out} exists and is no folder: give another --out")
    there = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_symlink() or not p.is_dir()}
    if not there:
        return
    try:
        known = set(json.loads((out / MARK).read_text("utf-8"))["files"]) | {MARK}
    except (OSError, ValueError, TypeError, KeyError):
        raise UserError(f"{out} exists and is no gallery: give another --out") from None
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
    out["artwork.png"] = one.png
    if len(one.frames) > 1:
        out["animation.webp"] = pictures.animation([frame.image for frame in one.frames])
    if one.start is not None:
        levels = pictures.difference(one.artwork.pixels, one.start)
        out["difference.webp"] = pictures.webp(pictures.difference_map(levels))
    out["index.html"] = page.page(one, strip, maps).encode()
    return out


def _maps(one: Run, arguments: Namespace) -> TokenMaps | None:
    """Stored or new token maps; None where there are none, and why in ``absent``."""
    try:
        if not arguments.maps:
            return read_maps(one.folder, one.artwork)
        model, revision, data = arguments.model, arguments.revision, arguments.data
        maps = token_maps(one.artwork, one.start, arguments.maps, model, revision, data)
        store_maps(one.folder, maps)
        return maps
    except ValueError as error:
        stored = (one.folder / "maps.json").exists()
        one.absent["maps"] = str(error) if arguments.maps or stored else "not computed (--maps 8 does)"
        if arguments.maps:
            print(f"{one.name}: no token maps: {error}", file=sys.stderr)
        return None
