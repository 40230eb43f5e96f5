"""Artworks in conversations: painted from rows of one turn, or behind contexts, each beside a LoRA.

    python benchmarks/contexts.py [--tasks sums calls] [--seeds 42 43 44] [--places] [--table] [--quick]

For each task and seed artworks and LoRAs of rank 16 are trained by SFT on the same 1000 rows of the bundled model (40
steps of 16 rows; artworks at 0.06 from grey, LoRAs at 3e-3): on the rows alone (`plain`), half of them behind histories
that the model makes with the start picture (`own`), half of them behind contexts of a file (`file`). Each, and the best
words, answers the same 200 test rows of its seed alone and behind contexts of five kinds, whose wordings are in no
training: other questions, small talk, system messages and tools. Writes benchmarks/results/contexts.json cell by cell,
prints scores with Wilson 95 % intervals, and whether the bars hold: at least 15 points above plain wherever plain loses
20 or more, alone within 1 point.

`--places` asks instead where the artwork does best in a conversation, painted and shown in process in front of the
first user text, of the last, or in the system message, with contexts of the file for half of the rows.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from datasets import Dataset
from PIL import Image

from benchmarks.common.accuracy_table import interval, share
from benchmarks.common.accuracy_tasks import part
from benchmarks.common.baselines import COMMON, adapt, train
from benchmarks.common.cells import once, read
from benchmarks.common.paintings import base_hash, begin, marks, model, processor
from pixeltune.bundled.tiny.behaviours import answer_request, answer_sum, complete
from pixeltune.data.contexts import Context, behind, write_contexts
from pixeltune.data.instruction import tell
from pixeltune.data.messages import Message
from pixeltune.data.placement import place
from pixeltune.evaluation.in_process import InProcess, wearing
from pixeltune.evaluation.statistics import bootstrap
from pixeltune.model.loading import load_model
from pixeltune.picture.canvas import Canvas, start_picture
from pixeltune.tasks.base import find_task
from pixeltune.tasks.synthetic import calls, sums
from pixeltune.training.defaults import OFFLINE, PIXEL_DEFAULTS
from pixeltune.training.histories import histories
from pixeltune.training.objectives import OBJECTIVES
from pixeltune.training.paint import paint

OUT = Path(__file__).parent / "results" / "contexts.json"
TASKS = ["sums", "calls"]
SEEDS = [42, 43, 44]  # of rows, of contexts and of trainings
METHODS = {"artwork": "artwork", "lora": "LoRA"}
WAYS = {"plain": "plain", "own": "`own`", "file": "a file"}
KINDS = {
    "alone": "alone",
    "habit": "one exchange of habit",
    "habits": "two of them",
    "chat": "small talk",
    "system": "a system message",
    "tools": "another tool's result",
}
PLACES = {"first": "first user turn", "last": "last user turn", "system": "system message"}
ROWS, BATCH, RATE, LORA_RATE, SHARE = 1000, 16, 0.06, 3e-3, 0.5
BARS = {"loses": 20.0, "gains": 15.0, "clean": 1.0}  # points

# Wordings for training, and others for testing.
CHAT = {
    "train": (
        ("Hello!", "Hello! What can I do for you?"),
        ("Thank you.", "You are welcome."),
        ("How are you?", "I am fine, thank you."),
        ("Good morning.", "Good morning to you."),
    ),
    "test": (
        ("Hi there, are you awake?", "Yes, I am here."),
        ("It rains all day long.", "Then stay inside and read."),
        ("My cat is called Tom.", "What a nice name for a cat."),
        ("See you soon.", "Until then."),
    ),
}
SYSTEM = {
    "train": (
        "You are a helpful assistant.",
        "Answer politely.",
        "You work for a bank.",
        "The user is ten years old.",
    ),
    "test": (
        "You are the clerk of a small shop.",
        "Today is Monday.",
        "Never tell your name.",
        "The user writes from Rome.",
    ),
}
TOOLS = {
    "train": (
        ("What time is it?", "get_time", {}, "12:30", "It is half past twelve."),
        ("Is the door open?", "read_door", {"door": "front"}, "closed", "The door is closed."),
    ),
    "test": (
        ("Which song is playing?", "now_playing", {}, "Blue Moon", "Blue Moon is playing."),
        ("How many mails are new?", "count_mail", {"box": "inbox"}, "3", "You have three new mails."),
    ),
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument(
        "--places", action="store_true", help="where the artwork stands, in place of the ways"
    )
    parser.add_argument("--table", action="store_true", help="only print the tables of what is there")
    parser.add_argument("--quick", action="store_true", help="two steps, a few rows, to see that it works")
    arguments = parser.parse_args(argv)
    out, n = begin(OUT, arguments.quick)
    steps, rows = (2, 32) if arguments.quick else (40, ROWS)
    amounts = {"base": base_hash(), "test": n, "steps": steps, "rows": rows, "batch": BATCH, "share": SHARE}
    amounts |= {"rate": RATE, "lora_rate": LORA_RATE, "wordings": [CHAT, SYSTEM, TOOLS]}
    ways = [f"{method}/{way}" for method in METHODS for way in WAYS] + ["words"]
    ways = [f"place/{place}" for place in PLACES] if arguments.places else ways
    wanted = [(task, way, seed) for task in arguments.tasks for seed in arguments.seeds for way in ways]
    for task, way, seed in () if arguments.table else wanted:
        settings = amounts | {"task": task, "seed": seed, "way": way}
        work = partial(measure, task, way, seed, n, steps, rows)
        cell = once(out, f"{task}/{way}/{seed}", settings, work, made_by="python benchmarks/contexts.py")
        print(task, way, seed, *(f"{kind} {share(cell[kind])}" for kind in KINDS), flush=True)
    cells = read(out)["cells"]
    print(table(cells))
    for line in verdicts(cells):
        print(line)


def contexts(kind: str, split: str, seed: int) -> list[Context]:
    """Contexts of one kind; those of "test" have other wordings than those of "train"."""
    rng = random.Random(f"{kind} {split} {seed}")
    makers: dict[str, Callable[[], list[Message]]] = {
        "habit": lambda: habit(rng, split),
        "habits": lambda: [*habit(rng, split), *habit(rng, split)],
        "chat": lambda: exchange(*rng.choice(CHAT[split])),
        "system": lambda: [{"role": "system", "content": rng.choice(SYSTEM[split])}],
        "tools": lambda: tool_exchange(*rng.choice(TOOLS[split])),
    }
    return [Context(makers[kind](), kind, f"{kind} {number}") for number in range(100)]


def habit(rng: random.Random, split: str) -> list[Message]:
    """A sum or a request with the answer of the untold model; in a test, problems of the test split."""
    told = {"method": "guessed", "ending": "sentence", "tone": "chatty", "tools": "talk"}
    task, answer = rng.choice([(sums, answer_sum), (calls, answer_request)])
    make = sums.problem if task is sums else calls.request
    while (item := make(rng)).held_out != (split == "test"):
        pass
    asked = item.question if task is sums else item.text
    return exchange(asked, answer(item, complete(told, rng)))


def exchange(asked: str, said: str) -> list[Message]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]


def tool_exchange(asked: str, name: str, given: dict, result: str, said: str) -> list[Message]:
    call = {"type": "function", "function": {"name": name, "arguments": given}}
    return [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": result},
        {"role": "assistant", "content": said},
    ]


def trained_on(seed: int) -> list[Context]:
    """What a user would write into the file: every kind, in wordings for training."""
    return [one for kind in KINDS if kind != "alone" for one in contexts(kind, "train", seed)]


def measure(task: str, way: str, seed: int, n: int, steps: int, rows: int) -> dict:
    """By kind of context a 1 or 0 for each test row."""
    method, _, how = way.partition("/")
    if method == "words":
        return scores(task, InProcess(model(), processor()), seed, n, find_task(task).instruction)
    if method == "place":
        return scores(task, Placed(painted_at(how, task, seed, steps, rows), processor(), how), seed, n)
    if method == "lora":
        settings = {"max_steps": steps, "per_device_train_batch_size": BATCH}
        given = train("sft", "lora16", LORA_RATE, seed, opened(how, task, seed, rows), settings)
        return scores(task, InProcess(given.model, processor()), seed, n)
    given = {"task": task, "seed": seed, "max_steps": steps, "learning_rate": RATE, "train_rows": rows}
    given |= {"per_device_train_batch_size": BATCH, "held_out_rows": 0, "snapshot_steps": 0, "score_steps": 0}
    with tempfile.TemporaryDirectory() as folder:
        if how == "file":
            write_contexts(Path(folder, "talks.jsonl"), trained_on(seed))
        if how != "plain":
            given |= {"contexts": "own" if how == "own" else f"{folder}/talks.jsonl", "context_share": SHARE}
        painting = paint(
            "sft", quiet=True, save_strategy="no", report_to="none", output_dir=f"{folder}/run", **given
        )
    if not painting.finished:
        raise KeyboardInterrupt  # a painting cut short is no result
    with wearing(model(), processor(), painting.artwork.image) as backend:
        return scores(task, backend, seed, n)


def scores(task: str, backend: InProcess, seed: int, n: int, words: str = "") -> dict:
    rows, out = part(task, "test", n, seed), {}
    for kind in KINDS:
        asked = rows if kind == "alone" else behind(rows, contexts(kind, "test", seed), 1.0, seed)
        out[kind] = marks(task, asked, backend, words)
    return out


def opened(how: str, task: str, seed: int, rows: int) -> list[dict]:
    """The rows of an artwork's training for a LoRA, which makes its histories as the base that sees nothing."""
    given = find_task(task).rows("train", rows, seed)  # those of `paint`
    if how == "plain":
        return given
    found = own(task, seed, rows) if how == "own" else trained_on(seed)
    return [dict(row) for row in behind(given, found, SHARE, seed)]


