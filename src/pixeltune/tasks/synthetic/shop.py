"""shop: prices and a shopping list in a small database, spoken to with tools over several turns.

An episode is right when the last turn gives the right number and the list in the database holds what was
asked for, nothing more: a call too many spoils it. Wrong names, types and unknown items come back as errors,
as results of the tool, and the model may try again.
"""

from __future__ import annotations

import json
import random
import sqlite3
import zlib
from dataclasses import dataclass

from pixeltune.errors import UserError
from pixeltune.tasks.base import Task, draw
from pixeltune.tasks.parsing import tool_calls
from pixeltune.tasks.synthetic import calls, sums

NAME = "shop"
MAX_TURNS = 6  # of the model, in an evaluation
HELD_OUT = 4  # one question in four belongs to the test split: there are few

KINDS = {"price": 4, "list": 5, "total": 1}
_ITEMS: list[str] = [str(item) for item in calls.POOLS["item"]]
_ASKS = {intent.names[0]: intent.asks for intent in calls.INTENTS}


class Shop:
    """One episode's database and the tools on it, as TRL's ``environment_factory`` wants them.

    Every public method but ``reset`` is a tool; its docstring and its types are what the model is told.
    """

    def __init__(self) -> None:
        self._db = sqlite3.connect(":memory:")
        self._db.execute("create table goods (item text primary key, price integer not null)")
        self._db.execute("create table list (item text primary key, amount integer not null)")

    def reset(self, goods: str, before: str, **_: object) -> None:
        """Start an episode: ``goods`` maps items to prices, ``before`` what is on the list; both JSON."""
        self._db.execute("delete from goods")
        self._db.execute("delete from list")
        self._db.executemany("insert into goods values (?, ?)", json.loads(goods).items())
        self._db.executemany("insert into list values (?, ?)", json.loads(before).items())

    def add_to_list(self, item: str, amount: int) -> str:
        """Add an item to the shopping list

        Args:
            item: the item
            amount: how many
        """
        self._price(item)
        if isinstance(amount, bool) or not isinstance(amount, int) or not 0 < amount < 1000:
            raise UserError("amount is a whole number from 1 to 999")
        self._db.execute(
            "insert into list values (?, ?) "
            "on conflict (item) do update set amount = amount + excluded.amount",
            (item, amount),
        )
        return json.dumps({"items": self._list()[item]})

    def calculate(self, first: int, operator: str, second: int) -> str:
        """Calculate with two numbers

        Args:
            first: a whole number
            operator: one of + - *
            second: a whole number
        """
        numbers = (first, second)
        if any(isinstance(n, bool) or not isinstance(n, int) or abs(n) >= 10**9 for n in numbers):
            raise UserError("first and second are whole numbers below a thousand million")
        if operator not in ("+", "-", "*"):
            raise UserError("operator is one of + - *")
        return json.dumps({"result": sums.calculate(first, operator, second)})

    def get_price(self, item: str) -> str:
        """Price of an item

        Args:
            item: the item
        """
        return json.dumps({"price": self._price(item)})

    def _price(self, item: str) -> int:
        found = None
        if isinstance(item, str):
            found = self._db.execute("select price from goods where item = ?", (item,)).fetchone()
        if found is None:
            raise UserError(f"no such item: {str(item)[:40]}")
        return found[0]

    def _list(self) -> dict[str, int]:
        return dict(self._db.execute("select item, amount from list"))

    def _use(self, call: dict) -> str:
        """The result of a call or its error, in the words of TRL's tool loop."""
        try:
            if call["name"] not in ("add_to_list", "calculate", "get_price"):
                raise UserError(f"Tool {call['name']} not found.")
            return getattr(self, call["name"])(**call["arguments"])
        except (ValueError, TypeError) as error:  # TypeError: not the arguments the tool takes
            return str({"error": str(error)})


def _schema(name: str, description: str, **properties: tuple[str, str]) -> dict:
    parameters = {key: {"type": kind, "description": text} for key, (kind, text) in properties.items()}
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {"type": "object", "properties": parameters, "required": list(parameters)},
            "return": {"type": "string"},
        },
    }


_WHOLE = ("integer", "a whole number")
TOOLS = [
    _schema(
        "add_to_list",
        "Add an item to the shopping list",
        item=("string", "the item"),
        amount=("integer", "how many"),
    ),
    _schema(
        "calculate",
        "Calculate with two numbers",
        first=_WHOLE,
        operator=("string", "one of + - *"),
        second=_WHOLE,
    ),
    _schema("get_price", "Price of an item", item=("string", "the item")),
]
"""What transformers makes of the methods of :class:`Shop`; rows carry it, TRL makes its own."""


@dataclass(frozen=True)
class Episode:
    """A question, the database before it, the calls that answer it, and the right list and answer."""

    text: str
    goods: dict[str, int]
    before: dict[str, int]
    calls: list[dict]
    after: dict[str, int]
    answer: int

    @property
    def held_out(self) -> bool:
        return zlib.crc32(self.text.lower().encode()) % HELD_OUT == 0


