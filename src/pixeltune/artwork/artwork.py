"""The thing users keep: one RGB PNG that carries its own provenance.

The pixels are what the engine gets. The provenance, JSON in the PNG's `pixeltune` text chunk, says which
frozen model they were painted for and how, and holds the SHA-256 of the decoded pixels, so that a picture
that went through a lossy hand is found out before it is served. Neither torch nor transformers is
imported here: a serving machine loads artworks too.
"""

import hashlib
import json
import os
import warnings
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pixeltune.artwork.adapter_files import adapter_files
from pixeltune.artwork.card import card, held_out
from pixeltune.artwork.folder import ARTWORK, CARD
from pixeltune.artwork.hub import Hub
from pixeltune.artwork.hub_errors import StaleWarning
from pixeltune.artwork.png import (
    MAX_FILE_BYTES,
    ORIGINAL,
    ArtworkError,
    decode_png,
    encode_png,
    read_texts,
)
from pixeltune.artwork.provenance import FORMAT, KEYWORD, Provenance, read_record
from pixeltune.errors import escaped
from pixeltune.picture.files import STARTS, data_url
from pixeltune.writing import write_atomically


@dataclass(frozen=True, eq=False)
class Artwork:
    """Pixels, uint8 (H, W, 3), read-only, with their provenance."""

    pixels: np.ndarray
    provenance: Provenance

    def __post_init__(self) -> None:
        shape: tuple[int, ...] = getattr(self.pixels, "shape", ())
        dtype = getattr(self.pixels, "dtype", None)
        if dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise ArtworkError(f"an artwork's pixels are uint8 (height, width, 3), not {dtype} {shape}")
        pixels = np.array(self.pixels, order="C")
        pixels.flags.writeable = False
        object.__setattr__(self, "pixels", pixels)

    @classmethod
    def load(cls, source: str | os.PathLike[str] | bytes) -> "Artwork":
        """Read a PNG file, its bytes, or the one of a run's folder, and verify it against its own provenance.

        Raises ArtworkError, one line with the remedy, for a file that is missing, corrupt, truncated,
        oversized, no 8-bit RGB PNG, without provenance, or whose pixels are not the painted ones.
        """
        if isinstance(source, bytes):
            return cls._parse(source)
        return cls.verified(file_name(source), read_png(source))

    @classmethod
    def _parse(cls, data: bytes) -> "Artwork":
        pixels, texts = decode_png(data)
        provenance, size, sha256 = read_record(texts)
        artwork = cls(pixels, provenance)
        if size != list(artwork.size):
            raise ArtworkError(
                f"picture is {artwork.size[0]}x{artwork.size[1]} (height x width) but was painted as "
                f"{size[0]}x{size[1]}: it was resized; {ORIGINAL}"
            )
        if sha256 != artwork.sha256:
            raise ArtworkError(f"pixels are not the painted ones (SHA-256 differs): {ORIGINAL}")
        return artwork

    @staticmethod
    def peek(path: str | os.PathLike[str]) -> tuple[Provenance, str]:
        """Provenance of a PNG file and the SHA-256 it claims for its pixels, which are *not* verified.

        For listing many artworks; `load` before use. Raises ArtworkError, or OSError where it cannot be read.
        """
        with open(path, "rb") as file:
            provenance, _, sha256 = read_record(read_texts(file))
        return provenance, sha256

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the PNG atomically: at `path` stands the old file or the whole new one, never a half.

        Raises ArtworkError where the name is not a PNG's or a folder's, or where it was painted from a picture
        file and nobody says under which licence.
        """
        check_name(path)
        self._check_licence()
        return write_atomically(path, self.png())

    def _check_licence(self) -> None:
        if self.provenance.start not in (None, *STARTS) and not self.provenance.licence:
            raise ArtworkError(
                f"painted from {self.provenance.start}, which is somebody's: say under which licence the "
                f"artwork may be passed on (Provenance.licence, --licence)"
            )

    def png(self) -> bytes:
        """The PNG file's bytes; equal artworks give equal bytes."""
        return self._png

    @cached_property
    def _png(self) -> bytes:
        record = asdict(self.provenance) | {
            "format": FORMAT,
            "size": list(self.size),
            "pixels_sha256": self.sha256,
        }
        try:
            text = json.dumps(record, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ArtworkError(f"provenance is not plain JSON ({error}): use numbers and strings") from None
        return encode_png(self.pixels, {KEYWORD: text})

    def data_url(self) -> str:
        """The PNG as a `data:` URL, for the `image_url` of a chat request."""
        return data_url(self.png())

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @cached_property
    def sha256(self) -> str:
        """Hex SHA-256 of the decoded RGB bytes, row by row."""
        return hashlib.sha256(self.pixels.tobytes()).hexdigest()

    @property
    def image(self) -> Image.Image:
        """A Pillow RGB image of the pixels."""
        return Image.fromarray(self.pixels)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Artwork):
            return NotImplemented
        return self.provenance == other.provenance and np.array_equal(self.pixels, other.pixels)

    def __repr__(self) -> str:
        p, (height, width) = self.provenance, self.size
        facts = [f"{height}x{width}", f"{p.image_tokens} image tokens", f"for {p.base_model}"]
        facts += [f"on {p.data}"] if p.data else []
        facts += [f"held-out score {score:.1%}"] if (score := held_out(p.scores)) is not None else []
        return f"Artwork({', '.join(map(escaped, facts))})"

    def _repr_png_(self) -> bytes:
        """The picture, as notebooks show it."""
        return self.png()

    def describe(self) -> list[tuple[str, str]]:
        """(label, value) pairs for people, facts that are not known left out."""
        p = self.provenance
        facts = {
            "base model": p.base_model + (f" @ {p.revision}" if p.revision else ""),
            "base weights": p.base_sha256,
            "also painted for": ", ".join(p.bases[1:]),
            "size": f"{self.size[0]} x {self.size[1]} (height x width), {p.image_tokens} image tokens",
            "placement": p.placement,
            "processor": _flat(p.processor),
            "chat template": p.template_sha256,
            "objective": p.objective,
            "data": p.data,
            "start": p.start,
            "bound": "none" if p.bound is None else f"{p.bound * 255:g} grey levels around the start picture",
            "steps": p.steps,
            "seed": p.seed,
            "training": _flat(p.training),
            "scores": _flat(p.scores),
            "pixels": f"sha256 {self.sha256}",
            "licence": p.licence,
            "created": p.created,
            "pixeltune": p.pixeltune,
        }
        return [(label, str(value)) for label, value in facts.items() if value not in (None, "")]

    def card(self) -> str:
        """README.md for the hub and for a run: what it is for, scores, how to send it, provenance."""
        return card(self.provenance, self.describe())

    def push_to_hub(
        self,
        repo_id: str,
        *,
        adapter: str | os.PathLike[str] | None = None,
        commit_message: str | None = None,
        private: bool | None = None,
        revision: str | None = None,
        token: str | None = None,
    ) -> str:
        """Upload picture and card to the Hugging Face hub in one commit, as `push_to_hub` of transformers does.

        Args:
            repo_id: "owner/name", or a name alone of the user's own. It is made where there is none.
            adapter: folder of the run or checkpoint whose adapter goes along, for PEFT; None: without one.
            commit_message: None: with the beginning of the picture's hash.
            private: of a repository that is made; None: what is usual for its owner.
            revision: branch, made where there is none; None: main.
            token: None: of the environment, or of ``hf auth login``.

        Returns:
            The address of the commit.

        Raises:
            UserError: one line with the remedy (`HubError`: what the hub refuses; `ArtworkError`: what is not fit
                to be given away).
        """
        self._check_licence()
        files: dict[str, bytes | Path] = {ARTWORK: self.png(), CARD: self.card().encode()}
        if adapter is not None:
            files |= adapter_files(adapter, self.provenance, self.size)
        message = commit_message or f"Artwork {self.sha256[:12]}"
        return Hub(token).commit(repo_id, files, message=message, private=private, revision=revision)

    @classmethod
    def from_hub(cls, repo_id: str, *, revision: str | None = None, token: str | None = None) -> "Artwork":
        """Download an artwork from the Hugging Face hub, and verify it as `load` does.

        Where the hub cannot be reached it is the one that was downloaded the last time, with a `StaleWarning`.

        Args:
            repo_id: "owner/name".
            revision: branch, tag or commit. None: main.
            token: None: of the environment, or of ``hf auth login``.

        Raises:
            UserError: one line with the remedy (`HubError`: it cannot be had; `ArtworkError`: it is no artwork).
        """
        found = Hub(token).picture(repo_id, revision)
        if found.stale:
            warnings.warn(f"{found.stale}. Taken from the cache: {found.commit}", StaleWarning, stacklevel=2)
        return cls.verified(repo_id, found.png())

    @classmethod
    def verified(cls, name: str, png: bytes) -> "Artwork":
        """The artwork in the bytes of a PNG, verified as `load` does.

        Raises:
            ArtworkError: it is none, or was changed; the message begins with the name.
        """
        try:
            return cls._parse(png)
        except ArtworkError as error:
            raise ArtworkError(f"{name}: {error}") from None


