"""What is compared: a picture, words, examples, weights of PEFT, or nothing, in front of the same rows."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pixeltune.artwork.artwork import Artwork
from pixeltune.artwork.folder import ARTWORK
from pixeltune.artwork.png import OTHER_SUFFIXES, encode_png
from pixeltune.data.instruction import read_instruction
from pixeltune.data.messages import Message, join
from pixeltune.data.placeholders import tokens_of
from pixeltune.errors import UserError
from pixeltune.errors.checking import several
from pixeltune.picture.files import BACKDROP, STARTS, data_url
from pixeltune.tasks.base import Task, find_rows, find_task, name_of

SPECS = (
    "off, start, best, few-shot:K, prompt:FILE, adapter:FOLDER, model:NAME, an artwork.png, a run's folder"
)
MAX_SHOTS = 64
_NO_BRACES = str.maketrans("", "", "{}")


@dataclass(frozen=True)
class Candidate:
    """One way of asking the same frozen model."""

    name: str
    """As it was given, a path (of a run, its folder's) shortened to its last part, or to as many as tell it from
    the others."""
    kind: str
    """off, picture, words, few-shot, adapter or model."""
    picture: Any = None
    """PIL picture in front of every request, None for none."""
    artwork: Artwork | None = None
    """Whose picture that is, if it is one's."""
    told: tuple[Message, ...] = ()
    """Messages in front of every request."""
    best: bool = False
    """Whether it is told each task's own instruction."""
    shots: int = 0
    """Rows of the train split shown as examples."""
    source: str = ""
    """Folder of a PEFT adapter, or another name that the engine serves."""
    path: str = ""
    """File or folder that it is named after, if it is."""
    label: str = "{}"
    """What its name is, around a part of that path."""
    tokens: tuple[str, ...] = ()
    """Of a picture: what stands for pictures in texts of the model it was painted for."""

    def head(self, task: str | Task, folder: str | Path | None, seed: int) -> list[Message]:
        """What stands in front of every request of a task.

        Args:
            task: a name, perhaps with a category, or a task.
            folder: the task's data, None for the hub.
            seed: of the examples' draw.

        Raises:
            ValueError: the task has no train split to take examples from, or no answers in it.
        """
        if self.best:
            if not (instruction := find_task(task).instruction):
                raise UserError(
                    f"{name_of(task)} knows no best prompt: use prompt:FILE in place of {self.name}"
                )
            return [{"role": "system", "content": instruction}]
        if self.shots:
            return self.examples(find_rows(task, "train", self.shots, seed, folder), name_of(task))
        return list(self.told)

    def examples(self, rows: list[dict], name: str) -> list[Message]:
        """The first ``shots`` of these rows as turns of a conversation.

        Args:
            rows: with ``completion``.
            name: where they are from, for the message.

        Raises:
            UserError: they have no answers, or pictures.
        """
        rows = rows[: self.shots]
        if not all(row.get("completion") for row in rows):
            raise UserError(f"{name} has no reference answers to show: leave {self.name} out")
        if any(row.get("images") for row in rows):
            raise UserError(f"{name} asks about pictures, examples are words: leave {self.name} out")
        return [message for row in rows for message in _example(row)]

    def data_url(self) -> str | None:
        """The picture as an engine takes it: the PNG's own bytes do not matter, its pixels do."""
        if self.picture is None:
            return None
        return data_url(encode_png(np.asarray(self.picture), {}))

    def identity(self) -> dict:
        """What makes it what it is, as JSON: the same identity on the same rows means the same evaluation."""
        files = sorted(Path(self.source).glob("adapter_*")) if self.kind == "adapter" else []
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest() if files else None
        pixels = hashlib.sha256(self.picture.tobytes()).hexdigest() if self.picture is not None else None
        source = self.source if self.kind == "model" else None
        return {
            "kind": self.kind,
            "pixels": pixels,
            "told": list(self.told),
            "best": self.best,
            "shots": self.shots,
            "weights": digest,
            "model": source,
        }


def candidates(specs: str | Path | Sequence[str | Path], engine: bool) -> list[Candidate]:
    """What the words of ``--compare`` stand for.

    Args:
        specs: each one of `SPECS`, or one alone. "start" is the picture that the first artwork was painted from, as
            ``start:FILE`` where that was a file.
        engine: whether an engine answers; then there are no adapters, else no other served names.

    Raises:
        UserError: there is none, or one is unknown, cannot be read, or is there twice.
    """
    specs = [_spec(one) for one in several("compare", specs)]
    artworks = {spec: Artwork.load(path) for spec in specs if (path := _path(spec))}
    field, seen = [_candidate(spec, artworks, engine) for spec in specs], set()
    for one, spec in zip(field, specs, strict=True):
        it = one.label, os.path.realpath(_path(spec) or one.path) if one.path else one.name
        if it in seen:
            raise UserError(f"{spec} is there twice: give every candidate once")
        seen.add(it)
    return _told_apart(field)


def _spec(given: Any) -> str:
    """
    Raises:
        UserError: it is neither a text nor a path.
    """
    if isinstance(given, Artwork):
        raise UserError("compare takes names and paths, not an Artwork: save it, and name the PNG")
    if not isinstance(given, str | os.PathLike):
        raise UserError(f"compare has {given!r:.60} in it: give {SPECS}")
    return os.fspath(given)


def reference(field: Sequence[Candidate]) -> str:
    """The name of the one that the others are compared with: the first artwork, else the first."""
    return next((one.name for one in field if one.artwork is not None), field[0].name)


def _told_apart(field: list[Candidate]) -> list[Candidate]:
    """Files that have one name, as every run's artwork.png, are called by more of their path."""
    parts = 1
    while len({one.name for one in field}) < len(field):
        names, parts = [one.name for one in field], parts + 1
        field = [
            replace(one, name=_named(one.label, one.path, parts))
            if one.path and names.count(one.name) > 1
            else one
            for one in field
        ]
    return field


def _named(label: str, path: str, parts: int = 1) -> str:
    return label.format("/".join(Path(path).absolute().parts[-parts:]))


def _candidate(spec: str, artworks: dict[str, Artwork], engine: bool) -> Candidate:
    kind, _, rest = spec.partition(":")
    if spec in artworks:
        artwork, path = artworks[spec], spec.removeprefix("artwork:")
        tokens = tokens_of(artwork.provenance.image_processor, *artwork.provenance.also)
        return Candidate(_named("{}", path), "picture", artwork.image, artwork, tokens=tokens, path=path)
    if spec == "off":
        return Candidate(spec, "off")
    if spec == "best":
        return Candidate(spec, "words", best=True)
    if kind == "start":
        return Candidate("start", "picture", start_of(next(iter(artworks.values()), None), rest))
    if kind == "few-shot":
        if not rest.isdigit() or not 1 <= int(rest) <= MAX_SHOTS:
            raise UserError(f"{spec!r}: say how many examples, 1 to {MAX_SHOTS}: few-shot:4")
        return Candidate(spec, "few-shot", shots=int(rest))
    if kind == "prompt" and rest:
        told, label = tuple(read_instruction(rest)), "prompt:{}"
        return Candidate(_named(label, rest), "words", told=told, path=rest, label=label)
    if kind == "adapter" and rest:
        return _adapter(rest, engine)
    if kind == "model" and rest:
        if not engine:
            raise UserError(f"{spec!r} is a name on an engine: give its address with --engine")
        return Candidate(spec, "model", source=rest)
    if Path(spec).is_dir():
        raise UserError(f"{spec} holds no {ARTWORK}: is it a run's folder, and is the run finished?")
    raise UserError(f"{spec!r} is nothing to compare: give {SPECS}")


def _path(spec: str) -> str | None:
    """The file of an artwork's spec, a PNG or a run's folder; None if the spec is of something else."""
    if spec.startswith("artwork:"):
        return spec.removeprefix("artwork:")
    if (Path(spec) / ARTWORK).is_file():
        return str(Path(spec) / ARTWORK)
    # Other pictures too: what is wrong with them is said where artworks are read.
    is_picture = spec.lower().endswith((".png", *OTHER_SUFFIXES))
    return spec if is_picture and not spec.startswith(("start:", "prompt:")) else None


def start_of(artwork: Artwork | None, file: str) -> Any:
    """The picture that an artwork was painted from, rendered once more."""
    if artwork is None:
        raise UserError("start is the picture an artwork began as: name the artwork as well")
    start = file or artwork.provenance.start
    if not file and start not in STARTS:
        raise UserError(f"the artwork was painted from {start}: say where that is with start:FILE")
    from PIL import Image

    from pixeltune.picture.canvas import Canvas, start_picture

    seed, made = artwork.provenance.seed, artwork.provenance.training
    if seed is None and start == "noise":
        raise UserError(
            "the artwork began as noise and does not say of which seed, so nobody can tell its start picture: "
            "if you kept that as a file, say so with start:FILE (mix: --start FILE)"
        )
    fitted = made.get("backdrop", BACKDROP), made.get("fit", "stretch")
    return Image.fromarray(Canvas(start_picture(start, *artwork.size, seed or 0, *fitted)).to_uint8())


def _adapter(folder: str, engine: bool) -> Candidate:
    if engine:
        raise UserError("an engine loads adapters itself: serve it there and compare model:NAME")
    path = Path(folder) / "adapter_config.json"
    if not path.is_file():
        raise UserError(f"{folder} is no PEFT adapter: it has no adapter_config.json")
    try:
        kind = json.loads(path.read_bytes())["peft_type"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {error!r}") from error
    label = f"{{}} ({str(kind).translate(_NO_BRACES)})"
    return Candidate(_named(label, folder), "adapter", source=folder, path=folder, label=label)


def _example(row: dict) -> list[Message]:
    """A row as turns of a conversation; tools of its own are told in the user's words.

    The tools of a request hold for all of it, and an example's are not those of the question asked.
    """
    *before, last = row["prompt"]
    if row.get("tools"):
        told = {"role": "user", "content": f"Tools on offer: {row['tools']}"}
        last = {**last, "content": join(told, last)}
    return [*before, last, *row["completion"]]
