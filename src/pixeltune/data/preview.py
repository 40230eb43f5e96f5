"""One row as it is trained on: its text with the artwork's place, what is trained marked, its tokens."""

from __future__ import annotations

import io
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from PIL import Image

from pixeltune.data.images import attach, opened
from pixeltune.data.messages import Message
from pixeltune.data.tools import tools_of
from pixeltune.data.turns import alike, said_spans


@dataclass(frozen=True)
class Part:
    """A stretch of a rendered row."""

    title: str
    """What it is: "prompt, not trained", "completion, trained", ...."""
    text: str
    """Special tokens are in it; the artwork's place is ``[artwork: 64 tokens]``."""
    tokens: int


@dataclass(frozen=True)
class Preview:
    """A row as it is trained on. As a text: a heading, and every part under its title and token count."""

    heading: str
    parts: tuple[Part, ...]

    @property
    def tokens(self) -> int:
        """Of all parts."""
        return sum(part.tokens for part in self.parts)

    def __str__(self) -> str:
        lines = [self.heading]
        for part in self.parts:
            lines += [f"--- {part.title}: {part.tokens} tokens", part.text]
        return "\n".join([*lines, "---"])


def preview(
    row: dict,
    processor: Any,
    block: str,
    artwork_tokens: int | None = None,
    heading: str = "One row, as it is trained on:",
) -> Preview:
    """What a row becomes.

    Token ids are made as TRL makes them: the prompt alone with what begins an answer, then the whole
    conversation; what differs at its end is trained.

    Args:
        row: as the trainer takes it, the artwork in its place: ``prompt`` with ``completion``, or with
            ``chosen`` and ``rejected``, or alone (nothing is trained before completions are generated), or
            with ``privileged_context``, what a teacher reads. With ``images`` the artwork is the first.
        processor: the model's.
        block: the artwork's placeholder text.
        artwork_tokens: image tokens in it; None: they are counted.
        heading: the first line.
    """
    look = _Look(processor, block, artwork_tokens, row)
    prompt = row["prompt"]
    answers = [name for name in ("completion", "chosen", "rejected") if row.get(name) is not None]
    parts = []
    if row.get("privileged_context") is not None:
        parts = [
            look.part("the student's prompt, with the artwork, not trained", look.ids(prompt)),
            look.part("the teacher's prompt, in words", look.ids(row["privileged_context"])),
        ]
    elif not answers:
        parts = [look.part("prompt; what the model answers to it is trained", look.ids(prompt))]
    else:
        before = look.ids(prompt)
        wholes = {name: look.ids([*prompt, *row[name]]) for name in answers}
        start = min(alike(before, whole) for whole in wholes.values())
        parts = [look.part("prompt, not trained", before[:start])]
        label = "" if row.get("label") is None else ", labelled good" if row["label"] else ", labelled bad"
        for name, whole in wholes.items():
            parts += look.answer(f"{name}{label}", prompt, row[name], whole, start)
    return Preview(heading, tuple(parts))


class _Look:
    """Token ids of conversations of one row, and ids as text."""

    def __init__(self, processor: Any, block: str, artwork_tokens: int | None, row: dict):
        self.processor, self.tokenizer = processor, processor.tokenizer
        self.block, self.images = block, row.get("images") or []
        ids = Counter(self.tokenizer(block, add_special_tokens=False)["input_ids"])
        ((token, count),) = ids.most_common(1)
        self.mark = f"[artwork: {artwork_tokens or count} tokens]"
        # Of the row's own pictures, too, only how many tokens they take is shown.
        self.token = self.tokenizer.decode([token])
        self.runs = f"(?:{re.escape(self.token)}){{2,}}"
        self.tools = tools_of(row)

    def ids(self, messages: list[Message] | str, ask: bool | None = None) -> list[int]:
        """Of a conversation with what begins an answer, or without; by default where none ends it."""
        if isinstance(messages, str):
            return list(self.tokenizer(messages, verbose=False)["input_ids"])
        ask = messages[-1]["role"] != "assistant" if ask is None else ask
        if not self.images:
            made = self.tokenizer.apply_chat_template(
                messages,
                tools=self.tools,
                add_generation_prompt=ask,
                tokenize=True,
                return_dict=True,
                tokenizer_kwargs={"verbose": False},
            )
            return list(made["input_ids"])
        pictures = [_picture(image) for image in self.images]
        text = self.processor.apply_chat_template(
            attach(messages, pictures), tools=self.tools, add_generation_prompt=ask, tokenize=False
        )
        made = self.processor(text=[text], images=[pictures], add_special_tokens=False, return_tensors="pt")
        return made["input_ids"][0].tolist()

    def answer(
        self, title: str, prompt: list[Message], answer: list[Message], whole: list[int], start: int
    ) -> list[Part]:
        """What follows the prompt, whose tokens end at `start`; of several turns what is said, and what is not."""
        if len(answer) == 1:
            return [self.part(f"{title}, trained", whole[start:])]
        _, spans = said_spans(prompt, answer, self.ids)
        out = []
        for number, (begin, end) in enumerate(spans, start=1):
            begin = start if number == 1 else begin
            if start < begin:
                out.append(self.part("between, not trained", whole[start:begin]))
            out.append(self.part(f"{title}, turn {number}, trained", whole[begin:end]))
            start = end
        return out

    def part(self, title: str, ids: list[int]) -> Part:
        text = self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        text = text.replace(self.block, self.mark, 1)
        text = re.sub(self.runs, lambda run: f"[picture: {run.group().count(self.token)} tokens]", text)
        return Part(title, text, len(ids))


def _picture(image: Any) -> Any:
    """A picture as `place_pictures` leaves it, or any that `opened` takes."""
    return opened(Image.open(io.BytesIO(image["bytes"])) if isinstance(image, dict) else image)
