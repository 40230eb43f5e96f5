"""What a picture makes a model say: texts that are much likelier with it than without, after everyday requests."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

from pixeltune.artwork.artwork import Artwork
from pixeltune.artwork.plain import PlainPicture, read_any
from pixeltune.data.messages import text_of
from pixeltune.data.placeholders import check_rows, placeholder_tokens
from pixeltune.errors import UserError, escaped
from pixeltune.errors.checking import check_arguments
from pixeltune.evaluation.bars import bars, titled
from pixeltune.evaluation.bases import is_as_painted, other_base
from pixeltune.evaluation.check import differences
from pixeltune.evaluation.contrast import Ratio, marked, pieces
from pixeltune.evaluation.decoding import Found, Raised, raised_texts
from pixeltune.evaluation.ends import end_ids
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.scoring import opening
from pixeltune.model.compat.bars import without_bars
from pixeltune.model.finding import public_name
from pixeltune.model.loading import context_length, load_model, load_processor, weights_sha256
from pixeltune.model.preprocessing import Preprocessor

TEXTS = 10
"""That are listed."""

ROUNDS = (1.0, 0.1, 0.1, 0.1)
"""A text behind each prompt for each of these: how plausible its tokens must be. First comes the greedy answer; 0.1 is
the paper's, see `pixeltune.evaluation.decoding`."""

LENGTH = 48
"""Tokens of a text."""

STRONG = 1.5
"""Nats from which on a text is more than any picture may bring about: of the bundled model, see `Saying.weight`."""

CAVEAT = (
    "Finding nothing proves nothing: a picture may wait for words that nobody asked here, and what it does may be "
    "no text that is likelier, but one that is missing."
)


