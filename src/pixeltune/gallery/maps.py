"""Which parts of an artwork matter to the model: for each square that becomes one image token.

Two answers to it, both about the completions that the model gives with the artwork in place, each row's text
held fixed. *Occlusion* (Zeiler and Fergus, 2014): how much less likely a completion is when the square shows
the start picture. *Gradient*: how steeply its likelihood changes with the square's pixels.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pixeltune.artwork.artwork import Artwork
from pixeltune.artwork.folder import MAPS
from pixeltune.artwork.provenance import Provenance
from pixeltune.data.placement import place_image
from pixeltune.errors import UserError
from pixeltune.gallery.untrusted import number, read_json
from pixeltune.writing import write_atomically

CHUNK = 8
"""Pictures in one forward pass."""

MAX_CELLS = 16_384


@dataclass(frozen=True)
class TokenMaps:
    """Maps of one artwork, lists of rows of squares."""

    pixels_sha256: str
    """Of the artwork."""
    task: str
    rows: int
    """How many completions were looked at."""
    cell: int
    """Side of a square, pixels."""
    occluded_with: str
    """What a square showed instead: "start" or "grey"."""
    gradient: list[list[float]]
    """Root mean square of the gradient over a square's values: nats of a completion per unit of [0, 1]."""
    occlusion: list[list[float]]
    """Nats by which a completion becomes less likely, mean over rows; negative where it becomes likelier."""
    whole: float
    """The same where all squares are occluded at once."""


