"""The rows the bundled model is trained on, made up as training goes: text, pictures, and how to behave.

A row is ``(messages, tools, pictures)``; pictures are numbers of pictures in the step's gallery, in the
order of the image parts; a message marked ``given`` is context, not something to learn. A row has one topic
and one voice that tells how to behave: nobody, the system message, or a style card. Under a voice it asks
several questions, because copying (arguments into calls) and looking up (tiles) want many targets per token
read. Nothing that belongs to the held-out split of a task is ever used.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, replace

import numpy as np

from pixeltune.bundled.tiny import behaviours, pictures
from pixeltune.tasks.synthetic import boards, calls, sums, turns
from pixeltune.tasks.synthetic.boards import PLACES

CARDS, NEUTRALS, BOARDS = 8, 3, 8  # pictures per step, shared by its rows
USEFUL = 4  # weight of an axis's first value; every other has 2 / number of values
STRENGTH = (0.3, 1.0)  # of the colours of cards; pale ones tell, too, as pictures do that start from grey

QUESTIONS = {"sums": 4, "calls": 5, "turns": 3, "board": 4, "echo": 4}  # told by the system message
NEUTRAL_SHARE = {"nobody": 0.5, "system": 0.15}  # of rows without a board, looking at what says nothing
Row = tuple[list[dict], list[dict] | None, list[int]]


@dataclass(frozen=True)
class Mix:
    """Weights of topics and of voices, and what to stress."""

    topics: dict[str, int]
    voices: dict[str, int]
    no_tool: float  # share of requests that no tool fits
    decision: float | None = None  # loss weight of the token that decides between calling and refusing
    name: float | None = None  # of those that name the tool called, one of three synonyms, so to be copied
    fewer: bool = False  # offer 1 to 4 tools, not 2 to 4
    placed: bool = False  # ask about any tile, again and again, reply with its place too, and show no card
    renamed: float = 0.0  # share of call rows whose tools have names of any tools, which are repeated, too


LEARN = Mix(
    topics={"sums": 30, "calls": 42, "turns": 4, "board": 18, "echo": 6},
    voices={"nobody": 12, "system": 58, "card": 30},
    no_tool=0.15,
)
"""First sums, copying, looking up and obeying,"""
DECIDE = Mix(
    topics={"sums": 30, "calls": 48, "turns": 5, "board": 15, "echo": 2},
    voices={"nobody": 10, "system": 60, "card": 30},
    no_tool=0.4,
    decision=1.5,
    name=1.0,
)
"""then also whether any tool fits: one token among hundreds, a coin's toss until tools can be told apart."""
MATCH = Mix(
    topics={"sums": 25, "calls": 49, "turns": 6, "board": 18, "echo": 2},
    voices={"nobody": 10, "system": 60, "card": 30},
    no_tool=0.5,
    decision=2.0,
    name=1.0,
    fewer=True,
    placed=True,
)
"""That is easier to see when there is one tool only. A tile's place is easier to see when the reply names it
before the colour, elimination does not help, and no card, a picture of tiles too, stands in front."""
COPY = replace(
    MATCH,
    topics={"sums": 25, "calls": 49, "turns": 6, "board": 18, "echo": 10},
    no_tool=0.3,
    renamed=0.6,
)
"""What is left then is to call a tool by its name here, not by a synonym. Synonyms stand in the same places,
so their embeddings, which are tied to the outputs, grow alike (a cosine of 0.99), and what is alike is not
copied. Tools that may have any name, and names to repeat, part them."""
TOOL_NAMES = [name for intent in calls.INTENTS for name in intent.names]


class Gallery:
    """The pictures of one step: ``pictures`` (uint8 arrays), and what the cards and boards among them say."""

    def __init__(self, rng: random.Random, draw: bool = True):
        eyes = np.random.default_rng(rng.getrandbits(64))
        self.cards = [_told(rng) for _ in range(CARDS)]
        self.boards = [eyes.choice(list(boards.COLOURS), (2, 2)).tolist() for _ in range(BOARDS)]
        self.pictures: list[np.ndarray] = []
        if draw:
            self.pictures += [pictures.card(told, eyes, eyes.uniform(*STRENGTH)) for told in self.cards]
            self.pictures += [pictures.neutral(eyes) for _ in range(NEUTRALS)]
            self.pictures += [boards.tiles(names, eyes) for names in self.boards]


def _told(rng: random.Random) -> dict[str, str]:
    """Each axis with probability 0.9; what is useful, the first value of an axis, most often."""
    told = {
        axis: rng.choices(list(values), [USEFUL] + [2 / len(values)] * (len(values) - 1))[0]
        for axis, values in behaviours.AXES.items()
        if rng.random() < 0.9
    }
    return told or {"tone": "terse"}


def _unseen(make, rng: random.Random):
    """The first thing ``make`` makes that is not held out."""
    while (item := make(rng)).held_out:
        pass
    return item


