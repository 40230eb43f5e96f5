"""The thing users keep: one RGB PNG that carries its own provenance.

The pixels are what the engine gets. The provenance, JSON in the PNG's `pixeltune` text chunk, says which
frozen model they were painted for and how, and holds the SHA-256 of the decoded pixels, so that a picture
that went through a lossy hand is found out before it is served. Neither torch nor transformers is
imported here: a serving machine loads artworks too.
"""

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pixeltune.artwork.card import card, held_out
from pixeltune.artwork.folder import ARTWORK, CARD
from pixeltune.artwork.png import (
    MAX_FILE_BYTES,
    ORIGINAL,
    ArtworkError,
    decode_png,
    encode_png,
    read_texts,
)
from pixeltune.artwork.provenance import FORMAT, KEYWORD, Provenance, read_record
from pixeltune.errors import escaped, first_line
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
        if not isinstance(source, str | os.PathLike):
            raise ArtworkError(
                f"an artwork is read from a file, by its name, or from bytes, not {source!r:.60}"
            )
        if os.path.isdir(source):
            source = os.path.join(source, ARTWORK)
        try:
            with open(source, "rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)  # one too many: decode_png refuses it
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ArtworkError(f"{os.fspath(source)}: cannot read it ({reason}): check the path") from None
        try:
            return cls._parse(data)
        except ArtworkError as error:
            raise ArtworkError(f"{os.fspath(source)}: {error}") from None

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
        if self.provenance.start not in (None, *STARTS) and not self.provenance.licence:
            raise ArtworkError(
                f"painted from {self.provenance.start}, which is somebody's: say under which licence the "
                f"artwork may be passed on (Provenance.licence, --licence)"
            )
        return write_atomically(path, self.png())

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

    def push(self, repo_id: str, *, private: bool = False, token: str | None = None) -> str:
        """Upload picture and card to the Hugging Face hub; returns the address of the commit."""
        from huggingface_hub import HfApi

        with tempfile.TemporaryDirectory() as folder:
            self.save(Path(folder) / ARTWORK)
            (Path(folder) / CARD).write_text(self.card())
            api = HfApi(token=token)
            try:
                api.create_repo(repo_id, private=private, exist_ok=True)
                commit = api.upload_folder(
                    repo_id=repo_id, folder_path=folder, commit_message=f"Artwork {self.sha256[:12]}"
                )
            except Exception as error:  # the hub's, and where nobody answers those of its HTTP library
                raise ArtworkError(
                    f"{repo_id}: cannot push ({first_line(error)}): check name, token, network"
                ) from error
        return str(commit.commit_url)

    @classmethod
    def pull(cls, repo_id: str, *, revision: str | None = None, token: str | None = None) -> "Artwork":
        """Download and verify an artwork from the Hugging Face hub."""
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError

        try:
            with _without_retries_said():
                path = hf_hub_download(repo_id, ARTWORK, revision=revision, token=token)
        except (HfHubHTTPError, OSError, ValueError) as error:
            raise ArtworkError(f"{repo_id}: cannot pull ({first_line(error)}): check name, token") from error
        return cls.load(path)


def check_name(path: str | os.PathLike[str]) -> None:
    """Raises ArtworkError where a name to save an artwork under is not a PNG's, or a folder's."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ArtworkError(f"{path} must end in .png: an artwork is a PNG and nothing else")
    if path.is_dir():
        raise ArtworkError(f"{path} is a folder: give the name of a PNG")


@contextmanager
def _without_retries_said() -> Iterator[None]:
    """The hub's lines about every try are left out: that none succeeded is said once."""
    logger = logging.getLogger("huggingface_hub.utils._http")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _flat(facts: dict[str, Any]) -> str:
    return ", ".join(f"{key} {json.dumps(value)}" for key, value in facts.items())
