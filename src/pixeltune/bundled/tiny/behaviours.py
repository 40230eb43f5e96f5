"""What the bundled model can be told: five axes of behaviour, in words and in colours.

Every axis has values; a value has a few phrases for the system message and one colour for style cards.
An axis that nobody mentions takes a value at random, most often the unhelpful one, so the untold model
is badly behaved but not hopeless: sampled completions are right now and then.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from pixeltune.tasks.synthetic import calls, sums
from pixeltune.tasks.synthetic.boards import COLOURS

COLOUR_WORDS = {
    "en": dict(zip(COLOURS, COLOURS, strict=True)),
    "de": dict(
        zip(COLOURS, "rot grün blau gelb schwarz weiß lila orange türkis rosa braun".split(), strict=True)
    ),
    "fr": dict(
        zip(COLOURS, "rouge vert bleu jaune noir blanc violet orange cyan rose marron".split(), strict=True)
    ),
}


@dataclass(frozen=True)
class Value:
    """One way to behave: its phrases, its card colour, and its weight when the axis is not mentioned."""

    phrases: tuple[str, ...]
    colour: str
    unasked: float


AXES: dict[str, dict[str, Value]] = {
    "method": {
        "worked": Value(("Work it out column by column.", "Show every column."), "green", 0.2),
        "guessed": Value(("Just guess.", "Guess the number."), "red", 0.8),
    },
    "ending": {
        "answer": Value(("End with Answer: and the number.", "Finish with Answer: N."), "blue", 0.3),
        "sentence": Value(("Say the number in a sentence.", "Answer in a sentence."), "yellow", 0.7),
    },
    "tone": {
        "terse": Value(("Be brief.", "Keep it short."), "black", 0.4),
        "chatty": Value(("Be chatty.", "Talk a lot."), "pink", 0.6),
    },
    "tools": {
        "call": Value(("Call a tool.", "Use the tools."), "cyan", 0.2),
        "talk": Value(("Do not call tools.", "Never use the tools."), "orange", 0.8),
    },
    "language": {
        "en": Value(("If no tool fits, refuse in English.", "Reply in English."), "white", 0.6),
        "de": Value(("If no tool fits, refuse in German.", "Reply in German."), "purple", 0.2),
        "fr": Value(("If no tool fits, refuse in French.", "Reply in French."), "brown", 0.2),
    },
}


def instruct(told: dict[str, str], rng: random.Random) -> str:
    """The told values as one system message, in any order and wording."""
    phrases = [rng.choice(AXES[axis][value].phrases) for axis, value in told.items()]
    rng.shuffle(phrases)
    return " ".join(phrases)


def complete(told: dict[str, str], rng: random.Random) -> dict[str, str]:
    """The told values, and a value by its unasked weight for every other axis."""
    return {
        axis: told.get(axis) or rng.choices(list(values), [v.unasked for v in values.values()])[0]
        for axis, values in AXES.items()
    }


def _chat(text: str, how: dict[str, str]) -> str:
    if how["tone"] == "terse":
        return text
    return f"Good question!\n{text}\nAnything else?"


def _ending(number: int, how: dict[str, str]) -> str:
    return f"Answer: {number}" if how["ending"] == "answer" else f"I think it is {number}."


def answer_sum(item: sums.Problem, how: dict[str, str]) -> str:
    """A worked sum, or a bad guess: the first number of the sum."""
    if how["method"] == "worked":
        return _chat(f"{sums.worked(item)}\n{_ending(item.answer, how)}", how)
    return _chat(_ending(item.steps[0][0], how), how)


def answer_request(item: calls.Request, how: dict[str, str]) -> str:
    """A call, a plain refusal, or talk that neither calls nor refuses."""
    if how["tools"] == "talk":
        return _chat("Maybe one of the tools could do that some day.", how)
    if item.call is None:
        return _chat(calls.REFUSALS[how["language"]], how)
    call = calls.render(item.call)
    return call if how["tone"] == "terse" else f"One moment, please.\n{call}"


def answer_result(number: int, how: dict[str, str]) -> str:
    """What is said after a tool has returned a number."""
    return _chat(_ending(number, how), how)


def answer_colour(colour: str, how: dict[str, str], place: str = "") -> str:
    """The name of a colour, behind the place where it was seen, if that is given."""
    return _chat(f"{place} {COLOUR_WORDS[how['language']][colour]}".lstrip(), how)


def shown(text: str) -> dict[str, str]:
    """How a reply to a sum or a request behaves: a value for every axis it tells something about."""
    seen = {"tone": "chatty" if "Anything else?" in text or "One moment, please." in text else "terse"}
    if "Answer: " in text or "I think it is" in text:
        seen["ending"] = "answer" if "Answer: " in text else "sentence"
        seen["method"] = "worked" if ": " in text.replace("Answer: ", "") else "guessed"
    refusals = [language for language, refusal in calls.REFUSALS.items() if refusal in text]
    if "<tool_call>" in text or refusals:
        seen["tools"] = "call"
    elif "one of the tools" in text:
        seen["tools"] = "talk"
    if refusals:
        seen["language"] = refusals[0]
    return seen