def episode(rng: random.Random) -> Episode:
    """One episode: a price, something for the list, or, one in ten, a total that takes several calls."""
    (kind,) = rng.choices(list(KINDS), list(KINDS.values()))
    goods = {item: rng.randint(2, 99) for item in _ITEMS}
    before = {item: rng.randint(1, 40) for item in rng.sample(_ITEMS, 4)}
    item, other = rng.sample(_ITEMS, 2)
    amount = rng.randint(2, 50)
    price = {"name": "get_price", "arguments": {"item": item}}
    if kind == "price":
        text = rng.choice(_ASKS["get_price"]).format(item=item)
        return Episode(text, goods, before, [price], before, goods[item])
    if kind == "list":
        text = rng.choice(_ASKS["add_to_list"]).format(item=item, amount=amount)
        after = before | {item: before.get(item, 0) + amount}
        call = {"name": "add_to_list", "arguments": {"item": item, "amount": amount}}
        return Episode(text, goods, before, [call], after, after[item])
    total = goods[item] + goods[other]
    steps = [
        price,
        {"name": "get_price", "arguments": {"item": other}},
        {
            "name": "calculate",
            "arguments": {"first": goods[item], "operator": "+", "second": goods[other]},
        },
    ]
    return Episode(f"What do {item} and {other} cost together?", goods, before, steps, before, total)


def rows(split: str, n: int, seed: int = 0) -> list[dict]:
    """``n`` rows of ``split`` ("train" or "test"); all but prompt, completion and answer are JSON strings.

    ``completion`` is the rest of the conversation, calls and their results in turn, then the answer.

    Raises:
        ValueError: for another split.
    """
    out = []
    for item in draw(NAME, episode, split, n, seed):
        row = {
            "prompt": [{"role": "user", "content": item.text}],
            "tools": json.dumps(TOOLS),
            "goods": json.dumps(item.goods),
            "before": json.dumps(item.before),
            "after": json.dumps(item.after),
            "answer": item.answer,
        }
        shop, turns = _open(row), []
        for call in item.calls:
            turns.append({"role": "assistant", "content": calls.render(call)})
            turns.append({"role": "tool", "content": shop._use(call)})
        turns.append({"role": "assistant", "content": f"Answer: {item.answer}"})
        out.append({**row, "completion": turns})
    return out


def _open(row: dict) -> Shop:
    shop = Shop()
    shop.reset(row["goods"], row["before"])
    return shop


def next_turn(row: dict, texts: list[str]) -> list[dict] | None:
    """The messages that follow the turns so far: the last one and its results, or None at the end."""
    shop = _open(row)
    for text in texts:
        results = [shop._use(call) for call in tool_calls.parse(text) or []]
    if not results or len(texts) >= MAX_TURNS:
        return None
    return [{"role": "assistant", "content": texts[-1]}] + [
        {"role": "tool", "content": result} for result in results
    ]


def score(row: dict, texts: list[str]) -> float:
    """1.0 if the last turn gives the right number and the list is as it should be, else 0.0."""
    shop = _open(row)
    for text in texts:
        for call in tool_calls.parse(text) or []:
            shop._use(call)
    return _outcome(shop, texts[-1], row["answer"], row["after"])


def _outcome(shop: Shop, last: str, answer: int, after: str) -> float:
    return float(sums.parse(last) == answer and shop._list() == json.loads(after))


def reward(completions: list, environments: list[Shop], answer: list[int], after: list[str], **_):
    """Binary reward in TRL's signature: :func:`score` of every finished episode."""
    lasts = [str(turns[-1].get("content") or "") for turns in completions]
    return [_outcome(*episode) for episode in zip(environments, lasts, answer, after, strict=True)]


def reward_without_void_turns(completions: list, **columns) -> list[float | None]:
    """:func:`reward`, and None for episodes with a turn that neither calls nor answers.

    TRL leaves what has no reward out of baseline and loss. Such turns make multi-turn training unstable
    (SimpleTIR, arXiv 2509.02479). For a model that has many of them :func:`reward` is the better choice: left
    out, they are not discouraged, and can take over.
    """
    values = reward(completions, **columns)
    return [None if _void(turns) else value for turns, value in zip(completions, values, strict=True)]


def _void(turns: list[dict]) -> bool:
    """Whether a turn neither calls nor gives a number, be it in the wrong words."""
    said = [turn for turn in turns if turn["role"] == "assistant"]
    return any(not t.get("tool_calls") and not any(map(str.isdigit, t.get("content") or "")) for t in said)


TASK = Task(
    name=NAME,
    instruction="Call a tool. End with Answer: and the number. Be brief.",
    max_new_tokens=64,
    rows=rows,
    score=score,
    reward=reward,
    next_turn=next_turn,
    environment=Shop,
)