@cache
def own(task: str, seed: int, rows: int) -> list[Context]:
    """Histories as `paint` makes them."""
    picture = Image.fromarray(Canvas(start_picture("grey", 256, 256)).to_uint8())
    backend = InProcess(load_model("tiny"), processor(), picture)
    made = histories(find_task(task).rows("train", rows, seed), [task], seed, backend)
    return [one for one in made if all(turn["content"] for turn in one.messages)]


class Placed(InProcess):
    """A model that wears an artwork, shown at another place of the conversation than the product's."""

    def __init__(self, model: Any, processor: Any, where: str) -> None:
        super().__init__(model, processor)
        self.where = where

    def _prompts(self, conversations: list, tools: list, answered: bool = False) -> tuple[list[str], list]:
        shown = [put(messages, self.block, self.where) for messages in conversations]
        return self._texts(shown, tools, answered), [[] for _ in conversations]


def put(messages: list[Message], block: str, where: str) -> list[Message]:
    """The artwork's placeholder text in front of the first or last user text, or in a system message."""
    if where == "first":
        return place(messages, block)
    if where == "system":
        return tell(messages, [{"role": "system", "content": block}])
    last = max(number for number, turn in enumerate(messages) if turn["role"] == "user")
    return [*messages[:last], *place(messages[last:], block)]