def read_png(source: str | os.PathLike[str] | bytes) -> bytes:
    """A PNG file's bytes, or those of a run's folder; a file that is too large is read to a byte too many.

    Raises ArtworkError where there is none to read.
    """
    if isinstance(source, bytes):
        return source
    name = file_name(source)
    try:
        with open(name, "rb") as file:
            return file.read(MAX_FILE_BYTES + 1)  # one too many: decode_png refuses it
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ArtworkError(f"{name}: cannot read it ({reason}): check the path") from None


def file_name(source: str | os.PathLike[str]) -> str:
    """Of a PNG, or of the one in a run's folder.

    Raises ArtworkError for what is no name.
    """
    if not isinstance(source, str | os.PathLike):
        raise ArtworkError(f"an artwork is read from a file, by its name, or from bytes, not {source!r:.60}")
    return os.fspath(os.path.join(source, ARTWORK) if os.path.isdir(source) else source)


def check_name(path: str | os.PathLike[str]) -> None:
    """Raises ArtworkError where a name to save an artwork under is not a PNG's, or a folder's."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ArtworkError(f"{path} must end in .png: an artwork is a PNG and nothing else")
    if path.is_dir():
        raise ArtworkError(f"{path} is a folder: give the name of a PNG")


def _flat(facts: dict[str, Any]) -> str:
    return ", ".join(f"{key} {json.dumps(value)}" for key, value in facts.items())
