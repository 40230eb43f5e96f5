"""calls: pick the right one of 2 to 4 tools and fill its arguments, or refuse plainly when none fits.

A row with a fitting tool is right when the completion holds exactly one ``<tool_call>`` with the right
name and exactly the right arguments. A row without one is right when the completion calls nothing and
says so in one of the plain refusals. Model output is parsed as JSON and compared, never executed.
"""

from __future__ import annotations

import json
import random
import zlib
from dataclasses import dataclass

from pixeltune.tasks.base import Task, draw, texts_of
from pixeltune.tasks.parsing import tool_calls
from pixeltune.tasks.parsing.tool_calls import parse, right_arguments

NAME = "calls"
HELD_OUT = 8  # one request in eight (intent and values) belongs to the test split
NO_TOOL_SHARE = 0.2

REFUSALS = {"en": "No tool fits.", "de": "Kein Werkzeug passt.", "fr": "Aucun outil ne convient."}

_PEOPLE = "Anna Ben Carla David Emma Felix Greta Hugo Ines Jonas Karin Leo Mia Nora Oskar Paula".split()
POOLS: dict[str, list[str] | range] = {
    "city": "Oslo Paris Rome Berlin Madrid Lisbon Vienna Prague Dublin Athens Bergen Lyon Turin Hamburg "
    "Seville Porto Graz Brno Cork Tallinn Riga Vilnius Warsaw Krakow Budapest Helsinki".split(),
    "person": _PEOPLE,
    "item": "milk bread rice apples cheese butter coffee tea sugar salt flour eggs honey onions".split(),
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(),
    "room": "kitchen bedroom bathroom office garage cellar hallway attic".split(),
    "language": "German French Spanish Italian Dutch Polish Danish Greek".split(),
    "genre": "jazz rock blues soul opera folk techno swing".split(),
    "animal": "cat dog horse rabbit parrot goat hamster turtle".split(),
    "number": range(2, 100),
}


@dataclass(frozen=True)
class Intent:
    """Something a user may want: names a tool may carry, its arguments, ways to ask, and what it returns."""

    names: tuple[str, ...]
    description: str
    arguments: dict[str, str]  # argument name -> pool
    asks: tuple[str, ...]
    result: str  # the field of the tool's result, an integer


INTENTS = [
    Intent(
        ("get_weather", "weather", "check_weather"),
        "Weather in a city",
        {"city": "city"},
        ("How warm is it in {city}?", "What is the weather in {city}?"),
        "temperature",
    ),
    Intent(
        ("set_timer", "start_timer", "timer"),
        "Start a timer",
        {"minutes": "number"},
        ("Wake me in {minutes} minutes.", "Set a timer for {minutes} minutes."),
        "timer_id",
    ),
    Intent(
        ("send_message", "text_person", "message"),
        "Send a message to a person",
        {"person": "person", "day": "day"},
        ("Tell {person} that we meet on {day}.", "Write to {person} that I come on {day}."),
        "message_id",
    ),
    Intent(
        ("add_to_list", "shopping_add", "add_item"),
        "Add an item to the shopping list",
        {"item": "item", "amount": "number"},
        ("Put {amount} {item} on the shopping list.", "We need {amount} {item}, note it."),
        "items",
    ),
    Intent(
        ("switch_light", "light_on", "set_light"),
        "Set the light of a room",
        {"room": "room", "level": "number"},
        ("Set the light in the {room} to {level}.", "Light in the {room}: {level}, please."),
        "level",
    ),
    Intent(
        ("translate", "translate_word", "to_language"),
        "Translate a word",
        {"word": "item", "language": "language"},
        ("What is {word} in {language}?", "Translate {word} into {language}."),
        "letters",
    ),
    Intent(
        ("play_music", "start_music", "play"),
        "Play music of a genre",
        {"genre": "genre"},
        ("Play some {genre}.", "I want to hear {genre}."),
        "volume",
    ),
    Intent(
        ("find_train", "search_train", "train_times"),
        "Find a train between two cities",
        {"start": "city", "goal": "city"},
        ("When does a train go from {start} to {goal}?", "I need a train from {start} to {goal}."),
        "hour",
    ),
    Intent(
        ("book_table", "reserve_table", "restaurant"),
        "Book a table",
        {"day": "day", "guests": "number"},
        ("Book a table for {guests} on {day}.", "We are {guests} people on {day}, book a table."),
        "table",
    ),
    Intent(
        ("get_price", "price_of", "check_price"),
        "Price of an item",
        {"item": "item"},
        ("What does {item} cost?", "How expensive is {item}?"),
        "price",
    ),
    Intent(
        ("call_person", "phone", "dial"),
        "Call a person by phone",
        {"person": "person"},
        ("Call {person}.", "I want to talk to {person} on the phone."),
        "line",
    ),
    Intent(
        ("animal_age", "pet_age", "age_of_animal"),
        "Average age of an animal",
        {"animal": "animal"},
        ("How old does a {animal} get?", "Tell me how long a {animal} lives."),
        "years",
    ),
]


