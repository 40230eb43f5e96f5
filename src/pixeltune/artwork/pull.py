"""An artwork from the hub as files here: the PNG alone, or the whole repository's part that is ours."""

from __future__ import annotations

import os
import secrets
import shutil
import warnings
from pathlib import Path

from pixeltune.artwork.artwork import Artwork, check_name
from pixeltune.artwork.folder import ARTWORK
from pixeltune.artwork.hub import FILES, Hub
from pixeltune.artwork.hub_errors import StaleWarning
from pixeltune.errors import UserError
from pixeltune.writing import write_atomically


def pull(
    repo_id: str,
    output: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | None = None,
) -> Path:
    """Download an artwork, verify it and write it, the bytes unchanged: all of it, or nothing.

    Args:
        repo_id: "owner/name".
        output: the name of a PNG for the picture alone; else of a folder that is made, for the adapter and the card
            too, as they are in the repository.
        revision: branch, tag or commit. None: main.
        token: None: of the environment, or of ``hf auth login``.

    Returns:
        What was written.

    Raises:
        UserError: it cannot be had or is no artwork (`HubError`, `ArtworkError`), or cannot be written there.
    """
    output, hub = Path(output), Hub(token)
    try:
        if output.suffix.lower() == ".png":
            check_name(output)
            found = hub.picture(repo_id, revision)
            if found.stale:
                warnings.warn(
                    f"{found.stale}. Taken from the cache: {found.commit}", StaleWarning, stacklevel=2
                )
            png = found.png()
            Artwork.verified(repo_id, png)
            return write_atomically(output, png)
        return _folder(hub, repo_id, revision, output)
    except OSError as error:
        raise UserError(f"{output} cannot be written ({error.strerror}): give another name") from error


def _folder(hub: Hub, repo_id: str, revision: str | None, output: Path) -> Path:
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} is there already: give another name, or remove it")
    repository = hub.look(repo_id, revision)
    Artwork.verified(repo_id, hub.download(repository, ARTWORK).read_bytes())
    files = {name: hub.download(repository, name) for name in FILES if name in repository.sizes}
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = output.with_name(f".{output.name}.{secrets.token_hex(4)}.tmp")
    try:
        unfinished.mkdir()
        for name, path in files.items():
            shutil.copyfile(path, unfinished / name)
        unfinished.rename(output)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return output
