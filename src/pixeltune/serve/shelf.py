"""The folder of artworks behind the model names: listed at a glance, verified before first use."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path

from pixeltune.artwork.artwork import Artwork
from pixeltune.artwork.png import MAX_FILE_BYTES, ArtworkError
from pixeltune.artwork.provenance import Provenance
from pixeltune.data.placeholders import tokens_of
from pixeltune.data.placement import other_placement
from pixeltune.engines.kept_pictures import kept_name
from pixeltune.errors import UserError
from pixeltune.picture.files import data_url
from pixeltune.serve.defaults import CACHE_MIB
from pixeltune.serve.folder import GONE, Signature, look_through
from pixeltune.serve.telemetry import one_line

log = logging.getLogger("pixeltune.serve")

LOOK_AGAIN: Signature = (0,) * 5  # of no file
LOOKS = 3  # at most, one after the other, where what was found is gone before it is looked into


@dataclass(frozen=True)
class Picture:
    """A verified artwork, ready to be sent."""

    bases: tuple[str, ...]  # models it was painted for
    sha256: str  # of the pixels
    name: str  # in an engine's cache
    url: bytes  # data: URL
    tokens: tuple[str, ...]  # that stand for pictures with its model


@dataclass(frozen=True)
class ListedFile:
    """What a glance at a file tells. `error`: why it cannot be served; then the other fields may be empty."""

    signature: Signature
    base: str = ""
    task: str | None = None
    sha256: str = ""
    error: str | None = None

    @property
    def created(self) -> int:
        """Seconds since 1970 at which the file was written."""
        return self.signature[2] // 10**9


class Shelf:
    """All PNGs below a folder; `team/calls.png` is the model "team/calls".

    Names are looked up in the list of what was found, and never become part of a path.

    Args:
        folder: searched with its subfolders. It may be a link, which is followed at each look: who swaps it
            swaps the artworks. Inside, links to files and folders are followed as long as they stay below it;
            names that start with a dot are left out.
        cache_bytes: bound of the verified pictures kept in memory, least recently used ones go first.

    Raises:
        UserError: no such folder, or it cannot be read.
    """

    def __init__(self, folder: str | os.PathLike[str], cache_bytes: int = CACHE_MIB * 2**20) -> None:
        self.folder = Path(os.path.abspath(folder))
        try:
            os.scandir(self.folder).close()
        except OSError as error:
            raise UserError(
                f"{folder} cannot be read ({error.strerror}): --artworks takes the folder that holds the PNGs"
            ) from None
        self.cache_bytes = cache_bytes
        self.entries: dict[str, ListedFile] = {}
        self._kept: OrderedDict[str, tuple[Signature, Picture]] = OrderedDict()
        self._kept_bytes = 0
        self._loading: dict[str, asyncio.Lock] = {}
        self._reported: dict[str, tuple[Signature, str]] = {}
        self._left_out: dict[str, str] = {}  # paths below the folder, with the reason, which is logged once

    def find(self) -> dict[str, Signature]:
        """Names and signatures of the PNG files there are now.

        Raises:
            OSError: the folder itself cannot be read.
        """
        for _ in range(LOOKS):
            root = self.folder.resolve(strict=True)
            found, left_out = look_through(self.folder)
            gone = any(reason == GONE != self._left_out.get(path) for path, reason in left_out.items())
            if not gone and self.folder.resolve() == root:
                break  # else something was swapped and taken away under the look
        for path, reason in left_out.items():
            if self._left_out.get(path) != reason:
                log.warning("left out", extra={"path": path, "reason": reason})
        self._left_out = left_out
        return found

    def path(self, name: str) -> Path:
        """The file of a name that was found."""
        return self.folder / f"{name}.png"

    def glance(self, name: str, signature: Signature) -> ListedFile:
        """A new or changed file's entry; never raises."""
        try:
            provenance, sha256 = Artwork.peek(self.path(name))
            _check(provenance)
        except ArtworkError as error:
            return ListedFile(signature, error=one_line(error))
        except OSError as error:  # perhaps for a moment only
            return ListedFile(LOOK_AGAIN, error=_unread(error))
        return ListedFile(signature, provenance.base_model, provenance.data, sha256)

    async def refresh(self) -> None:
        """Bring the list up to date; files are read in another thread, requests see the old list so far."""
        found = await asyncio.to_thread(self.find)
        changed = {name: mark for name, mark in found.items() if self._signature(name) != mark}
        entries = {name: self.entries[name] for name in found if name in self.entries}
        for name, entry in (await asyncio.to_thread(self._glances, changed)).items():
            if entry.error is not None:
                self._report(name, changed[name], entry.error, old_one_stays=self._in_use(name))
            entries[name] = await self._replace(name, entry) if self._in_use(name) else entry
        for name in self._kept.keys() - entries.keys():
            self._drop(name)
        self._loading = {name: lock for name, lock in self._loading.items() if lock.locked()}
        self._reported = {name: told for name, told in self._reported.items() if name in entries}
        self.entries = entries

    async def _replace(self, name: str, entry: ListedFile) -> ListedFile:
        """Verify what is to take the place of a picture in use; if it is broken, the old one stays."""
        old, (_, picture) = self.entries[name], self._kept[name]
        try:
            if entry.error is None:
                picture = await asyncio.to_thread(self._load, name)
        except (ArtworkError, OSError) as error:
            gone = isinstance(error, OSError)
            reason = _unread(error) if isinstance(error, OSError) else one_line(error)
            self._report(name, entry.signature, reason, old_one_stays=True)
            entry = ListedFile(LOOK_AGAIN if gone else entry.signature, error=reason)
        self._keep(name, entry.signature, picture)  # even the old one: so that this is reported once
        return entry if entry.error is None else replace(old, signature=entry.signature)

    async def picture(self, name: str) -> Picture:
        """The verified artwork of an entry.

        Raises:
            ArtworkError: the file is broken.
            KeyError: there is no such entry (any more).
        """
        entry = self.entries[name]
        kept = self._kept.get(name)
        if kept is None or kept[0] != entry.signature:
            async with self._loading.setdefault(name, asyncio.Lock()):  # one reader, many waiters
                kept = self._kept.get(name)
                if kept is None or kept[0] != entry.signature:
                    if entry.error is not None:
                        raise ArtworkError(entry.error)
                    try:
                        kept = (entry.signature, await asyncio.to_thread(self._load, name))
                    except OSError as error:
                        self._report(name, entry.signature, _unread(error), old_one_stays=False)
                        raise ArtworkError(_unread(error)) from None
                    except ArtworkError as error:
                        self._report(name, entry.signature, one_line(error), old_one_stays=False)
                        self.entries[name] = ListedFile(entry.signature, error=one_line(error))
                        raise
                    self._keep(name, *kept)
        if name in self._kept:
            self._kept.move_to_end(name)
        return kept[1]

    def _report(self, name: str, signature: Signature, reason: str, *, old_one_stays: bool) -> None:
        """Log why a file cannot be served; once, not at each look."""
        if self._reported.get(name) != (signature, reason):
            extra = {"artwork": name, "reason": reason, "old_one_stays": old_one_stays}
            log.error("artwork cannot be served", extra=extra)
        self._reported[name] = (signature, reason)

    def _in_use(self, name: str) -> bool:
        return name in self._kept and name in self.entries

    def _signature(self, name: str) -> Signature | None:
        entry = self.entries.get(name)
        return entry.signature if entry else None

    def _glances(self, changed: dict[str, Signature]) -> dict[str, ListedFile]:
        return {name: self.glance(name, mark) for name, mark in changed.items()}

    def _load(self, name: str) -> Picture:
        with self.path(name).open("rb") as file:
            png = file.read(MAX_FILE_BYTES + 1)
        artwork = Artwork.load(png)
        _check(artwork.provenance)
        facts = artwork.provenance
        tokens = tokens_of(facts.image_processor, *facts.also)
        url = data_url(png).encode()
        return Picture(tuple(facts.bases), artwork.sha256, kept_name(url), url, tokens)

    def _keep(self, name: str, signature: Signature, picture: Picture) -> None:
        self._drop(name)
        self._kept[name] = (signature, picture)
        self._kept_bytes += len(picture.url)
        while self._kept_bytes > self.cache_bytes and len(self._kept) > 1:
            self._drop(next(iter(self._kept)))

    def _drop(self, name: str) -> None:
        if name in self._kept:
            self._kept_bytes -= len(self._kept.pop(name)[1].url)


def _check(provenance: Provenance) -> None:
    if other := other_placement(provenance.placement):
        raise ArtworkError(other)


def _unread(error: OSError) -> str:
    return f"cannot read it ({error.strerror})"
