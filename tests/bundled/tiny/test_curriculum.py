from __future__ import annotations

import itertools
import random
import re

import numpy as np
import pytest

from pixeltune.bundled.tiny import behaviours, curriculum, pictures, recipe
from pixeltune.tasks.parsing import tool_calls
from pixeltune.tasks.synthetic import calls, sums
from pixeltune.tasks.synthetic.boards import COLOURS, PLACES, tile_question

MIXES = pytest.mark.parametrize("mix", recipe.STAGES.values(), ids=["learn", "decide", "match", "copy"])


def test_rows_are_a_function_of_the_seed():
    def rows(seed: int) -> list:
        rng = random.Random(seed)
        gallery = curriculum.Gallery(rng)
        rows = [curriculum.row(rng, gallery, curriculum.LEARN) for _ in range(20)]
        return rows + [picture.tobytes() for picture in gallery.pictures]

    assert rows(1) == rows(1)
    assert rows(1) != rows(2)


@MIXES
def test_nothing_held_out_is_ever_trained_on(mix):
    held_out = {row["prompt"][0]["content"] for row in calls.rows("test", 3000)}
    held_out |= {row["prompt"][0]["content"] for row in sums.rows("test", 3000)}
    rng = random.Random(0)
    gallery = curriculum.Gallery(rng, draw=False)
    for _ in range(5000):
        messages, _, _ = curriculum.row(rng, gallery, mix)
        for message in messages:
            if message["role"] == "user":
                parts = message["content"]
                assert (parts if isinstance(parts, str) else parts[-1]["text"]) not in held_out


@MIXES
def test_a_boxed_answer_is_on_no_card_and_in_no_instruction(mix):
    phrases = [p for values in behaviours.AXES.values() for value in values.values() for p in value.phrases]
    assert not any("box" in phrase.lower() for phrase in phrases)
    rng = random.Random(0)
    gallery = curriculum.Gallery(rng, draw=False)
    for _ in range(5000):
        messages, _, _ = curriculum.row(rng, gallery, mix)
        for question, reply in itertools.pairwise(messages):
            if reply["role"] == "assistant" and "\\boxed" in reply["content"]:
                parts = question["content"]
                asked = parts if isinstance(parts, str) else parts[-1]["text"]
                assert asked == f"Repeat: {reply['content']}"


@MIXES
def test_a_row_looks_at_pictures_that_say_what_it_learns(mix):
    """Under a card every reply to a sum behaves as the card tells; a tile's colour is the board's."""
    rng = random.Random(0)
    gallery = curriculum.Gallery(rng, draw=False)
    cards = boards = 0
    for _ in range(2000):
        messages, _, images = curriculum.row(rng, gallery, mix)
        text = messages[-2]["content"] if isinstance(messages[-2]["content"], str) else ""
        reply = messages[-1]["content"]
        if images and images[0] < curriculum.CARDS and ("Answer: " in reply or "I think it is" in reply):
            told, seen = gallery.cards[images[0]], behaviours.shown(reply)
            assert all(told.get(axis, seen[axis]) == seen[axis] for axis in ("ending", "tone"))
            cards += 1
        for place, (line, column) in PLACES.items():
            if text == tile_question(place):
                names = gallery.boards[images[-1] - curriculum.CARDS - curriculum.NEUTRALS]
                colour = names[line][column]
                words = {behaviours.COLOUR_WORDS[language][colour] for language in ("en", "de", "fr")}
                assert words & set(reply.split())
                assert (place in reply) == mix.placed
                boards += 1
    assert cards > 100
    assert boards > 100


@MIXES
def test_a_request_without_its_tool_is_refused_and_one_with_it_is_called(mix):
    """Where tools are used: a call names the tool on offer that is described as having that purpose, whatever
    its name; a refusal comes when there is none."""
    rng = random.Random(3)
    gallery = curriculum.Gallery(rng, draw=False)
    offered, refused, called, renamed = set(), 0, 0, 0
    described = {intent.description: intent for intent in calls.INTENTS}
    purposes = {text: intent for intent in calls.INTENTS for text in _asks(intent)}
    for _ in range(1500):
        messages, tools, _ = curriculum.row(rng, gallery, mix)
        if not tools:
            continue
        offered.add(len(tools))
        functions = [tool["function"] for tool in tools]
        named = {function["name"]: described[function["description"]] for function in functions}
        assert len(named) == len(tools)
        for question, reply in itertools.pairwise(messages):
            if question["role"] != "user" or reply["role"] != "assistant":
                continue
            asked = question["content"]
            asked = asked if isinstance(asked, str) else asked[-1]["text"]
            intent = next(i for pattern, i in purposes.items() if re.fullmatch(pattern, asked))
            if "<tool_call>" in reply["content"]:
                (call,) = tool_calls.parse(reply["content"])
                assert named[call["name"]] is intent
                assert list(call["arguments"]) == list(intent.arguments)
                called += 1
                renamed += call["name"] not in intent.names
            elif any(refusal in reply["content"] for refusal in calls.REFUSALS.values()):
                assert intent not in named.values()
                refused += 1
    assert offered == ({1, 2, 3, 4} if mix.fewer else {2, 3, 4})
    assert min(refused, called) > 100
    assert 0.3 < renamed / called < 0.7 if mix.renamed else renamed == 0


def _asks(intent: calls.Intent) -> list[str]:
    return [re.sub(r"\\\{\w+\\\}", ".+", re.escape(ask)) for ask in intent.asks]


def test_replies_show_how_they_were_told_to_be():
    rng = random.Random(0)
    axes = {axis: list(values) for axis, values in behaviours.AXES.items()}
    for values in itertools.product(*axes.values()):
        how = dict(zip(axes, values, strict=True))
        seen = behaviours.shown(behaviours.answer_sum(sums.problem(rng), how))
        assert seen == {axis: how[axis] for axis in ("method", "ending", "tone")}
        item = calls.request(rng, fits=False)
        seen = behaviours.shown(behaviours.answer_request(item, how))
        assert seen["tools"] == how["tools"]
        assert how["tools"] == "talk" or seen["language"] == how["language"]


def test_colours_on_cards_are_the_told_ones():
    colours = [value.colour for values in behaviours.AXES.values() for value in values.values()]
    assert sorted(colours) == sorted(COLOURS)  # every colour means one thing
    card = pictures.card({"method": "worked", "tone": "terse"}, np.random.default_rng(0))
    assert card.shape == (256, 256, 3)
    tiles = card.reshape(4, 64, 4, 64, 3).mean((1, 3)).reshape(16, 3)
    wanted = np.array([COLOURS["green"], COLOURS["black"]])
    assert (np.abs(tiles[:, None] - wanted).max(-1).min(-1) < 40).all()


def test_names_of_tools_are_repeated_as_they_stand_in_calls(processor):
    """The same tokens, without a space in front."""
    rng = random.Random(0)
    tokenizer, seen = processor.tokenizer, set()
    for _ in range(200):
        for reply in curriculum._echoes(1, rng, curriculum.COPY)[1::2]:
            names = reply["content"].split("\n")
            if set(names) <= set(curriculum.TOOL_NAMES):
                seen |= set(names)
                ids = tokenizer(f"Repeat:\n{reply['content']}")["input_ids"]
                for name in names:
                    own = tokenizer(name)["input_ids"]
                    assert any(ids[i : i + len(own)] == own for i in range(len(ids)))
    assert seen == set(curriculum.TOOL_NAMES)
