"""Artworks of the Hugging Face hub behind model names: verified at the start, each served at one commit."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from pixeltune.artwork.artwork import Artwork
from pixeltune.artwork.hub import Hub
from pixeltune.artwork.hub_errors import HubError, Unreachable
from pixeltune.artwork.png import ArtworkError
from pixeltune.errors import UserError
from pixeltune.serve.defaults import CACHE_MIB
from pixeltune.serve.folder import Signature, signature
from pixeltune.serve.shelf import Shelf
from pixeltune.serve.telemetry import one_line

log = logging.getLogger("pixeltune.serve")

SCHEME = "hf://"
MAX_ITEMS = 1000  # of a collection
_NAME = r"(?![.-])[\w.-]{1,96}"
_REPOSITORY = re.compile(rf"(?!collections/)({_NAME}/{_NAME})(?:@(.+))?", re.ASCII)
_COLLECTION = re.compile(rf"collections/({_NAME}/{_NAME})", re.ASCII)


def open_shelf(artworks: str | os.PathLike[str], cache_bytes: int = CACHE_MIB * 2**20) -> Shelf:
    """The shelf of a folder, or of an address on the hub.

    Raises:
        UserError: there is no such folder, or the hub does not give the artworks.
    """
    on_hub = isinstance(artworks, str) and artworks.startswith(SCHEME)
    return HubShelf(artworks, cache_bytes) if on_hub else Shelf(artworks, cache_bytes)  # type: ignore[arg-type]


class HubShelf(Shelf):
    """The artwork of a repository, or those of a collection; `owner/name` is the model "owner/name".

    They are downloaded into the hub's cache and verified here, and stay at these commits whatever becomes of
    branches meanwhile. Where the hub cannot be reached, those are served that were downloaded the last time.

    Args:
        address: ``hf://owner/name``, with ``@revision`` if it is not main, of one repository, or
            ``hf://collections/owner/name``, of whose items those that hold no artwork are left out.
        cache_bytes: bound of the verified pictures kept in memory.

    Raises:
        UserError: it is no such address, the hub does not give it, or there is no artwork.
    """

    def __init__(self, address: str, cache_bytes: int = CACHE_MIB * 2**20) -> None:
        self.paths: dict[str, Path] = {}  # in the hub's cache, by names
        self.commits: dict[str, str] = {}
        self.stale: dict[str, str] = {}  # names, and why the hub was not asked
        self.not_served: dict[str, str] = {}  # items of a collection, and why
        self._told = False
        hub, where = Hub(), address.removeprefix(SCHEME)
        if match := _REPOSITORY.fullmatch(where):
            self._add(hub, *match.groups())
        elif match := _COLLECTION.fullmatch(where):
            self._add_all(hub, match[1])
        else:
            raise UserError(
                f"--artworks {address}: give hf://owner/name, hf://owner/name@revision or "
                "hf://collections/owner/name"
            )
        super().__init__(next(iter(self.paths.values())).parent, cache_bytes)

    def find(self) -> dict[str, Signature]:
        """Names and signatures of the files, as long as they are in the cache."""
        if not self._told:  # here, because the log is ready when the shelf is first looked at
            self._tell()
        found = {}
        for name, path in self.paths.items():
            try:
                found[name] = signature(path.stat())
            except OSError as error:
                if self._left_out.get(name) != str(error):
                    log.warning("left out", extra={"path": name, "reason": str(error)})
                self._left_out[name] = str(error)
        return found

    def path(self, name: str) -> Path:
        """The file of a name that was found."""
        return self.paths[name]

    def _add(self, hub: Hub, name: str, revision: str | None = None) -> None:
        found = hub.picture(name, revision)
        Artwork.verified(name, found.png())
        self.paths[name], self.commits[name] = found.path, found.commit
        if found.stale:
            self.stale[name] = found.stale

    def _add_all(self, hub: Hub, slug: str) -> None:
        items = hub.collection(slug)
        if len(items) > MAX_ITEMS:
            raise UserError(
                f"collection {slug} has {len(items):,} items, and at most {MAX_ITEMS:,} are served"
            )
        for kind, name in items:
            if kind != "model":
                self.not_served[name] = f"is a {kind}; artworks are in model repositories"
                continue
            try:
                self._add(hub, name)
            except Unreachable:  # may be one, and its absence would show in requests only
                raise
            except (HubError, ArtworkError) as error:
                self.not_served[name] = one_line(error)
        if not self.paths:
            why = "; ".join(f"{name}: {reason}" for name, reason in list(self.not_served.items())[:2])
            raise UserError(f"collection {slug} has no artwork ({why or 'it is empty'}): check its name")

    def _tell(self) -> None:
        for name, commit in self.commits.items():
            log.info("artwork from the hub", extra={"artwork": name, "commit": commit})
        for name, reason in self.stale.items():
            log.warning("taken from the hub's cache", extra={"artwork": name, "reason": reason})
        for name, reason in self.not_served.items():
            log.warning("left out", extra={"path": name, "reason": reason})
        self._told = True
