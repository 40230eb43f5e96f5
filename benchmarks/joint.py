"""One picture for several tasks, and several tasks one after the other, by SFT and GRPO on the bundled model.

    python benchmarks/joint.py [--seeds 42 43 44] [--parts together start sequence] [--table] [--quick]

Together: a picture for calls, sums and turns beside one for each alone, their average, and the same with ten rows
of calls for each row of the others, with and without `--balance`. A joint step has the rows of three steps alone.

Start: the steps that a task takes to 80 % of 100 held-out rows, from grey, from a picture for the other two, and
from one for another one alone. It is looked at after every second step.

Sequence: a picture for one task, painted on for a second one: what is left of the first. By SFT plainly and with a
tenth of the first task's rows; by GRPO with and without a KL term (`--beta`) to where it starts, which is the first
task's picture.

All on the same 200 test rows of a seed. Writes benchmarks/results/joint.json cell by cell (a killed run goes on)
and prints tables.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from benchmarks.common import paintings
from benchmarks.common.accuracy_table import floats, interval
from benchmarks.common.cells import once, read
from benchmarks.common.paintings import amounts, begin, right
from pixeltune.artwork.artwork import Artwork
from pixeltune.errors import RunError
from pixeltune.evaluation.mixing import average
from pixeltune.evaluation.statistics import bootstrap
from pixeltune.training.paint import paint

OUT = Path(__file__).parent / "results" / "joint.json"
TASKS = ["calls", "sums", "turns"]
UNEVEN = ["calls", "sums:0.1", "turns:0.1"]
JOINT: dict[str, dict[str, Any]] = {
    "one picture": {"task": TASKS},
    "one picture, --balance": {"task": TASKS, "balance": True},
    "one picture, 10 : 1 : 1": {"task": UNEVEN},
    "one picture, 10 : 1 : 1, --balance": {"task": UNEVEN, "balance": True},
}
ENOUGH, LOOK = 0.8, 2  # of the held-out rows, and steps between two looks
SEQUENCES = [("calls", "sums"), ("sums", "calls")]
LATER: dict[str, tuple[str, dict[str, Any]]] = {
    "sft": ("sft", {}),
    "sft with a tenth of the first": ("sft", {"replay": 0.1}),
    "grpo": ("grpo", {"beta": 0.0}),
    "grpo, --beta 0.05": ("grpo", {"beta": 0.05}),
    "grpo, --beta 0.5": ("grpo", {"beta": 0.5}),
}
ONLINE: dict[str, Any] = {
    "per_device_train_batch_size": 64,
    "num_generations": 8,
    "max_completion_length": 96,
    "learning_rate": 0.06,
}
PARTS = ("together", "start", "sequence")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[42, 43, 44])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--table", action="store_true", help="only print the tables of what is there")
    parser.add_argument("--quick", action="store_true", help="two steps, a few rows, to see that it works")
    arguments = parser.parse_args(argv)
    out, rows = begin(OUT, arguments.quick)
    if arguments.quick:
        ONLINE.update({"per_device_train_batch_size": 4, "num_generations": 2, "max_completion_length": 8})
    for seed in () if arguments.table else arguments.seeds[: 1 if arguments.quick else None]:
        for name, (work, settings) in cases(arguments.parts, seed, rows, arguments.quick).items():
            settings = amounts(rows) | {"seed": seed} | settings
            cell = once(out, f"{name}/{seed}", settings, work, made_by="python benchmarks/joint.py")
            print(name, seed, {k: v for k, v in cell.items() if k != "right"}, flush=True)
    print(table(read(out)["cells"]))


def cases(parts: list[str], seed: int, rows: int, quick: bool) -> dict[str, tuple[Callable[[], dict], dict]]:
    """What is measured, by name: what makes a cell, and what that depends on; of each kind less where it is quick."""
    first = slice(1 if quick else None)
    found: dict[str, tuple[Callable[[], dict], dict]] = {}
    if "together" in parts:
        for task in TASKS:
            found[f"alone/{task}"] = partial(scored, partial(alone, task, seed), [task], rows, seed), {}
        found["together/average"] = partial(scored, partial(mean, seed), TASKS, rows, seed), {}
        for name, given in JOINT.items():
            found[f"together/{name}"] = partial(scored, partial(joint, name, seed), TASKS, rows, seed), given
    for new in TASKS[first] if "start" in parts else ():
        others = [task for task in TASKS if task != new]
        for start in ("grey", " + ".join(others), others[0]):
            found[f"start/{new}/{start}"] = (
                partial(steps_to, new, start, rows, seed),
                {"enough": ENOUGH, "look": LOOK},
            )
    for before, second in SEQUENCES[first] if "sequence" in parts else ():
        for name, (verb, given) in LATER.items():
            work = partial(after, before, second, verb, given, rows, seed)
            settings = {"verb": verb, **given, **(ONLINE if verb == "grpo" else {})}
            found[f"sequence/{before} then {second}/{name}"] = work, settings
    return found


def painted(verb: str, seed: int, **given: Any) -> tuple[Artwork, list[dict]]:
    """A picture and its log."""
    usual = {
        "max_steps": paintings.STEPS,
        "per_device_train_batch_size": paintings.BATCH,
        "learning_rate": paintings.RATE,
        "train_rows": 1000,
        "held_out_rows": 0,
        "snapshot_steps": 0,
        "save_strategy": "no",
        "report_to": "none",
    }
    with tempfile.TemporaryDirectory() as folder:
        made = paint(verb, quiet=True, seed=seed, **usual | {"output_dir": folder} | given)
        return made.artwork, made.history


@cache
def alone(task: str, seed: int) -> Artwork:
    return painted("sft", seed, task=task)[0]


@cache
def together(tasks: tuple[str, ...], balance: bool, seed: int) -> Artwork:
    """One picture for several tasks, with as many rows of each in a step as one alone has where all weigh the same."""
    batch = paintings.BATCH * len(tasks)
    return painted("sft", seed, task=list(tasks), balance=balance, per_device_train_batch_size=batch)[0]


def joint(name: str, seed: int) -> Artwork:
    given = JOINT[name]
    return together(tuple(given["task"]), given.get("balance", False), seed)


def mean(seed: int) -> Artwork:
    return average([alone(task, seed) for task in TASKS])


def scored(make: Callable[[], Artwork], tasks: list[str], rows: int, seed: int) -> dict:
    """A 1 or 0 for each test row of each task."""
    pixels = make().pixels
    return {"right": {task: right(task, pixels, rows, seed) for task in tasks}}


def steps_to(new: str, start: str, rows: int, seed: int) -> dict:
    """How many steps until a task is done well enough; None where it never was."""
    with tempfile.TemporaryDirectory() as folder:
        given: dict[str, Any] = {"score_steps": LOOK, "held_out_rows": min(100, rows)}
        if start != "grey":
            tasks = tuple(start.split(" + "))
            first = together(tasks, False, seed) if len(tasks) > 1 else alone(start, seed)
            given |= beginning(first, folder)
        history = painted("sft", seed, task=new, **given)[1]
    curve = [[entry["step"], entry["held_out_score"]] for entry in history if "held_out_score" in entry]
    return {"curve": curve, "steps": next((step for step, score in curve if score >= ENOUGH), None)}


def after(first: str, second: str, verb: str, given: dict[str, Any], rows: int, seed: int) -> dict:
    """As `scored`, of both tasks, and whether there was anything to learn from."""
    try:
        picture, learned = later(first, second, verb, given, seed), True
    except RunError as error:
        if "not one pixel changed" not in str(error):
            raise
        picture, learned = alone(first, seed), False  # no answer was ever rewarded
    return scored(lambda: picture, [first, second], rows, seed) | {"learned": learned}


def later(first: str, second: str, verb: str, given: dict[str, Any], seed: int) -> Artwork:
    """The picture of a second task, begun as that of a first one."""
    settings = {name: value for name, value in given.items() if name != "replay"}
    tasks = [second, f"{first}:{given['replay']}"] if "replay" in given else [second]
    if verb == "grpo":
        settings |= ONLINE | {"max_steps": max(2, paintings.STEPS // 2)}
    with tempfile.TemporaryDirectory() as folder:
        return painted(verb, seed, task=tasks, **beginning(alone(first, seed), folder), **settings)[0]


def beginning(artwork: Artwork, folder: str) -> dict[str, Any]:
    """Settings of a painting that begins as another picture."""
    path = Path(folder, "start.png")
    artwork.save(path)
    return {"start": str(path), "licence": "CC0-1.0"}


def table(cells: dict) -> str:
    """Markdown: what each part has measured, seeds together, with differences on the same rows."""
    parts = [joint_table(cells), start_table(cells), sequence_table(cells)]
    return "\n\n".join("\n".join(lines) for lines in parts if len(lines) > 2)


def joint_table(cells: dict) -> list[str]:
    lines = ["| picture | task | right | difference to alone, points |", "|---|---|---|---|"]
    for task in TASKS:
        mine = by_seed(cells, f"alone/{task}")
        lines += [f"| alone | {task} | {interval(pooled(mine, task, mine))} | |"] if mine else []
        for name in ("average", *JOINT):
            lines += compared(cells, f"together/{name}", task, mine, name)
    return lines


def start_table(cells: dict) -> list[str]:
    lines = ["| new task | start | steps to 80 %, each seed |", "|---|---|---|"]
    for name in dict.fromkeys(key.rpartition("/")[0] for key in cells if key.startswith("start/")):
        _, new, start = name.split("/")
        steps = [cell["steps"] for cell in by_seed(cells, name).values()]
        said = ", ".join("never" if one is None else str(one) for one in steps)
        lines.append(f"| {new} | {start} | {said} |")
    return lines


def sequence_table(cells: dict) -> list[str]:
    lines = ["| picture | task | right | difference to alone, points |", "|---|---|---|---|"]
    for first, second in SEQUENCES:
        for name in LATER:
            for task in (first, second):
                key, mine = f"sequence/{first} then {second}/{name}", by_seed(cells, f"alone/{task}")
                none = any(not cell["learned"] for cell in by_seed(cells, key).values())
                said = f"{first}, then {second}: {name}" + (" (a seed without any reward)" if none else "")
                lines += compared(cells, key, task, mine, said)
    return lines


def compared(cells: dict, key: str, task: str, mine: dict[str, dict], name: str) -> list[str]:
    """A line of a picture on a task, beside the picture for that task alone, where seeds of both are there."""
    found = by_seed(cells, key)
    if not found:
        return []
    both = [seed for seed in found if seed in mine]
    difference = ""
    if both:
        ours, theirs = (floats(pooled(one, task, both)) for one in (found, mine))
        points, low, high = (100 * value for value in bootstrap(ours, theirs)[:3])
        difference = f"{points:+.1f} ({low:+.1f} to {high:+.1f})"
    return [f"| {name} | {task} | {interval(pooled(found, task, found))} | {difference} |"]


def by_seed(cells: dict, name: str) -> dict[str, dict]:
    return {key.rpartition("/")[2]: cell for key, cell in cells.items() if key.rpartition("/")[0] == name}


def pooled(found: dict[str, dict], task: str, seeds: Any) -> str:
    return "".join(found[seed]["right"][task] for seed in seeds)


if __name__ == "__main__":
    main()
