"""A look through the served folder: which PNG files it holds, under which names, and what is left out."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

from pixeltune.artwork.png import OTHER_SUFFIXES

Signature = tuple[int, ...]
"""Of a file: inode, size, times of its content and of its inode (a restored time does not hide a change),
device."""

GONE = "is gone"
NO_PNG = "its name does not end in .png: an artwork is the file NAME.png that pixeltune wrote"
MAX_LINKED = 4096  # folders found by way of links: folders that link each other have names without end


def look_through(folder: Path) -> tuple[dict[str, Signature], dict[str, str]]:
    """Names and signatures of the PNG files, and for paths that are left out the reason.

    Args:
        folder: may be a link. Links inside are followed as long as they stay below what it leads to; names that
            start with a dot are left out without a word.

    Raises:
        OSError: the folder itself cannot be read.
    """
    root = folder.resolve(strict=True)
    found: dict[str, Signature] = {}
    left_out: dict[str, str] = {}
    linked = 0
    # Where, the real paths of a folder and those it lies in, whether a link leads there. Near ones first: they
    # have their names whatever the bound cuts off.
    folders: deque[tuple[str, tuple[Path, ...], bool]] = deque([("", (root,), False)])
    while folders:
        where, above, by_link = folders.popleft()
        linked += by_link
        if by_link and linked > MAX_LINKED:
            if linked == MAX_LINKED + 1:  # told of one, not of all that there are
                left_out[where] = f"more than {MAX_LINKED:,} linked folders: this one and all after it"
            continue
        try:
            with os.scandir(above[-1]) as items:
                inside = sorted(items, key=lambda item: item.name)
        except OSError as error:
            if not where:
                raise
            left_out[where] = _unread(error)
            continue
        for item in inside:
            path, png = f"{where}{item.name}", item.name.endswith(".png")
            if item.name.startswith("."):
                continue
            try:
                is_folder, is_link = item.is_dir(), item.is_symlink()
                if not is_folder and not png:
                    if item.name.lower().endswith((".png", *OTHER_SUFFIXES)):  # taken for artworks, perhaps
                        left_out[path] = NO_PNG
                    continue
                path.encode()
                real = above[-1] / item.name if is_folder or is_link else root
                if is_link:
                    real = real.resolve(strict=True)
                    if not real.is_relative_to(root):
                        left_out[path] = "links to outside of the folder"
                        continue
                if is_folder and real in above:
                    left_out[path] = "links to a folder that it lies in"
                elif is_folder:
                    folders.append((f"{path}/", (*above, real), by_link or is_link))
                elif item.is_file():
                    found[path.removesuffix(".png")] = signature(item.stat())
            except UnicodeEncodeError:
                left_out[os.fsencode(path).decode("utf-8", "replace")] = "its name is not UTF-8"
            except (OSError, RuntimeError) as error:
                # RuntimeError: links in a circle, before Python 3.13
                left_out[path] = _unread(error)
    return found, left_out


def signature(facts: os.stat_result) -> Signature:
    """By which a change of a file is seen."""
    return facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_dev


def _unread(error: OSError | RuntimeError) -> str:
    if isinstance(error, FileNotFoundError):
        return GONE
    return f"cannot be read ({getattr(error, 'strerror', None) or error})"