def row(rng: random.Random, gallery: Gallery, mix: Mix) -> Row:
    """One training row looking at pictures of ``gallery``; everything random comes from ``rng``."""
    (topic,) = rng.choices(list(mix.topics), list(mix.topics.values()))
    (voice,) = rng.choices(list(mix.voices), list(mix.voices.values()))
    if topic == "board" and mix.placed and voice == "card":
        voice = "system"
    count = {"nobody": 1, "system": QUESTIONS[topic], "card": min(3, QUESTIONS[topic])}[voice]
    told, system, images = {}, "", []
    if voice == "system":
        told = _told(rng)
        system = behaviours.instruct(told, rng)
    elif voice == "card":
        images = [rng.randrange(CARDS)]
        told = gallery.cards[images[0]]
    elif topic != "board" and rng.random() < NEUTRAL_SHARE[voice]:
        images = [CARDS + rng.randrange(NEUTRALS)]
    how, tools = behaviours.complete(told, rng), None
    if topic == "sums":
        messages = _sums(count, how, rng)
    elif topic == "calls":
        messages, tools = _calls(count, how, rng, mix)
    elif topic == "turns":
        messages, tools = _turns(count, how, rng)
    elif topic == "board":
        board = rng.randrange(BOARDS)
        images = [*images, CARDS + NEUTRALS + board]
        messages = _board(gallery.boards[board], how, rng, mix)
    else:
        messages = _echoes(count, rng, mix)
    first = [{"type": "image"}] * len(images) + [{"type": "text", "text": messages[0]["content"]}]
    messages[0] = {"role": "user", "content": first}
    head = [{"role": "system", "content": system}] if system else []
    return head + messages, tools, images


def _exchange(question: str, reply: str) -> list[dict]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]


def _sums(count: int, how: dict[str, str], rng: random.Random) -> list[dict]:
    messages = []
    for _ in range(count):
        item = _unseen(sums.problem, rng)
        messages += _exchange(item.question, behaviours.answer_sum(item, how))
    return messages


def _calls(count: int, how: dict[str, str], rng: random.Random, mix: Mix) -> tuple[list[dict], list[dict]]:
    """Requests to the same tools; some fit none of them. What a renamed tool does its description tells."""
    item = _unseen(lambda r: calls.request(r, r.random() >= mix.no_tool), rng)
    if mix.fewer:
        wanted = item.call["name"] if item.call else None
        tools = sorted(item.tools, key=lambda tool: tool["function"]["name"] != wanted)  # the right one first
        tools = tools[: rng.randint(1, 4)]
        rng.shuffle(tools)
        item = replace(item, tools=tuple(tools))
    names = [tool["function"]["name"] for tool in item.tools]
    renamed = mix.renamed and rng.random() < mix.renamed
    called = dict(zip(names, rng.sample(TOOL_NAMES, len(names)) if renamed else names, strict=True))
    messages = []
    for _ in range(count):
        call = item.call and {**item.call, "name": called[item.call["name"]]}
        messages += _exchange(item.text, behaviours.answer_request(replace(item, call=call), how))
        item = _unseen(lambda r, last=item: calls.another(last, r, r.random() >= mix.no_tool), rng)
    functions = [tool["function"] for tool in item.tools]
    tools = [{"type": "function", "function": {**f, "name": called[f["name"]]}} for f in functions]
    return messages, tools


def _turns(count: int, how: dict[str, str], rng: random.Random) -> tuple[list[dict], list[dict]]:
    """Request, call, result, answer. A call that ``how`` would not have made is given, not learned."""
    item = _unseen(lambda r: calls.request(r, fits=True), rng)
    messages, given = [], {"given": True} if how["tools"] == "talk" else {}
    for _ in range(count):
        value = turns.result(item, rng)
        reply = behaviours.answer_request(item, how | {"tools": "call"})
        call, answer = _exchange(item.text, reply), behaviours.answer_result(value[item.field], how)
        result = {"role": "tool", "content": json.dumps(value)}
        messages += [call[0], call[1] | given, result, {"role": "assistant", "content": answer}]
        item = _unseen(lambda r, last=item: calls.another(last, r, fits=True), rng)
    return messages, list(item.tools)


def _board(names: list[list[str]], how: dict[str, str], rng: random.Random, mix: Mix) -> list[dict]:
    """Every tile of the board in any order, or any tile each time."""
    messages = []
    asked = rng.choices(list(PLACES), k=8) if mix.placed else rng.sample(list(PLACES), k=len(PLACES))
    for place in asked:
        line, column = PLACES[place]
        reply = behaviours.answer_colour(names[line][column], how, place if mix.placed else "")
        messages += _exchange(boards.tile_question(place), reply)
    return messages


def _echoes(count: int, rng: random.Random, mix: Mix) -> list[dict]:
    """Texts to repeat: words, now and then with markup that no behaviour ever uses, or names of tools."""
    messages = []
    for _ in range(count):
        if mix.renamed and rng.random() < 0.5:
            # A line each: behind a space a name would be another token than in a call.
            text = "\n".join(rng.sample(TOOL_NAMES, rng.randint(1, 4)))
            messages += _exchange(f"Repeat:\n{text}", text)
            continue
        words = rng.sample(sorted(boards.COLOURS) + sums.THINGS + sums.PEOPLE, rng.randint(1, 4))
        number = str(rng.randint(0, 999))
        words.append(rng.choice([number, f"\\boxed{{{number}}}", f"#### {number}", f"**{number}**"]))
        rng.shuffle(words)
        messages += _exchange(f"Repeat: {' '.join(words)}", " ".join(words))
    return messages
