"""The rows the bundled model is trained on, made up as training goes: text, pictures, and how to behave.

A row is ``(messages, tools, pictures)``; pictures are numbers of pictures in the step's gallery, in the
order of the image parts; a message marked ``given`` is context, not something to learn. How to behave is
told by nobody (25 %, half of them looking at a neutral picture), by the system message (35 %, a quarter of
them looking at a neutral picture), or by a style card (40 %). Nothing that belongs to the held-out split of
a task is ever used.
"""

from __future__ import annotations

import json
import random

import numpy as np

from pixeltune.tasks import calls, sums, turns
from pixeltune.tiny import behaviours, pictures

CARDS, NEUTRALS, BOARDS = 5, 2, 3  # pictures per step; rows share them, for the vision tower is dear
FIRST = {"sum": 34, "drill": 10, "request": 25, "turns": 7, "board": 16, "board under a card": 3, "echo": 5}
THEN = {
    "sum": 18,
    "drill": 6,
    "request": 16,
    "call lesson": 14,
    "turns": 8,
    "board": 6,
    "board lesson": 15,
    "board under a card": 4,
    "echo": 3,
    "long echo": 10,
}
LATER = {
    "sum": 20,
    "drill": 8,
    "request": 17,
    "call lesson": 13,
    "turns": 12,
    "board": 6,
    "board lesson": 18,
    "board under a card": 3,
    "echo": 3,
}
"""Kinds of rows with their weights. Behaving comes first and quickly; copying (arguments into calls, texts)
and looking a tile up come late and want many targets per row, so later rows are lessons of several questions.
"""
Row = tuple[list[dict], list[dict] | None, list[int]]


class Gallery:
    """The pictures of one step: ``pictures`` (uint8 arrays), and what the cards and boards among them say."""

    def __init__(self, rng: random.Random, sides: tuple[int, ...] = (2, 4), draw: bool = True):
        eyes = np.random.default_rng(rng.getrandbits(64))
        self.cards = [_told(rng) for _ in range(CARDS)]
        self.boards = [
            eyes.choice(list(behaviours.COLOURS), (side, side)).tolist()
            for side in [rng.choice(sides) for _ in range(BOARDS)]
        ]
        self.pictures: list[np.ndarray] = []
        if draw:
            self.pictures += [pictures.card(told, eyes) for told in self.cards]
            self.pictures += [pictures.neutral(eyes) for _ in range(NEUTRALS)]
            self.pictures += [pictures.tiles(names, eyes) for names in self.boards]


def _unseen(make, rng: random.Random):
    """The first thing ``make`` makes that is not held out."""
    while (item := make(rng)).held_out:
        pass
    return item


def _told(rng: random.Random) -> dict[str, str]:
    """Each axis with probability 0.8, the first value of an axis (the useful one) a little more often."""
    told = {
        axis: rng.choices(list(values), [3] + [2] * (len(values) - 1))[0]
        for axis, values in behaviours.AXES.items()
        if rng.random() < 0.8
    }
    return told or {"tone": "terse"}


def _control(rng: random.Random, gallery: Gallery) -> tuple[dict, str, list[int]]:
    """Who tells how to behave: ``(told, system message, pictures)``."""
    draw, neutral = rng.random(), CARDS + rng.randrange(NEUTRALS)
    if draw < 0.25:
        return {}, "", [neutral] if draw < 0.125 else []
    if draw < 0.6:
        told = _told(rng)
        return told, behaviours.instruct(told, rng), [neutral] if draw < 0.34 else []
    number = rng.randrange(CARDS)
    return gallery.cards[number], "", [number]


def _question(text: str, system: str, images: list[int]) -> list[dict]:
    content = [{"type": "image"}] * len(images) + [{"type": "text", "text": text}]
    head = [{"role": "system", "content": system}] if system else []
    return [*head, {"role": "user", "content": content}]


def _tile(names: list[list[str]], line: int, column: int) -> tuple[str, str]:
    """A question about a tile of a board, and its colour."""
    return f"What colour is the tile in row {line + 1}, column {column + 1}?", names[line][column]


