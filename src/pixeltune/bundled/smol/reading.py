"""Stage two: the frozen language model answers questions about pictures, and the tower learns from its answers.

Each conversation asks up to three questions about one picture: what is written there, what colour a shape is,
where it is, which shape is where, how many there are. The loss falls on the answers; gradients pass through the
language model, whose weights stay as they are.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pixeltune.bundled.smol import pictures
from pixeltune.bundled.smol.pictures import DIGITS, SIDE, WORDS, Thing
from pixeltune.bundled.tiny.recipe import encode

Question = tuple[str, str]
"""What is asked, and the answer."""

SAID = "What does the picture say?"
COUNT = "How many shapes are there?"
LINES = 0.25
"""Share of written pictures whose words run on in lines, without regard to cells."""
NUMBERS = ("one", "two", "three", "four")


def written(rng: random.Random) -> tuple[np.ndarray, list[Question]]:
    """A picture of one to eight words in one row of cells or in lines, and the question what it says."""
    if rng.random() < LINES:
        lines = [[rng.choice(WORDS) for _ in range(rng.randint(1, 3))] for _ in range(rng.randint(1, 2))]
        said = " ".join(word for line in lines for word in line)
        return pictures.lines(rng, [" ".join(line) for line in lines]), [(SAID, said)]
    words = [rng.choice(DIGITS if rng.random() < 0.05 else WORDS) for _ in range(rng.randint(1, SIDE))]
    cells = words + [None] * (SIDE - len(words))
    row = rng.choice((0, 0, rng.randrange(SIDE)))
    before, after = [None] * (SIDE * row), [None] * (SIDE * (SIDE - 1 - row))
    return pictures.words(rng, before + cells + after), [(SAID, " ".join(words))]


def seen(rng: random.Random) -> tuple[np.ndarray, list[Question]]:
    """A picture of one to four shapes, and three questions about it."""
    shown = pictures.things(rng, rng.randint(1, 4))
    asked = questions(shown)
    rng.shuffle(asked)
    return pictures.scene(rng, shown), asked[:3]


def questions(shown: list[Thing]) -> list[Question]:
    """Every question that has one answer."""
    found = [(COUNT, NUMBERS[len(shown) - 1])]
    for thing in shown:
        article = "an" if thing.colour == "orange" else "a"
        found.append((f"What is at the {thing.place}?", f"{article} {thing.colour} {thing.shape}"))
        found.append((f"Where is the {thing.colour} {thing.shape}?", thing.place))
        if sum(other.shape == thing.shape for other in shown) == 1:
            found.append((f"What colour is the {thing.shape}?", thing.colour))
        if sum(other.colour == thing.colour for other in shown) == 1:
            found.append((f"What shape is {thing.colour}?", thing.shape))
    return found


def conversation(asked: list[Question]) -> list[dict[str, Any]]:
    """The questions as turns of a chat; the picture stands before the first."""
    messages: list[dict[str, Any]] = []
    for number, (question, answer) in enumerate(asked):
        content: Any = question
        if number == 0:
            content = [{"type": "image"}, {"type": "text", "text": question}]
        messages += [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]
    return messages


def loss(model: Any, processor: Any, rng: random.Random, rows: int) -> Tensor:
    """Mean cross-entropy of the answers' tokens in a micro-batch.

    Args:
        model: its tower in training, the rest frozen.
        processor: the model's.
        rng: of this micro-batch.
        rows: conversations, half of them about written words.
    """
    made = [written(rng) if number % 2 == 0 else seen(rng) for number in range(rows)]
    batch = encode([(conversation(asked), None, []) for _, asked in made], processor)
    labels, weights = batch.pop("labels")[:, 1:], batch.pop("weights")[:, 1:]
    canvases = [torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1) for picture, _ in made]
    shown = processor.image_processor(images=canvases, return_tensors="pt")
    hidden = model.model(**batch, **shown, use_cache=False).last_hidden_state[:, :-1]
    wanted = labels != -100
    losses = F.cross_entropy(model.lm_head(hidden[wanted]), labels[wanted], reduction="none")
    return (losses * weights[wanted]).sum() / weights[wanted].sum()
