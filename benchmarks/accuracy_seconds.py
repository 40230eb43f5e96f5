"""The learning curves of `accuracy.py` against seconds: what a step of each method takes, side by side.

    python benchmarks/accuracy_seconds.py [--verbs sft grpo] [--rounds 3] [--table] [--quick]

Scores after so many steps are in the results of `accuracy.py`, but its cells were made at different times.
Here the methods take turns, a short training each, in one process that should have the machine to itself; the
same rows, rates and trainers. Writes benchmarks/results/accuracy_seconds.json round by round; the table has,
for each point of a curve, its score and the median of the measured seconds of that many steps.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from functools import partial
from pathlib import Path

import datasets
import transformers

from benchmarks.common.accuracy_plans import PLANS, RESULTS
from benchmarks.common.accuracy_table import NAMES, finals
from benchmarks.common.accuracy_tasks import REWARDS, TASKS, part
from benchmarks.common.baselines import train
from benchmarks.common.cells import once, read
from pixeltune.model.loading import load_model, weights_sha256

OUT = RESULTS / "accuracy_seconds.json"
METHODS = ["artwork", "lora16", "prompt", "full"]
NAMED = ["sums", "calls"]
STEPS = {"sft": 12, "grpo": 4}
SEED = 42


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--verbs", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    parser.add_argument("--quick", action="store_true", help="one step each, to see that it works")
    arguments = parser.parse_args(argv)
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    out = Path(tempfile.gettempdir(), "pixeltune-accuracy", OUT.name) if arguments.quick else OUT
    base = weights_sha256(load_model("tiny"))
    turns = [
        (i, v, t, m) for i in range(arguments.rounds) for v in arguments.verbs for t in NAMED for m in METHODS
    ]
    for turn, verb, task, method in () if arguments.table else turns:
        if (rate := chosen(verb, task, method)) is None:
            continue  # nothing to learn from, so there is no curve
        steps = 1 if arguments.quick else STEPS[verb]
        settings = {"base": base, "steps": steps, "rate": rate, "seed": SEED}
        work = partial(measure, verb, task, method, rate, steps)
        made_by = "python benchmarks/accuracy_seconds.py"
        cell = once(out, f"{verb}/{task}/{method}/{turn}", settings, work, made_by=made_by)
        print(verb, task, method, turn, cell["seconds"], flush=True)
    for verb in arguments.verbs:
        print(f"\n{table(verb, read(out)['cells'])}")


def chosen(verb: str, task: str, method: str) -> float | None:
    """The rate that `accuracy.py` chose; None if the method learned nothing."""
    cells = finals(read(RESULTS / f"accuracy_{verb}.json"), task, method)
    return cells[SEED]["rate"] if SEED in cells else None


def measure(verb: str, task: str, method: str, rate: float, steps: int) -> dict:
    """Seconds a step, after as many rows as `accuracy.py` takes."""
    plan = PLANS[verb]
    settings = {"max_steps": steps, "per_device_train_batch_size": plan.batch}
    if verb == "grpo":
        settings |= {"num_generations": plan.group, "max_completion_length": TASKS[task].max_new_tokens}
    rows = part(task, "train", plan.rows, SEED)
    facts = train(verb, method, rate, SEED, rows, settings, REWARDS[task]).facts
    return {"seconds": facts["seconds"] / facts["steps"]}


def table(verb: str, cells: dict) -> str:
    """Markdown: a row for each task and method; seconds of a step, their spread and ratio, and the curve."""
    points = PLANS[verb].curve
    head = ["task", "method", "seconds a step (range)", "to LoRA's", *(f"step {n}" for n in points)]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    report = read(RESULTS / f"accuracy_{verb}.json")
    for task in NAMED:
        for method in METHODS:
            taken, lora = (seconds(cells, verb, task, which) for which in (method, "lora16"))
            if not taken:
                continue
            step = statistics.median(taken)
            curves = [
                {n: right for n, _, right in cell["curve"]} for cell in finals(report, task, method).values()
            ]
            scores = [100 * statistics.mean(curve[n] for curve in curves) for n in points]
            shown = [f"{score:.1f} ({n * step:.1f} s)" for n, score in zip(points, scores, strict=True)]
            ratio = statistics.median(a / b for a, b in zip(taken, lora, strict=True))
            facts = f"{step:.2f} ({min(taken):.2f} to {max(taken):.2f}) | {ratio:.2f}"
            lines.append(f"| {task} | {NAMES[method]} | {facts} | {' | '.join(shown)} |")
    return "\n".join(lines)


def seconds(cells: dict, verb: str, task: str, method: str) -> list[float]:
    """Of a step, round by round."""
    return [cell["seconds"] for key, cell in cells.items() if key.startswith(f"{verb}/{task}/{method}/")]


if __name__ == "__main__":
    main()
