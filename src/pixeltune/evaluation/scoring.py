"""How good is it: a backend's score on a task, row by row, so that a killed evaluation can go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from pixeltune.data.images import as_record, attach
from pixeltune.data.instruction import tell
from pixeltune.data.messages import Message
from pixeltune.data.tools import tools_of
from pixeltune.errors import RunError
from pixeltune.evaluation.backends import Backend
from pixeltune.evaluation.in_process import InProcess
from pixeltune.evaluation.journal import append, lines, read
from pixeltune.evaluation.statistics import interval
from pixeltune.tasks.base import Task
from pixeltune.writing import write_atomically

FAILURES = 20  # requests in a row: then the engine is taken to be gone


@dataclass
class Result:
    """A score with its 95 % interval; ``records`` holds what was asked, said and scored per row.

    The score is a mean over the rows that were answered; ``failed`` counts those that were not.
    """

    score: float
    n: int
    ci95: tuple[float, float]
    failed: int = 0
    records: list[dict] = field(default_factory=list, repr=False)

    def summary(self) -> dict:
        """Everything but the records, as JSON."""
        return {key: value for key, value in asdict(self).items() if key != "records"}


def score_rows(
    task: Task,
    rows: list[dict],
    backend: Backend,
    instruction: str | list[Message] = "",
    progress: Callable[[int, int], None] | None = None,
    journal: Path | None = None,
    onlooker: Callable[[list[dict], int], None] | None = None,
) -> Result:
    """Score ``backend`` on ``rows`` of ``task``.

    Args:
        task: says how long answers may be, how they go on, and what they are worth.
        rows: from ``task.rows``.
        backend: who answers.
        instruction: a system message, or several messages, put in front of every conversation; none if empty.
        progress: called with (rows done, rows in all) after each chunk.
        journal: a JSONL file to which every row's record goes as soon as it is there. Rows that stand in it
            already, unless they failed, are not asked again; their answers are scored anew. At the end it is in the
            order of the rows.
        onlooker: called with the records of each chunk and the number of rows that are left.

    Raises:
        ValueError: the journal is of other rows.
        RuntimeError: one request after another failed; what was answered stands in the journal.
    """
    head = [{"role": "system", "content": instruction}] if isinstance(instruction, str) else instruction
    head = head if instruction else []
    records = _kept(journal, task, rows) if journal else {}
    left = [i for i in range(len(rows)) if i not in records]
    if isinstance(backend, InProcess):  # rows of one batch are padded to the longest of them
        left.sort(key=lambda i: _size(rows[i]), reverse=True)  # what needs the most memory comes first
    chunks = [left[start : start + backend.chunk] for start in range(0, len(left), backend.chunk)]
    if progress:
        progress(len(records), len(rows))
    failures = 0
    for done in _at_once(lambda chunk: _ask(task, rows, chunk, backend, head), chunks, backend.workers):
        records |= {record["row"]: record for record in done}
        if journal:
            append(journal, done)
        for record in done:
            failures = failures + 1 if record["error"] else 0
        if failures >= FAILURES:
            raise RunError(
                f"{failures} requests failed one after another ({done[-1]['error']}); what was answered is "
                "kept: mend the engine and give the same command again"
            )
        if onlooker:
            onlooker(done, len(rows) - len(records))
        if progress:
            progress(len(records), len(rows))
    ordered = [records[i] for i in range(len(rows))]
    if journal and left:  # whatever order they were asked in
        write_atomically(journal, lines(ordered))
    return result(ordered)


def result(records: list[dict]) -> Result:
    """The score of rows that were asked; failed ones count as failed and not as wrong."""
    scores = [record["score"] for record in records if not record["error"]]
    mean = sum(scores) / max(1, len(scores))
    return Result(mean, len(scores), interval(scores), len(records) - len(scores), records)


def mean_loss(backend: InProcess, rows: list[dict]) -> float:
    """Loss of the rows' own completions, nats per token of them all.

    Args:
        backend: a model in this process.
        rows: with ``prompt`` and ``completion``, perhaps ``tools`` and ``images``.
    """
    openings = [opening(row, []) for row in rows]
    talks, tools = [o[0] for o in openings], [o[1] for o in openings]
    found = backend.losses(talks, [row["completion"] for row in rows], tools)
    return sum(loss for loss, _ in found) / max(1, sum(tokens for _, tokens in found))


def opening(row: dict, head: list[Message]) -> tuple[list[Message], list[dict] | None]:
    """The conversation that a row opens with, its own pictures in it, and its tools."""
    prompt = attach(row["prompt"], row["images"]) if row.get("images") else row["prompt"]
    prompt = tell(prompt, head) if head else prompt
    return prompt, tools_of(row)


def _ask(task: Task, rows: list[dict], chunk: list[int], backend: Backend, head: list[Message]) -> list[dict]:
    """Records of a chunk of rows, each row's episode played to its end."""
    openings = [opening(rows[i], head) for i in chunk]
    conversations, tools = [o[0] for o in openings], [o[1] for o in openings]
    replies: list[list] = [[] for _ in chunk]
    if task.options:
        chosen = backend.choose(conversations, tools, [task.options(rows[i]) for i in chunk])
        replies = [[reply] for reply in chosen]
    pending = [] if task.options else list(range(len(chunk)))
    while pending:
        asked, offered = [conversations[i] for i in pending], [tools[i] for i in pending]
        for i, reply in zip(pending, backend.complete(asked, offered, task.max_new_tokens), strict=True):
            replies[i].append(reply)
        pending = [i for i in pending if _go_on(task, rows[chunk[i]], conversations, i, replies[i])]
    return [
        _record(task, row, i, conversation, said)
        for i, row, conversation, said in zip(
            chunk, [rows[i] for i in chunk], conversations, replies, strict=True
        )
    ]


