"""Pictures that a row or a request brings along, beside the artwork: a chart, a screenshot, a photograph.

In a row they stand in TRL's column ``images``, as PIL pictures or paths; in a conversation as image parts.
Files are read as `pixeltune.picture.files` reads a start: upright, opaque, 8 bits. An engine is sent the
result as PNG, so that it sees what the model in this process sees.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from pixeltune.data.messages import Message
from pixeltune.data.origin import origin
from pixeltune.errors import UserError
from pixeltune.picture.files import data_url, opaque, read_colour, read_picture

MAX_PICTURES = 16
"""Of one row."""

MIN_SIDE = 4
"""Of a picture, in pixels: transformers takes a side of 1 or 3 for channels of colour, and guesses."""

GROUND = "white"
"""What transparent parts stand on."""


def attach(messages: list[Message], images: list[Any]) -> list[Message]:
    """A conversation with its pictures in front of the first user message, where TRL puts them, too.

    Args:
        messages: contents are texts or lists of parts. Not modified.
        images: PIL pictures or paths.

    Raises:
        ValueError: there is no user message.
    """
    for number, message in enumerate(messages):
        if message["role"] == "user":
            content = [{"type": "image", "image": image} for image in images]
            said = message["content"]
            content += said if isinstance(said, list) else [{"type": "text", "text": said}]
            return [*messages[:number], {**message, "content": content}, *messages[number + 1 :]]
    raise UserError("the conversation has no user message, so there is no place for its pictures")


def attached(messages: list[Message]) -> list[Image.Image]:
    """The pictures of a conversation, in order.

    Raises:
        ValueError: a file cannot be read.
    """
    parts = [message["content"] for message in messages if isinstance(message.get("content"), list)]
    return [opened(part["image"]) for content in parts for part in content if _is_picture(part)]


def opened(image: Any) -> Image.Image:
    """A PIL picture or a path as RGB.

    Raises:
        ValueError: the file cannot be read, or is too large.
    """
    if isinstance(image, Image.Image):
        return opaque(image, read_colour(GROUND))
    return read_picture(str(image), "row's", GROUND)


def as_urls(messages: list[Message]) -> list[Message]:
    """The conversation as an OpenAI-compatible engine takes it, every picture a data URL of a PNG."""
    return _each_picture(
        messages, lambda image: {"type": "image_url", "image_url": {"url": data_url(_png(image))}}
    )


def sha256(image: Any) -> str:
    """Of the RGB values of a PIL picture or a path."""
    return hashlib.sha256(opened(image).tobytes()).hexdigest()


def as_record(messages: list[Message]) -> list[Message]:
    """The conversation as JSON: for every picture the SHA-256 of its RGB values and its size."""

    def described(image: Any) -> dict[str, Any]:
        picture = opened(image)
        return {"type": "image", "sha256": sha256(picture), "size": list(picture.size)}

    return _each_picture(messages, described)


def place_pictures(rows: list[dict], stand_in: Image.Image) -> list[dict]:
    """Training rows whose ``images`` are the artwork's stand-in, then their own, as `datasets.Image` stores
    them.

    Args:
        rows: ``images`` are PIL pictures or paths; a row may have none.
        stand_in: any picture of the artwork's size; the adapter shows the model the live one in its place.
    """
    artwork = {"bytes": _png(stand_in), "path": None}
    return [
        {**row, "images": [artwork, *({"bytes": _png(i), "path": None} for i in row.get("images") or [])]}
        for row in rows
    ]


def check(images: object, folder: Path, where: str) -> list[str]:
    """The pictures of a line in a JSONL file, as paths that can be read.

    Args:
        images: what the line says: paths, relative to the file.
        folder: where the file is.
        where: file and line, for messages.

    Raises:
        ValueError: naming the line and what to mend.
    """
    if not isinstance(images, list) or not all(isinstance(name, str) and name for name in images):
        raise UserError(f'{where}: images must be a list of picture files, ["chart.png", ...]')
    if len(images) > MAX_PICTURES:
        raise UserError(f"{where}: {len(images)} pictures, more than {MAX_PICTURES}")
    paths = [str(folder / name) for name in images]
    for path in paths:
        try:
            opened(path)
        except ValueError as error:
            raise UserError(f"{where}: {error}") from error
    return paths


def check_pictures(
    rows: Iterable[dict], take: Callable[[Image.Image], object]
) -> list[list[tuple[int, int]]]:
    """Refuse rows with a picture that the model's processor cannot take, or has to guess at (`MIN_SIDE`).

    Args:
        rows: of a file or a task, whose ``images`` are PIL pictures or paths.
        take: called with every picture, RGB; raises a `UserError` for one that cannot be taken.

    Returns:
        By row, the size of each of its pictures, (height, width).

    Raises:
        UserError: naming the row and the picture.
    """
    sizes: list[list[tuple[int, int]]] = []
    for number, row in enumerate(rows):
        sizes.append([])
        for place, image in enumerate(row.get("images") or [], start=1):
            try:
                _check_sides(picture := opened(image))
                take(picture)
                sizes[-1].append((picture.height, picture.width))
            except UserError as error:
                name = f"picture {place}" if isinstance(image, Image.Image) else str(image)
                raise UserError(f"{origin(row, number)}: {name}: {error}") from error
    return sizes


def _check_sides(picture: Image.Image) -> None:
    """
    Raises:
        UserError: one is shorter than `MIN_SIDE`.
    """
    if min(picture.size) < MIN_SIDE:
        raise UserError(
            f"{picture.height}x{picture.width} pixels (height x width) are too few, each side needs {MIN_SIDE}: "
            "enlarge or pad the picture, or leave its row out"
        )


def _is_picture(part: Message) -> bool:
    return part.get("type") == "image" and "image" in part


def _each_picture(messages: list[Message], change: Any) -> list[Message]:
    return [
        {**message, "content": [change(p["image"]) if _is_picture(p) else p for p in message["content"]]}
        if isinstance(message.get("content"), list)
        else message
        for message in messages
    ]


def _png(image: Any) -> bytes:
    file = io.BytesIO()
    opened(image).save(file, format="PNG")
    return file.getvalue()
