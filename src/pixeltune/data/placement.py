"""Where the artwork stands: at the very front of the first user message, in training and in serving."""

from __future__ import annotations

from typing import Any

from pixeltune.data.lines import kind
from pixeltune.data.messages import Message
from pixeltune.data.origin import Row
from pixeltune.data.placeholders import check_rows, tokens_of_block
from pixeltune.data.turns import diverging_step, is_said
from pixeltune.errors import UserError

PLACEMENT = "before the first user text"
"""The name of this placement in an artwork's provenance."""


def other_placement(placement: str) -> str | None:
    """Why an artwork of this placement cannot be used; None: it can, it is `PLACEMENT`."""
    if placement == PLACEMENT:
        return None
    return f"placement {placement!r} is unknown here, {PLACEMENT!r} is known: upgrade pixeltune"


def place(messages: list[Message], block: str) -> list[Message]:
    """Put the artwork's placeholder text in front of the first user message. For training rows.

    Args:
        messages: a conversation; contents are strings or lists of content parts. Not modified.
        block: the placeholder text, from `Preprocessor.block` or `model.art_block`.

    Returns:
        A new list; messages other than the first user message are the same objects.

    Raises:
        ValueError: there is no user message, or the artwork is already there.
    """
    content = messages[_first_user(messages)].get("content")
    if block in str(content if isinstance(content, str) else [part.get("text") for part in content or []]):
        raise UserError("the artwork is already in this conversation: place it once")
    if isinstance(content, list):
        return _replace_content(messages, [{"type": "text", "text": block}, *content])
    return _replace_content(messages, block + (content or ""))


def place_image(messages: list[Message], url: str) -> list[Message]:
    """Put the artwork as an image part in front of the first user message. For requests to an engine.

    Args:
        messages: an OpenAI-style conversation. Not modified.
        url: a `data:image/png;base64,...` or other URL of the artwork.

    Returns:
        A new list, in which the first user message has a list of content parts: image, then what was there.

    Raises:
        ValueError: there is no user message.
    """
    content = messages[_first_user(messages)].get("content")
    if not isinstance(content, list):
        content = [{"type": "text", "text": content or ""}]
    return _replace_content(messages, [{"type": "image_url", "image_url": {"url": url}}, *content])


def place_input(items: str | list[Message], url: str) -> list[Message]:
    """The same for the `input` of OpenAI's Responses API: a string, or items, messages among them.

    Raises:
        ValueError: there is no user message.
    """
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    content = items[_first_user(items)].get("content")
    if not isinstance(content, list):
        content = [{"type": "input_text", "text": content or ""}]
    return _replace_content(items, [{"type": "input_image", "image_url": url, "detail": "auto"}, *content])


def place_row(row: dict[str, Any], block: str) -> dict[str, Any]:
    """Place the artwork in one TRL row; other columns (`completion`, `label`, `tools`, ...) stay as they are.

    Understands conversational `prompt` (with `completion`, with `chosen` and `rejected`, or alone),
    `messages`, and `chosen` with `rejected` that contain the whole conversation. A prompt that is plain text
    becomes the user's message, and what answers it the assistant's.

    Raises:
        UserError: the row has none of these columns, or plain text where a conversation must be.
    """
    if isinstance(row.get("prompt"), str):
        roles = {"prompt": "user", "completion": "assistant", "chosen": "assistant", "rejected": "assistant"}
        texts = {name: role for name, role in roles.items() if isinstance(row.get(name), str)}
        row = {**row, **{name: [{"role": role, "content": row[name]}] for name, role in texts.items()}}
    columns = [name for name in ("prompt", "messages") if row.get(name) is not None]
    columns = columns or [name for name in ("chosen", "rejected") if row.get(name) is not None]
    if not columns:
        raise UserError(
            f"no prompt, messages or chosen/rejected column to place the artwork in: {sorted(row)}"
        )
    for name in columns:
        if not isinstance(row[name], str | list):
            raise UserError(
                f'the column "{name}" holds {kind(row[name])}: it must be a text or a list of messages'
            )
        if not isinstance(row[name], list):
            raise UserError(
                f'the column "{name}" holds plain text; make it a conversation first: '
                '[{"role": "user", "content": ...}]'
            )
    return {**row, **{name: place(row[name], block) for name in columns}}


def place_dataset(dataset: Any, block: str) -> Any:
    """Place the artwork in every row of a `datasets.Dataset` or `IterableDataset`, or of a dict of them.

    Args:
        dataset: rows as `place_row` takes them.
        block: the placeholder text, from `ArtConfig.block` or `model.art_block`.

    Raises:
        UserError: these are no dataset or no placeholder text, or (when the row is read) a row has no place for
            the artwork, or quotes a picture token.
    """
    from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict

    if not isinstance(dataset, Dataset | DatasetDict | IterableDataset | IterableDatasetDict):
        raise UserError(
            "place_dataset takes a datasets.Dataset, an IterableDataset or a DatasetDict, not "
            f"{type(dataset).__name__}: datasets.Dataset.from_list(rows) makes one of a list of rows"
        )
    tokens = tokens_of_block(block) if isinstance(block, str) else ()
    if not tokens:
        raise UserError(
            f"{block!r:.60} is no placeholder text of an artwork: give config.block(preprocessor) or model.art_block"
        )
    return dataset.map(_placed, with_indices=True, fn_kwargs={"block": block, "tokens": tokens})


def _placed(row: dict[str, Any], index: int, block: str, tokens: tuple[str, ...]) -> dict[str, Any]:
    placed = place_row(row, block)  # first: an artwork that is there already is no quotation
    _check_answers(placed, index)
    named = Row(row)
    named.where = f"row {index}"
    check_rows([named], tokens)
    return placed


def _check_answers(row: dict[str, Any], index: int) -> None:
    """Refuse preferences and labelled answers of which TRL's trainers would count what tools and users say.

    Raises:
        UserError: naming the row.
    """
    names = [name for name in ("chosen", "rejected") if row.get(name) is not None]
    if isinstance(row.get("label"), bool) and row.get("completion") is not None:
        names.append("completion")
    whole = row.get("prompt") is None and len(names) == 2
    start = diverging_step(row["chosen"], row["rejected"]) if whole else 0
    for name in names:
        if not all(map(is_said, row[name][start:])):
            raise UserError(
                f"row {index}: {name} has turns of tools or users, and TRL would train on their words: put all but "
                "the last turn into the prompt, or use pixeltune.paint (pixeltune dpo, kto), which leaves them out"
            )


def _first_user(messages: list[Message]) -> int:
    for index, message in enumerate(messages):
        if message.get("role") == "user":
            return index
    raise UserError("the conversation has no user message, so there is no place for the artwork")


def _replace_content(messages: list[Message], content: str | list[dict[str, Any]]) -> list[Message]:
    index = _first_user(messages)
    return [*messages[:index], {**messages[index], "content": content}, *messages[index + 1 :]]