def _size(row: dict) -> int:
    """Characters of what a row asks and of its tools: near enough to tokens to put like rows together."""
    return sum(len(str(message.get("content"))) for message in row["prompt"]) + len(
        str(row.get("tools") or "")
    )


def _go_on(task: Task, row: dict, conversations: list, i: int, replies: list) -> bool:
    """Append the next turn of a task of several turns; whether there is one."""
    if replies[-1].error or not task.next_turn:
        return False
    more = task.next_turn(row, [reply.text for reply in replies])
    conversations[i] = conversations[i] + (more or [])
    return bool(more)


def _kept(path: Path, task: Task, rows: list[dict]) -> dict[int, dict]:
    """Records of a journal, scored as the task scores today: it may be another task on the same rows."""
    records = read(path, rows)
    stale = False
    for i, record in records.items():
        score = score_of(task, rows[i], record["completions"])
        stale, record["score"] = stale or score != record["score"], score
    if stale:
        write_atomically(path, lines(list(records.values())))
    return records


def score_of(task: Task, row: dict, texts: list[str]) -> float:
    """What the answers to a row are worth, of a task of one turn the first."""
    return float(task.score(row, texts if task.next_turn else texts[0]))


def _record(task: Task, row: dict, i: int, conversation: list[Message], replies: list) -> dict:
    texts = [reply.text for reply in replies]
    error = next((reply.error for reply in replies if reply.error), None)
    return {
        "row": i,
        "id": str(row.get("id", i)),
        "prompt": as_record(conversation),
        "completions": texts,
        "score": None if error else score_of(task, row, texts),
        "prompt_tokens": _total(reply.prompt_tokens for reply in replies),
        "completion_tokens": _total(reply.completion_tokens for reply in replies),
        "latency": _total(reply.latency for reply in replies),
        "error": error,
    }


def _total(counts: Any) -> float | None:
    """Of an episode; None where nobody counted."""
    counts = list(counts)
    return None if None in counts else sum(counts)


def _at_once(work: Callable[[Any], Any], items: list, workers: int) -> Iterator[Any]:
    """``map``, in any order, with that many threads; an interruption drops what has not begun."""
    if workers == 1:
        yield from map(work, items)
        return
    pool, waiting = ThreadPoolExecutor(workers), iter(items)
    try:
        running = {pool.submit(work, item) for item in islice(waiting, workers)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
                running |= {pool.submit(work, item) for item in islice(waiting, 1)}
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