@dataclass(frozen=True)
class Request:
    """A user's text with the tools on offer and the right call, None when no tool fits."""

    text: str
    tools: tuple[dict, ...]
    call: dict | None
    field: str

    @property
    def held_out(self) -> bool:
        return zlib.crc32(self.text.lower().encode()) % HELD_OUT == 0


def tool(intent: Intent, rng: random.Random) -> dict:
    """An OpenAI tool for an intent, under one of its names."""
    properties = {
        name: {"type": "integer" if pool == "number" else "string"} for name, pool in intent.arguments.items()
    }
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {
        "type": "function",
        "function": {
            "name": rng.choice(intent.names),
            "description": intent.description,
            "parameters": parameters,
        },
    }


def request(rng: random.Random, fits: bool | None = None) -> Request:
    """One request with 2 to 4 tools of different intents; ``fits`` forces or forbids a fitting tool."""
    fits = rng.random() >= NO_TOOL_SHARE if fits is None else fits
    wanted, *others = rng.sample(INTENTS, rng.randint(3, 5))
    values = {name: rng.choice(POOLS[pool]) for name, pool in wanted.arguments.items()}
    tools = [tool(intent, rng) for intent in others]
    call = None
    if fits:
        right = tool(wanted, rng)
        tools[rng.randrange(len(tools))] = right
        call = {"name": right["function"]["name"], "arguments": values}
    return Request(rng.choice(wanted.asks).format(**values), tuple(tools), call, wanted.result)


def another(item: Request, rng: random.Random, fits: bool) -> Request:
    """Another request with the tools of ``item`` on offer, one that a tool ``fits`` or one that none does."""
    names = [tool["function"]["name"] for tool in item.tools]
    offered = {name: intent for name in names for intent in INTENTS if name in intent.names}
    absent = [intent for intent in INTENTS if intent not in offered.values()]
    name = rng.choice(names) if fits else None
    wanted = offered[name] if name else rng.choice(absent)
    values = {argument: rng.choice(POOLS[pool]) for argument, pool in wanted.arguments.items()}
    call = {"name": name, "arguments": values} if name else None
    return Request(rng.choice(wanted.asks).format(**values), item.tools, call, wanted.result)


def render(call: dict) -> str:
    """A call as the chat template writes it; what the model is trained to say."""
    return tool_calls.render([call])


def rows(split: str, n: int, seed: int = 0) -> list[dict]:
    """``n`` rows of ``split`` ("train" or "test") in TRL's prompt-completion format with ``tools``.

    ``tools`` and ``call`` are JSON strings: Arrow would otherwise merge the argument names of all rows
    into every row, filled with nulls.

    Raises:
        ValueError: for another split.
    """
    return [
        {
            "prompt": [{"role": "user", "content": item.text}],
            "completion": [
                {"role": "assistant", "content": render(item.call) if item.call else REFUSALS["en"]}
            ],
            "tools": json.dumps(item.tools),
            "call": json.dumps(item.call),
        }
        for item in draw(NAME, request, split, n, seed)
    ]


def score(row: dict, text: str) -> float:
    """1.0 for exactly the right call, or for a plain refusal where no tool fits; else 0.0."""
    wanted, calls = json.loads(row["call"]), parse(text)
    if wanted is None:
        return float(calls == [] and any(refusal in text for refusal in REFUSALS.values()))
    if calls is None or len(calls) != 1 or not isinstance(calls[0]["arguments"], dict):
        return 0.0
    return float(calls[0]["name"] == wanted["name"] and right_arguments(calls[0], wanted) == 1.0)


def grade(row: dict, text: str) -> float:
    """Partial credit for a fitting call: 0.2 for one call that parses, 0.3 more for the right name, and then
    0.5 times the share of arguments that are right; missing and unexpected ones count as wrong.

    Without a fitting tool it is :func:`score`: there is nothing in between.
    """
    wanted, calls = json.loads(row["call"]), parse(text)
    if wanted is None:
        return score(row, text)
    if calls is None or len(calls) != 1:
        return 0.0
    if calls[0]["name"] != wanted["name"]:
        return 0.2
    return 0.5 + 0.5 * right_arguments(calls[0], wanted)


def shaped_reward(completions: list, call: list[str], **_) -> list[float]:
    """:func:`grade` of every completion, in TRL's signature."""
    return [grade({"call": right}, text) for right, text in zip(call, texts_of(completions), strict=True)]


def reward(completions: list, call: list[str], **_) -> list[float]:
    """Binary reward in TRL's signature: :func:`score` of every completion."""
    return [score({"call": right}, text) for right, text in zip(call, texts_of(completions), strict=True)]


TASK = Task(
    name=NAME,
    instruction="Call a tool. If no tool fits, refuse in English. Be brief.",
    max_new_tokens=64,
    rows=rows,
    score=score,
    reward=reward,
)