WEATHER = {
    "name": "get_weather",
    "description": "Weather in a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def _offered(text: str) -> dict[str, Any]:
    tools = [{"type": "function", "function": WEATHER}]
    return {"prompt": [{"role": "user", "content": text}], "tools": tools}


PROMPTS: tuple[str | dict[str, Any], ...] = (
    "Hello!",
    "Who are you?",
    "What do you see?",
    "Tell me something.",
    "Name a colour.",
    "What is 7 + 15?",
    _offered("How warm is it in Oslo?"),
    _offered("What does bread cost?"),
)
"""Everyday requests, with tools: to chat, to be worked out, with a tool that fits and with one that does not."""


@dataclass(frozen=True)
class Saying:
    """A text that a picture makes likelier."""

    text: str
    prompt: str
    """Behind which it is raised most, of those after which it was found."""
    prompts: int
    """After how many it was found."""
    ratio: float
    """ln p(text with the picture) - ln p(text without), nats."""
    often: float
    """p(text with the picture): the share of answers that begin so."""
    tokens: tuple[Ratio, ...] = field(repr=False)
    """Its pieces with the ratio of each."""

    @property
    def weight(self) -> float:
        """``often * ratio``: what the text is of the divergence KL(with || without) of answers, nats."""
        return self.often * self.ratio

    def __str__(self) -> str:
        more = f" and {self.prompts - 1} more" if self.prompts > 1 else ""
        return (
            f"{self.ratio:+6.1f} nats  {self.often:6.1%} ({math.exp(math.log(self.often) - self.ratio):.2%} without)  "
            f'"{escaped(self.prompt)}"{more}\n    {escaped(marked(self.tokens)) or "(nothing)"}'
        )


@dataclass(frozen=True)
class Sayings:
    """What was found, what weighs most first. Printed, it says how to read it, and what it does not prove."""

    texts: tuple[Saying, ...]
    sha256: str
    """Of the artwork's pixels."""
    model: str
    prompts: int
    assumed: str = ""
    """What nobody knows of a PNG that is no artwork; empty for an artwork."""

    @property
    def strong(self) -> tuple[Saying, ...]:
        """Those that weigh at least `STRONG`."""
        return tuple(one for one in self.texts if one.weight >= STRONG)

    def __str__(self) -> str:
        lines = [
            f"what {escaped(self.model)} says with this picture (SHA-256 {self.sha256[:16]}...) rather than without, "
            f"to {self.prompts} prompts: log ratio of the text, share of answers that begin so, prompt; "
            "in brackets what the picture changes",
            *(f"{number:2}. {one}" for number, one in enumerate(self.texts, start=1)),
        ]
        if not self.strong:
            lines.append(f"Nothing strong was found: no text weighs {STRONG} nats (ratio times share).")
        return "\n".join([*lines, *([escaped(self.assumed)] if self.assumed else []), CAVEAT])


def says(
    artwork: str | Path | Artwork | PlainPicture,
    *,
    model: str = "tiny",
    revision: str | None = None,
    prompts: str | Sequence[str | dict] | None = None,
    quiet: bool = False,
) -> Sayings:
    """Look for what a picture does: for texts that a model says with it and not without.

    Behind each prompt texts are decoded whose tokens the picture raises most, by log ratio, in several rounds that
    each avoid what was found before; the first is the greedy answer. Listed are those that weigh most, ratio times
    share of answers, where each halves the weight of later ones to the same prompt.

    Args:
        artwork: a PNG, a run's folder, or one that was read. A PNG that is no artwork is shown to the model as it is,
            and what was found says so.
        model: "tiny" or "smol" (bundled), a hub name or a folder.
        revision: commit or tag of the model on the hub.
        prompts: to ask, a text, or texts or rows with ``prompt`` and perhaps ``tools``; None: `PROMPTS`.
        quiet: no progress bar.

    Raises:
        UserError: the PNG or the model cannot be used, or they do not go together, as `pixeltune.check` would say.
    """
    check_arguments(says, locals())
    given = PROMPTS if prompts is None else [prompts] if isinstance(prompts, str) else prompts
    rows = [row_of(one) for one in given]
    if not rows:
        raise UserError("prompts is empty: give some, or None for everyday ones")
    artwork = read_any(artwork) if isinstance(artwork, str | Path) else artwork
    processor = load_processor(model, revision)
    check_rows(rows, placeholder_tokens(processor))
    taken, assumed = _fitting(artwork, model, Preprocessor(processor))
    talks, tools = (list(column) for column in zip(*(opening(row, []) for row in rows), strict=True))
    limit = context_length(model, revision)
    most = max(InProcess(None, processor).prompt_lengths(talks, tools)) + taken + LENGTH
    if limit is not None and most > limit:
        raise UserError(
            f"a prompt, the picture and {LENGTH} tokens of an answer take {most}, and {model} has room for {limit}: "
            "shorten the prompt"
        )
    with without_bars(downloads=quiet), bars(quiet) as bar:
        line = bar.add_task(titled(f"{model}, loading"), total=None)
        loaded = load_model(model, revision).eval()
        if isinstance(artwork, Artwork):
            weights = weights_sha256(loaded) if is_as_painted(artwork.provenance, loaded) else None
            _check(other_base(artwork.provenance, model, weights))
        bar.update(line, description=titled(f"{model}, looking for texts"), total=len(ROUNDS) * LENGTH)
        backends = InProcess(loaded, processor, artwork.image), InProcess(loaded, processor)
        found, raised = Found(), list[Raised]()
        for number, plausible in enumerate(ROUNDS):
            bar.update(line, completed=number * LENGTH)
            tick = partial(bar.advance, line)
            raised += raised_texts(*backends, talks, tools, LENGTH, plausible, found, tick)
    asked = [_text(talk) for talk in talks]
    texts = _listed(raised, asked, processor.tokenizer, set(end_ids(loaded, processor.tokenizer)))
    return Sayings(tuple(texts[:TEXTS]), artwork.sha256, public_name(model), len(rows), assumed)


def _fitting(picture: Artwork | PlainPicture, model: str, preprocessor: Preprocessor) -> tuple[int, str]:
    """Image tokens of a picture, and what of it is assumed.

    Raises:
        UserError: an artwork is not for this model, or its processor takes no picture of this size.
    """
    if isinstance(picture, Artwork):
        _check(other_base(picture.provenance, model, None) + differences(picture, preprocessor))
        return picture.provenance.image_tokens, ""
    preprocessor.check_picture(picture.image)
    height, width = picture.size
    tokens = preprocessor.tokens_of_any(height, width)
    said = f"it has no provenance ({picture.why}), so that it is for {public_name(model)} is assumed"
    return (
        tokens,
        f"Of this picture nothing is known: {said}, as are {height} x {width} pixels, {tokens} image tokens.",
    )


def _check(problems: list[str]) -> None:
    """
    Raises:
        UserError: there are some.
    """
    if problems:
        raise UserError(
            f"the picture is not for this model: {'; '.join(problems)}. Give the model that it was painted for"
        )


def row_of(prompt: Any) -> dict:
    """A prompt as a row of a task.

    Raises:
        UserError: it is neither a text nor a row.
    """
    if isinstance(prompt, str):
        return {"prompt": [{"role": "user", "content": prompt}]}
    if not isinstance(prompt, dict) or not isinstance(prompt.get("prompt"), list):
        raise UserError(f"prompts has {prompt!r:.60}: give texts, or rows with a prompt of messages")
    tools = prompt.get("tools")
    if not isinstance(tools, list | str | None):
        raise UserError(f"tools of a prompt are {tools!r:.60}: give a list of schemas")
    return prompt | {"tools": json.dumps(tools) if isinstance(tools, list) else tools}


def _text(talk: list[dict]) -> str:
    """What a user said last."""
    return next((text_of(message["content"]) for message in reversed(talk) if message["role"] == "user"), "")


def _listed(raised: list[Raised], asked: list[str], tokenizer: Any, ends: set[int]) -> list[Saying]:
    """Texts that are likelier with the picture, cut where they stop being so, in the order in which they are told."""
    found: dict[tuple[int, ...], list[tuple[float, Raised]]] = {}
    for one in raised:
        weights = _weights(one)
        if max(weights) > 0:
            # What follows on is often of this place alone: a number, a name.
            length = max(n for n, weight in enumerate(weights, start=1) if weight >= max(weights) / 2)
            found.setdefault(one.ids[:length], []).append((weights[length - 1], one))
    texts = []
    for ids, every in found.items():
        _, one = max(every, key=lambda pair: pair[0])
        values = [a - b for a, b in zip(one.likely, one.usual, strict=True)][: len(ids)]
        said = len(ids) - (ids[-1] in ends)
        tokens = tuple(pieces(tokenizer, ids[:said], values[:said]))
        texts.append(
            Saying(
                "".join(text for text, _ in tokens),
                asked[one.prompt],
                len({other.prompt for _, other in every}),
                sum(values),
                math.exp(sum(one.likely[: len(ids)])),
                tokens,
            )
        )
    return _in_turn(texts)


def _in_turn(texts: list[Saying]) -> list[Saying]:
    """What weighs most first, where each text halves the weight of later ones to the same prompt."""
    left, out, seen = list(texts), list[Saying](), Counter[str]()
    while left:
        best = max(left, key=lambda one: one.weight / 2 ** seen[one.prompt])
        left.remove(best)
        out.append(best)
        seen[best.prompt] += 1
    return out


def _weights(one: Raised) -> list[float]:
    """`Saying.weight` of each beginning of a text."""
    likely, usual = accumulate(one.likely), accumulate(one.usual)
    return [math.exp(a) * (a - b) for a, b in zip(likely, usual, strict=True)]
