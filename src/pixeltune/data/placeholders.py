"""Tokens that stand for pictures: where a text quotes one, the artwork would move, or a run would end."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from pixeltune.data.origin import origin
from pixeltune.data.texts import texts_in
from pixeltune.errors import UserError

_QWEN = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")
_GLM = (
    *("<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>"),
    *("<|image|>", "<|video|>"),
)
_GEMMA = (
    *("<start_of_image>", "<end_of_image>", "<image_soft_token>"),
    *("<|image>", "<image|>", "<|image|>", "<|video|>"),
)
_ENGINES = ("<__media__>", "<ov_genai_image_")
"""Whatever the model: llama.cpp's and OpenVINO GenAI's own marks."""

KNOWN = tuple(
    dict.fromkeys(
        (
            *_QWEN,  # MiniCPM's, too
            *_GLM,
            *_GEMMA,
            "<IMG_CONTEXT>",  # InternVL
            *("[IMG]", "[IMG_BREAK]", "[IMG_END]"),  # Mistral
            # Idefics, SmolVLM, LLaVA-OneVision
            *("<fake_token_around_image>", "<global-img>", "<image>", "<video>"),
            *_ENGINES,
        )
    )
)
"""Of the supported families."""

_FAMILIES = {
    "Qwen2VL": (*_QWEN, *_ENGINES),
    "Glm4": (*_GLM, *_ENGINES),
    "Gemma": (*_GEMMA, *_ENGINES),
    "GotOcr2": (*KNOWN, "<img>", "</img>"),  # InternVL; elsewhere a tag of HTML
}
"""By how the name of the image processor begins: families to whose models the others' tokens are mere words,
such as HTML's ``<video>``. Of the rest nobody has checked that."""


def tokens_of(image_processor: str, *others: str) -> tuple[str, ...]:
    """The picture tokens of a model, as far as the name of its image processor tells.

    Args:
        image_processor: the name of its class.
        others: models that have to do with the artwork as well, of whose processors nothing is known.
    """
    own = next((tokens for start, tokens in _FAMILIES.items() if image_processor.startswith(start)), KNOWN)
    return KNOWN if others else own


def tokens_of_block(block: str) -> tuple[str, ...]:
    """The picture tokens of the family whose placeholder text this is; empty where it holds none."""
    inside = {token for token in KNOWN if token in block}
    if not inside:
        return ()
    own = next((tokens for tokens in _FAMILIES.values() if inside <= set(tokens)), KNOWN)
    return tuple(token for token in own if token in KNOWN or token in block)


def find_placeholder(text: str, tokens: tuple[str, ...] = KNOWN) -> str | None:
    """The first picture token, by default of any supported family, in a text; None: there is none."""
    found = _search(tokens).search(text)
    return found.group() if found else None


@lru_cache
def _search(tokens: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, sorted(tokens, key=len, reverse=True))) or "(?!)")


def placeholder_tokens(processor: Any, block: str = "") -> tuple[str, ...]:
    """The tokens that stand for pictures, videos and sounds with a processor.

    Args:
        processor: of the model; what its attributes, and its tokenizer's, that end in ``_token`` say.
        block: the artwork's placeholder text, whose special tokens count as well.
    """
    tokenizer = getattr(processor, "tokenizer", processor)
    names = [n for n in dir(type(processor)) + list(vars(processor)) if n.endswith("_token")]
    named = {n: getattr(processor, n, None) for n in names}
    named |= getattr(tokenizer, "special_tokens_map", {})
    about = re.compile("image|img|video|audio|vision|slice|bo[ia]|eo[ia]")
    tokens = {t for n, t in named.items() if isinstance(t, str) and t and about.search(n)}
    special = {str(token) for token in getattr(tokenizer, "all_special_tokens", [])}
    added = {str(token) for token in getattr(tokenizer, "added_tokens_decoder", {}).values()}
    tokens |= {token for token in special | added if token in block or token in KNOWN}
    return tuple(sorted(tokens))


def check_rows(rows: Iterable[dict], tokens: Iterable[str] | None = None) -> None:
    """Refuse rows whose words quote a picture token: in a prompt, a completion, a call, tools.

    Args:
        rows: of a file or a task.
        tokens: of the loaded processor, from `placeholder_tokens`; None: those of every supported family.

    Raises:
        UserError: naming the row and the token.
    """
    for where, name, token in quoted(rows, KNOWN if tokens is None else tuple(tokens)):
        raise UserError(
            f"{where}: {name} holds {token!r}, a token that stands for pictures: the artwork would be moved. "
            "Write it otherwise, with a space in it, or leave the row out"
        )


def quoted(rows: Iterable[dict], tokens: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    """Where the words of rows quote a token: the row, the column, the token; the first of each column."""
    search = _search(tokens)
    for number, row in enumerate(rows):
        for name in ("prompt", "completion", "chosen", "rejected", "messages", "tools"):
            if found := next(filter(None, map(search.search, texts_in(row.get(name)))), None):
                yield origin(row, number), name, found.group()