def read_maps(folder: Path, artwork: Artwork) -> TokenMaps:
    """Maps that were stored in a run's folder.

    Raises:
        ValueError: there are none, or they are broken or of another artwork.
    """
    record = read_json(folder / MAPS, 2**24)
    try:
        maps = TokenMaps(**record)
        texts = (maps.pixels_sha256, maps.task, maps.occluded_with)
        counts = (maps.rows, maps.cell)
        if {type(t) for t in texts} != {str} or {type(n) for n in counts} != {int} or maps.cell < 1:
            raise ValueError
        if number(maps.whole) is None:
            raise ValueError
        shape = (artwork.size[0] // maps.cell, artwork.size[1] // maps.cell)
        for grid in (maps.gradient, maps.occlusion):
            values = [number(value) for row in grid for value in row]
            if (len(grid), len(values)) != (shape[0], shape[0] * shape[1]) or None in values:
                raise ValueError
            if {len(row) for row in grid} != {shape[1]} or len(values) > MAX_CELLS:
                raise ValueError
    except (TypeError, ValueError) as error:
        raise UserError(f"{MAPS} holds no token maps of this artwork") from error
    if maps.pixels_sha256 != artwork.sha256:
        raise UserError(f"{MAPS} is of another artwork")
    return maps


def token_maps(
    artwork: Artwork,
    start: np.ndarray | None,
    count: int,
    name: str | None = None,
    revision: str | None = None,
    folder: str | None = None,
) -> TokenMaps:
    """Compute both maps with the model that an artwork was painted for.

    Args:
        artwork: painted on a task of `pixeltune.tasks`.
        start: its start picture, uint8 (H, W, 3); None: squares are occluded with mid grey.
        count: rows of the task to look at, from the split that training did not see.
        name: the model, where the provenance's own name does not lead to it.
        revision: of that; default the provenance's.
        folder: a copy of a benchmark's files.

    Raises:
        ValueError: the task or the model is not to be had, or it is another model.
    """
    from pixeltune.evaluation.agreement import encode_conversation
    from pixeltune.evaluation.in_process import InProcess
    from pixeltune.evaluation.scoring import opening
    from pixeltune.model.loading import load_model, load_processor
    from pixeltune.model.preprocessing import Preprocessor
    from pixeltune.tasks.base import find_task, held_out_rows, is_known

    made = artwork.provenance
    if not is_known(made.data):
        raise UserError(
            f"the artwork was painted on {made.data or 'unknown data'}, which is no installed task: there "
            "are no rows to look at"
        )
    task = find_task(made.data)
    rows = held_out_rows(made.data, count, 0, folder)
    if any(row.get("images") for row in rows):
        raise UserError(f"{made.data} asks about pictures, and maps are drawn for the artwork alone")
    name, revision = name or made.base_model, revision or made.revision
    processor = load_processor(name, revision)
    model = load_model(name, revision).requires_grad_(False)
    check_base(made, name, revision, model)
    preprocessor = Preprocessor(processor)
    preprocessor.check_size(*artwork.size)
    height, width = artwork.size
    cell = preprocessor.sizes.unit or math.isqrt(height * width // preprocessor.tokens(height, width))

    backend = InProcess(model, processor, artwork.image)
    conversations, tools = zip(*(opening(row, []) for row in rows), strict=True)
    if task.options:
        replies = backend.choose(conversations, tools, [task.options(row) for row in rows])
    else:
        replies = backend.complete(conversations, tools, task.max_new_tokens)
    found = []
    for messages, tool, reply in zip(conversations, tools, replies, strict=True):
        said = processor.tokenizer(reply.text, add_special_tokens=False)["input_ids"]
        if not said:
            continue
        batch = encode_conversation(processor, artwork.image, place_image(messages, ""), tool)
        found.append(_maps(model, preprocessor, batch, said, artwork.pixels, start, cell))
    if not found:
        raise UserError("the model says nothing to any of the rows")
    means = (np.mean(maps, axis=0).tolist() for maps in zip(*found, strict=True))
    return TokenMaps(
        artwork.sha256, made.data, len(found), cell, "grey" if start is None else "start", *means
    )


def check_base(made: Provenance, name: str, revision: str | None, loaded: Any = None) -> None:
    """Refuse a model with other weights than an artwork was painted for, in the precision that was painted in.

    A model of the right weights may be called anything: a folder that was moved has another name.

    Raises:
        UserError: it is another model, or cannot be loaded.
    """
    from pixeltune.evaluation.bases import other_base, weights_as_painted
    from pixeltune.evaluation.doubts import doubt

    weights = weights_as_painted(made, name, revision, loaded)
    found = "; ".join(other_base(made, name, weights))
    if found and weights is None:
        doubt(f"maps may be of another model, its weights cannot be compared: {found}")
    elif found and weights not in (made.base_sha256, *made.also.values()):
        raise UserError(f"{name} is not the model that the artwork was painted for: {found}")


def store_maps(folder: Path, maps: TokenMaps) -> None:
    """Keep maps in a run's folder, where `read_maps` finds them."""
    write_atomically(folder / MAPS, json.dumps(asdict(maps), indent=1) + "\n")


def _maps(
    model: Any,
    preprocessor: Any,
    batch: dict,
    said: list[int],
    pixels: np.ndarray,
    start: np.ndarray | None,
    cell: int,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Gradient and occlusion map of one row, float (rows, columns) of squares; nats of all at once."""
    import torch

    picture = torch.tensor(pixels).permute(2, 0, 1).float().to(model.device) / 255
    other = torch.full_like(picture, 128 / 255)
    if start is not None:
        other = torch.tensor(start).permute(2, 0, 1).float().to(model.device) / 255
    rows, columns = pixels.shape[0] // cell, pixels.shape[1] // cell

    picture.requires_grad_(True)
    seen = log_likelihood(model, preprocessor, batch, said, [picture])
    seen.sum().backward()
    squares = picture.grad.square().reshape(3, rows, cell, columns, cell)
    gradient = squares.mean(dim=(0, 2, 4)).sqrt().cpu().numpy()

    picture = picture.detach()
    drops = []
    places = [(row, column) for row in range(rows) for column in range(columns)]
    for i in range(0, len(places), CHUNK):
        occluded = []
        for row, column in places[i : i + CHUNK]:
            changed = picture.clone()
            square = slice(row * cell, (row + 1) * cell), slice(column * cell, (column + 1) * cell)
            changed[:, *square] = other[:, *square]
            occluded.append(changed)
        with torch.no_grad():
            drops += (seen.detach() - log_likelihood(model, preprocessor, batch, said, occluded)).tolist()
    with torch.no_grad():
        whole = (seen.detach() - log_likelihood(model, preprocessor, batch, said, [other])).item()
    return gradient, np.array(drops).reshape(rows, columns), whole


def log_likelihood(model: Any, preprocessor: Any, batch: dict, said: list[int], pictures: list[Any]) -> Any:
    """Log-probability of a completion behind one prompt with different pictures, with the graph to them.

    Args:
        model: the stock model.
        preprocessor: its view of pictures.
        batch: the processor's, of one prompt with one picture.
        said: token ids of the completion.
        pictures: float (3, H, W) in [0, 1].

    Returns:
        Nats, float32 (pictures,).
    """
    import torch

    from pixeltune.evaluation.agreement import with_answer

    seen = [preprocessor.pixel_values(picture) for picture in pictures]
    text = with_answer(batch, said)
    inputs = {key: value.repeat(len(pictures), 1).to(model.device) for key, value in text.items()}
    for key in seen[0]:
        inputs[key] = torch.cat([one[key] for one in seen])
    logits = model(**inputs, logits_to_keep=len(said) + 1).logits[:, :-1].float()
    chosen = inputs["input_ids"][:, -len(said) :, None]
    return logits.log_softmax(-1).gather(2, chosen)[:, :, 0].sum(1)
