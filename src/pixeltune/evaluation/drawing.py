"""Several answers to each prompt, drawn as the model draws, and what they are worth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from pixeltune.data.messages import Message
from pixeltune.data.placeholders import quoted
from pixeltune.errors import RunError
from pixeltune.evaluation.backends import OnEngine
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.picking import Answer, said
from pixeltune.evaluation.scoring import score_rows
from pixeltune.tasks.base import Task

# vLLM, and transformers, would otherwise sample as the model's generation_config.json says.
ON_ENGINES = {"top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
IN_PROCESS = {"do_sample": True, "top_p": 1.0, "top_k": 0, "min_p": None, "repetition_penalty": 1.0}

COUNTS = ("answers", "right", "wrong", "failed", "cut", "quoting")
"""What is counted; all but the first say what became of an answer."""


def draw(
    task: Task,
    groups: Sequence[Sequence[dict]],
    backend: InProcess | OnEngine,
    head: list[Message],
    samples: int,
    temperature: float,
    seed: int,
    tokens: tuple[str, ...],
    counts: MutableMapping[str, int],
    progress: Callable[[int], Any],
) -> list[list[Answer]]:
    """Answers to each group's prompt, right where the score against any of its rows is full.

    Args:
        task: says how long answers may be and what they are worth.
        groups: rows that ask the same.
        backend: who answers.
        head: in front of every prompt.
        samples: answers to each, perhaps none.
        temperature: that is sampled at.
        seed: of the draw in this process; engines get none, because seeds can bring vLLM 0.32 down on a CPU.
        tokens: that no row may hold; an answer with one is left out, and so is one that was cut off.
        counts: by `COUNTS`, added to.
        progress: called with the answers that are there.

    Raises:
        RunError: one request after another failed.
    """
    if not samples:
        return [[] for _ in groups]
    asked = [group[0] for group in groups for _ in range(samples)]
    engine = isinstance(backend, OnEngine)
    backend.sampling = (
        {"temperature": temperature, "sampling": ON_ENGINES}
        if engine
        else {**IN_PROCESS, "temperature": temperature}
    )
    try:
        with nullcontext() if engine else _seeded(seed):
            records = score_rows(task, asked, backend, head, lambda done, _: progress(done)).records
    except RunError as error:
        why = str(error).partition("; what was answered")[0]
        raise RunError(f"{why}; nothing is written: mend the engine and try again") from error
    answers: list[list[Answer]] = [[] for _ in groups]
    for number, record in enumerate(records):
        group = groups[number // samples]
        counts["answers"] += 1
        if record["error"]:
            counts["failed"] += 1
            continue
        (text,) = record["completions"]
        if (record["completion_tokens"] or 0) >= task.max_new_tokens:
            counts["cut"] += 1
        elif any(quoted([{"completion": said(text)}], tokens)):
            counts["quoting"] += 1
        else:
            right = any(float(task.score(row, text)) >= 1 for row in group)
            counts["right" if right else "wrong"] += 1
            answers[number // samples].append(Answer(text, right))
    return answers


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draws of torch by this seed; those of whoever calls go on as if nothing had been drawn."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