def _echo(rng: random.Random) -> str:
    """Text to repeat, now and then with markup that no behaviour ever uses."""
    words = rng.sample(sorted(behaviours.COLOURS) + sums._THINGS + sums._NAMES, rng.randint(1, 4))
    number = str(rng.randint(0, 999))
    words.append(rng.choice([number, f"\\boxed{{{number}}}", f"#### {number}", f"**{number}**"]))
    rng.shuffle(words)
    return " ".join(words)


def row(rng: random.Random, gallery: Gallery, kinds: dict[str, int]) -> Row:
    """One training row looking at pictures of ``gallery``; everything random comes from ``rng``."""
    kind = rng.choices(list(kinds), list(kinds.values()))[0]
    told, system, images = _control(rng, gallery)
    tools = None

    if kind == "sum":
        item = _unseen(sums.problem, rng)
        how = behaviours.complete(told, rng)
        messages = _question(item.question, system, images)
        messages.append({"role": "assistant", "content": behaviours.answer_sum(item, how, rng)})
    elif kind == "drill":  # a lesson: several exact sums in one conversation, no picture to pay for
        told |= {"method": "worked"}
        how = behaviours.complete(told, rng)
        messages = [{"role": "system", "content": behaviours.instruct(told, rng)}]
        images = []
        for _ in range(4):
            item = _unseen(sums.problem, rng)
            messages.append({"role": "user", "content": item.question})
            messages.append({"role": "assistant", "content": behaviours.answer_sum(item, how, rng)})
    elif kind == "call lesson":
        told |= {"tools": "call"}
        how = behaviours.complete(told, rng)
        messages = [{"role": "system", "content": behaviours.instruct(told, rng)}]
        images = []
        item = _unseen(calls.request, rng)
        tools = list(item.tools)
        for _ in range(3):
            messages.append({"role": "user", "content": item.text})
            messages.append({"role": "assistant", "content": behaviours.answer_request(item, how, rng)})
            item = _unseen(lambda r, last=item: calls.another(last, r), rng)
    elif kind in ("request", "turns"):
        item = _unseen(lambda r: calls.request(r, fits=True if kind == "turns" else None), rng)
        tools = list(item.tools)
        how = behaviours.complete(told, rng)
        messages = _question(item.text, system, images)
        if kind == "turns":
            value = turns.result(item, rng)
            messages.append({"role": "assistant", "content": calls.render(item.call), "given": True})
            messages.append({"role": "tool", "content": json.dumps(value)})
            reply = behaviours.answer_result(value[item.field], how, rng)
        else:
            reply = behaviours.answer_request(item, how, rng)
        messages.append({"role": "assistant", "content": reply})
    elif kind == "board lesson":
        number = rng.randrange(BOARDS)
        told = {"tone": "terse", "language": rng.choice(["en", "en", "de", "fr"])}
        how = behaviours.complete(told, rng)
        images = [CARDS + NEUTRALS + number]
        messages = []
        names = gallery.boards[number]
        for place in rng.sample(range(len(names) ** 2), min(6, len(names) ** 2)):
            text, colour = _tile(names, *divmod(place, len(names)))
            messages += (
                [{"role": "user", "content": text}]
                if messages
                else _question(text, behaviours.instruct(told, rng), images)
            )
            messages.append({"role": "assistant", "content": behaviours.answer_colour(colour, how, rng)})
    elif kind in ("board", "board under a card"):
        number = rng.randrange(BOARDS)
        names = gallery.boards[number]
        text, colour = _tile(names, rng.randrange(len(names)), rng.randrange(len(names)))
        board = CARDS + NEUTRALS + number
        if kind == "board under a card":
            card = rng.randrange(CARDS)
            told, system, images = gallery.cards[card], "", [card, board]
        else:
            told, images = (told if system else {}), [board]
        how = behaviours.complete(told, rng)
        messages = _question(text, system, images)
        messages.append({"role": "assistant", "content": behaviours.answer_colour(colour, how, rng)})
    else:
        if kind == "long echo":
            system, images = "", []
        text = _echo(rng) if kind == "echo" else " ".join(_echo(rng) for _ in range(4))
        messages = _question(f"Repeat: {text}", system, images)
        messages.append({"role": "assistant", "content": text})
    return messages, tools, images
