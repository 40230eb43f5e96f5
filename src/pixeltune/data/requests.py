"""The artwork in requests to OpenAI-compatible engines, and which requests have no place for it.

The gateway and the client share this: what one of them refuses, the other refuses in the same words.
"""

from __future__ import annotations

from typing import Any

from pixeltune.data.placeholders import KNOWN, find_placeholder
from pixeltune.data.placement import place_image, place_input
from pixeltune.data.texts import texts_in
from pixeltune.errors import UserError

ENDPOINTS = {"chat/completions": ("messages", place_image), "responses": ("input", place_input)}
"""Those that take an artwork: the field with the conversation, and what places a picture in it."""

STORED = ("previous_response_id", "conversation", "prompt")
"""Fields of the Responses API that stand for messages kept by the server."""

# Fields whose words a chat template may write into the prompt.
_RENDERED = (
    *("messages", "input", "instructions", "tools", "functions"),
    *("documents", "chat_template_kwargs"),
)


class RequestProblem(UserError):
    """A request with an artwork that cannot be sent; `param` is the field at fault."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param


def place_in_request(body: dict[str, Any], endpoint: str, url: str) -> dict[str, Any]:
    """A copy of a request with the artwork in front of the first user message.

    Args:
        body: of a request to the endpoint. Not modified.
        endpoint: a key of `ENDPOINTS`.
        url: of the artwork's PNG, such as `data:image/png;base64,...`.

    Raises:
        RequestProblem: it has no user message, or what should be messages is not.
    """
    field, place = ENDPOINTS[endpoint]
    value: Any = body.get(field)
    text = isinstance(value, str) and field == "input"
    if not text and not (isinstance(value, list) and value and all(isinstance(item, dict) for item in value)):
        raise RequestProblem(f"`{field}` must be a list of messages", field)
    try:
        return {**body, field: place(value, url)}
    except UserError as error:
        raise RequestProblem(
            f"{error}: add one, before its answers and the results of its calls", field
        ) from None


def check_request(body: dict[str, Any], endpoint: str, tokens: tuple[str, ...] = KNOWN) -> None:
    """Refuse what would give the artwork another place than in training, or a second one.

    Args:
        body: of a request to the endpoint.
        endpoint: a key of `ENDPOINTS`.
        tokens: that stand for pictures, from `placeholders.tokens_of`.

    Raises:
        RequestProblem: a part of the conversation is kept by the server, where the artwork is already or is
            not, which cannot be known here; or a text quotes a picture token, which the engine would take
            for the artwork.
    """
    if endpoint == "responses":
        stored = next((name for name in STORED if body.get(name) is not None), None)
        if stored is not None:
            raise RequestProblem(
                f"an artwork stands in front of the first user message, and with `{stored}` that one is kept "
                "by the server: send the whole conversation as `input`",
                stored,
            )
        for item in body["input"] if isinstance(body.get("input"), list) else []:
            if isinstance(item, dict) and item.get("role") == "user":
                break
            if isinstance(item, dict) and item.get("type") == "item_reference":
                raise RequestProblem(
                    "an item_reference in front of the first user message may stand for one: send the whole "
                    "conversation",
                    "input",
                )
    for field in _RENDERED:
        for text in texts_in(body.get(field)):
            # Pictures as base64, megabytes of them, have neither of the characters.
            token = find_placeholder(text, tokens) if "<" in text or "[" in text else None
            if token is not None:
                raise RequestProblem(
                    f"`{field}` holds {token!r}, a token that stands for pictures: the engine would put the "
                    "artwork there. Write it otherwise, for example with a space in it",
                    field,
                )
