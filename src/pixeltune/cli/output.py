"""Where a verb may write its PNG: over nothing but an artwork of ours that it was not made from."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from pixeltune.artwork.artwork import Artwork, check_name
from pixeltune.artwork.folder import ARTWORK
from pixeltune.artwork.png import ArtworkError
from pixeltune.errors import UserError


def check_output(output: str | Path, inputs: Iterable[str | Path] = ()) -> None:
    """
    Args:
        output: what ``--output`` says.
        inputs: PNGs, and runs' folders, that the verb reads.

    Raises:
        UserError: it is no PNG's name, cannot be written, or what is there now would be lost.
    """
    output = Path(output)
    try:
        check_name(output)
    except ArtworkError as error:
        raise UserError(f"--output {error}") from error
    if not output.exists():
        _check_writable(output)
        return
    for given in map(Path, inputs):
        read = given / ARTWORK if given.is_dir() else given
        if read.exists() and read.samefile(output):
            raise UserError(f"--output {output} is {given}, which is read: give another name")
    try:
        Artwork.peek(output)
    except ArtworkError as error:
        raise UserError(
            f"--output {output} is there already and no artwork of pixeltune: give another name, or remove it"
        ) from error
    _check_writable(output)


def _check_writable(output: Path) -> None:
    """
    Raises:
        UserError: no file can be made in its folder, or in the one in which that folder would be made.
    """
    folder = next(one for one in output.absolute().parents if one.exists())
    try:
        # Tried, because root may write everywhere by permission, and yet not in /proc or on a read-only disk.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"--output {output} cannot be written, {folder}: {error.strerror}. Give another name"
        ) from error