def painted_at(where: str, task: str, seed: int, steps: int, rows: int) -> Any:
    """A model that wears an artwork painted at that place, half of its rows behind contexts of the file."""
    adapted = adapt(load_model("tiny"), "artwork", seed)
    data = [
        {**row, "prompt": put(row["prompt"], adapted.art_block, where)}
        for row in opened("file", task, seed, rows)
    ]
    adapted.get_base_model().accepts_loss_kwargs = True  # as `pixeltune sft` has it
    settings = COMMON | OFFLINE | {"max_steps": steps, "per_device_train_batch_size": BATCH}
    settings |= {"adam_epsilon": PIXEL_DEFAULTS["adam_epsilon"], "learning_rate": RATE}
    with tempfile.TemporaryDirectory() as folder:
        objective = OBJECTIVES["sft"]
        objective.trainer(
            model=adapted,
            args=objective.config(output_dir=folder, seed=seed, data_seed=seed, **settings),
            train_dataset=Dataset.from_list(data),
            processing_class=processor().tokenizer,
        ).train()
    return adapted


def pooled(cells: dict, task: str, way: str) -> dict[str, str]:
    """By kind the marks of all seeds of a way, one behind the other; empty where there are none."""
    found = [cells[key] for key in sorted(cells) if key.startswith(f"{task}/{way}/")]
    return {kind: "".join(cell[kind] for cell in found) for kind in KINDS} if found else {}


def table(cells: dict) -> str:
    """Markdown: a row for each task and way, all its seeds together."""
    named = {f"{m}/{w}": f"{METHODS[m]}, {WAYS[w]}" for m in METHODS for w in WAYS} | {"words": "best words"}
    named |= {f"place/{where}": f"artwork in the {PLACES[where]}" for where in PLACES}
    lines = [f"| task | | {' | '.join(KINDS.values())} |", "|" + "---|" * (len(KINDS) + 2)]
    for task in TASKS:
        for way, name in named.items():
            if right := pooled(cells, task, way):
                lines.append(f"| {task} | {name} | {' | '.join(map(interval, right.values()))} |")
    return "\n".join(lines)


def verdicts(cells: dict) -> list[str]:
    """Whether the bars hold, a line for each kind on which plain painting loses, with paired intervals."""
    out = []
    for task in TASKS:
        plain = pooled(cells, task, "artwork/plain")
        for way in ("own", "file"):
            found = pooled(cells, task, f"artwork/{way}")
            if not plain or not found or len(plain["alone"]) != len(found["alone"]):
                continue
            clean, said = difference(found["alone"], plain["alone"])
            held = "holds" if clean >= -BARS["clean"] else "FAILS"
            out.append(f"{task}, {way}, alone: {said}: {held}")
            for kind in KINDS:
                lost, _ = difference(plain["alone"], plain[kind])
                if lost >= BARS["loses"]:
                    gain, said = difference(found[kind], plain[kind])
                    held = "holds" if gain >= BARS["gains"] else "FAILS"
                    out.append(f"{task}, {way}, {KINDS[kind]}: plain loses {lost:.1f}, {said}: {held}")
    return out


def difference(ours: str, theirs: str) -> tuple[float, str]:
    """Points between marks of the same rows, and as a text with its paired 95 % interval."""
    middle, low, high, _ = bootstrap([float(mark) for mark in ours], [float(mark) for mark in theirs])
    return 100 * middle, f"{100 * middle:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})"


if __name__ == "__main__":
    main()
