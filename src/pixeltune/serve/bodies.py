"""What the gateway reads and changes in a request's body: the model's name and one image part."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterator
from typing import Any

from pixeltune.data.requests import ENDPOINTS, RequestProblem, check_request, place_in_request
from pixeltune.engines.kept_pictures import name_part
from pixeltune.serve.pictures import MAX_SENT_PIXELS, is_too_large

MAX_DEPTH = 64  # of a body; OpenAI allows schemas of 10
SCORED = ("query", "queries", "documents", "items", "text_1", "text_2", "data_1", "data_2")
MEDIA = re.compile("image|audio|video|input_|prompt_embeds")  # a field of a part that is no text
PICTURE = (
    f"pixeltune:{secrets.token_hex(16)}"  # stands for the picture until the rest is JSON; nobody can guess it
)


class RequestError(Exception):
    """A request that is refused: an HTTP status and a body in OpenAI's error shape."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | int | None = None,
        param: str | None = None,
        retry_after: int = 0,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.retry_after = retry_after  # seconds; 0: do not say

    @property
    def kind(self) -> str:
        """The `type` that the OpenAI API gives to such an error."""
        kinds = {
            401: "authentication_error",
            403: "permission_error",
            404: "not_found_error",
            429: "rate_limit_error",
        }
        return kinds.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")

    def body(self) -> bytes:
        """JSON as the OpenAI API words its errors."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return json.dumps({"error": error}).encode()


def parse(raw: bytes) -> dict[str, Any]:
    """The JSON object in a body.

    Raises:
        RequestError: 400, it is anything else, or nested deeper than MAX_DEPTH.
    """
    try:
        body = json.loads(raw, parse_constant=_refuse_constant)
    except RecursionError:
        raise RequestError(400, "the body is nested too deeply") from None
    except ValueError as error:  # also invalid UTF-8 and absurdly long numbers
        raise RequestError(400, f"the body is not valid JSON: {str(error)[:200]}") from None
    if not isinstance(body, dict):
        raise RequestError(400, "the body must be a JSON object")
    return body


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def render(body: dict[str, Any], picture: bytes = b"") -> bytes:
    """JSON bytes of a body; `picture`, a URL, is spliced in where `insert` left room for it.

    The body is written anew, never copied: an engine cannot read another model's name or a second `messages`
    out of duplicate keys than was checked here.

    Raises:
        RequestError: 400, a number is too large for JSON's doubles.
    """
    try:
        text = json.dumps(body, allow_nan=False).encode()
    except ValueError:
        raise RequestError(400, "the body holds a number that is too large") from None
    before, mark, after = text.partition(PICTURE.encode())
    return before + picture + after if mark else text


def check(body: dict[str, Any], path: str, tokens: tuple[str, ...]) -> None:
    """Refuse a request in which the artwork would not stand where training had it, or stand there twice.

    Args:
        body: of a chat completion (`path` "chat/completions") or of the Responses API ("responses").
        path: see above.
        tokens: that stand for pictures with the artwork's model.

    Raises:
        RequestError: 400, see `pixeltune.data.requests`.
    """
    try:
        check_request(body, path, tokens)
        place_in_request(body, path, PICTURE)
    except RequestProblem as problem:
        raise RequestError(400, str(problem), param=problem.param) from None


def insert(body: dict[str, Any], path: str, uuid: str | None, with_bytes: bool) -> dict[str, Any]:
    """A copy of a request with the artwork's image part where training had it.

    Args:
        body: of a chat completion (`path` "chat/completions") or of the Responses API ("responses").
        uuid: name of the picture in the engine's cache (vLLM); None: the engine knows no such names.
        with_bytes: leave room for the picture itself; without, the engine is to take it from its cache.

    Raises:
        RequestError: 400, there is no user message, or what should be messages is not.
    """
    try:
        placed = place_in_request(body, path, PICTURE)
    except RequestProblem as problem:
        raise RequestError(400, str(problem), param=problem.param) from None
    message = next(item for item in placed[ENDPOINTS[path][0]] if item.get("role") == "user")
    part = message["content"][0]
    if uuid is not None:
        name_part(part, uuid, with_bytes=with_bytes)
    return placed


def guard_media(body: dict[str, Any], owner: str) -> None:
    """Bound the pictures in a request, and rename, in place, the names that a client gives to its own media.

    vLLM takes a `uuid` beside a picture for its identity: two clients with one name would see each other's
    picture (https://github.com/vllm-project/vllm/issues/53471). After this the same name of the same owner is
    still the same, and no name is that of an artwork. What is called `uuid` anywhere else stays as it is.

    Raises:
        RequestError: see `check_pictures`.
    """
    check_pictures(body)
    for part in _parts(body):
        if part.get("uuid") is not None:
            name = hashlib.sha256(json.dumps([owner, part["uuid"]]).encode()).hexdigest()
            part["uuid"] = f"client-{name}"


def check_pictures(node: dict | list, depth: int = 0, field: str = "") -> None:
    """Refuse what would fill an engine's memory, or the stack.

    Args:
        node: a body.
        depth: of the node in the body.
        field: that the node is the value of.

    Raises:
        RequestError: 400, it is nested deeper than MAX_DEPTH; 413, a picture in it is too large.
    """
    if depth > MAX_DEPTH:
        raise RequestError(400, f"the body is nested deeper than {MAX_DEPTH} levels")
    for name, child in node.items() if isinstance(node, dict) else ((field, child) for child in node):
        if isinstance(child, str) and is_too_large(child, name):
            raise RequestError(
                413, f"a picture has more than {MAX_SENT_PIXELS:,} pixels", code="image_too_large"
            )
        if isinstance(child, dict | list):
            check_pictures(child, depth + 1, name)


def _parts(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The content parts of a body: of messages, items, the results of tools in them, of what is scored."""
    system = body.get("system")
    yield from _parts_of([{"content": system}, *_listed(body.get("messages")), *_listed(body.get("input"))])
    for field in SCORED:
        # Documents of a chat, whose fields are the template's business, come under the same name.
        yield from (part for part in _parts_of(_listed(body.get(field))) if any(map(MEDIA.match, part)))


def _parts_of(items: list[Any]) -> Iterator[dict[str, Any]]:
    for item in items:
        for name in ("content", "output") if isinstance(item, dict) else ():
            parts = [part for part in _listed(item.get(name)) if isinstance(part, dict)]
            yield from parts
            yield from _parts_of(parts)  # a tool's result is a part that has parts


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
