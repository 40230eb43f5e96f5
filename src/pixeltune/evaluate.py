"""How good is it: a task's score for a model in this process or behind an OpenAI-compatible URL."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from types import ModuleType
from typing import Any, Protocol

from pixeltune.placement import place, place_image

Message = dict[str, Any]


class System(Protocol):
    """Something that answers conversations."""

    def complete(
        self, conversations: list[list[Message]], tools: list[list[dict] | None], max_new_tokens: int
    ) -> list[str]:
        """Greedy completions, special tokens kept (``<tool_call>`` is one), end-of-turn removed."""
        ...


@dataclass
class Result:
    """A score with its Wilson 95 % interval; ``records`` holds prompt, completions and score per row."""

    accuracy: float
    n: int
    ci95: tuple[float, float]
    records: list[dict] = field(default_factory=list, repr=False)

    def summary(self) -> dict:
        """Accuracy, n and interval, as JSON."""
        return {key: value for key, value in asdict(self).items() if key != "records"}


def wilson(right: float, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion (E. B. Wilson, 1927). ``(0, 1)`` for n = 0."""
    if n == 0:
        return 0.0, 1.0
    p = right / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def evaluate(
    task: ModuleType,
    rows: list[dict],
    system: System,
    instruction: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Score ``system`` on ``rows`` of ``task``.

    Args:
        task: a module of :mod:`pixeltune.tasks` with ``score``, ``MAX_NEW_TOKENS`` and perhaps ``next_turn``.
        rows: from ``task.rows``.
        system: who answers.
        instruction: a system message put in front of every conversation, none if empty.
        progress: called with (rows done, rows in all) after each chunk.
    """
    records, chunk = [], 100
    for start in range(0, len(rows), chunk):
        part = rows[start : start + chunk]
        head = [{"role": "system", "content": instruction}] if instruction else []
        conversations = [head + row["prompt"] for row in part]
        tools = [json.loads(row["tools"]) if row.get("tools") else None for row in part]
        said: list[list[str]] = [[] for _ in part]
        pending = list(range(len(part)))
        while pending:
            asked = [conversations[i] for i in pending]
            texts = system.complete(asked, [tools[i] for i in pending], task.MAX_NEW_TOKENS)
            for i, text in zip(pending, texts, strict=True):
                said[i].append(text)
            pending = [i for i in pending if _go_on(task, part[i], conversations, i, said[i])]
        for row, conversation, texts in zip(part, conversations, said, strict=True):
            answer = texts if hasattr(task, "next_turn") else texts[0]
            records.append(
                {"prompt": conversation, "completions": texts, "score": float(task.score(row, answer))}
            )
        if progress:
            progress(len(records), len(rows))
    right = sum(record["score"] for record in records)
    return Result(right / max(1, len(records)), len(records), wilson(right, len(records)), records)


def _go_on(task: ModuleType, row: dict, conversations: list, i: int, texts: list[str]) -> bool:
    """Append the next turn of a task of several turns; whether there is one."""
    more = task.next_turn(row, texts) if hasattr(task, "next_turn") else None
    conversations[i] = conversations[i] + (more or [])
    return bool(more)


class Local:
    """A model in this process, text only, looking at a PNG, or wearing a live adapter.

    Args:
        model: a stock model, or a ``PeftModel`` with an artwork whose live picture is then used.
        processor: the model's processor.
        picture: PIL picture that goes with every request, through the stock processor as an engine would;
            not for an adapter.
    """

    def __init__(self, model: Any, processor: Any, picture: Any = None):
        self.model, self.processor, self.picture = model, processor, picture
        self.block = getattr(model, "art_block", None) if hasattr(model, "peft_config") else None
        if self.block and picture is not None:
            raise ValueError("a model with an artwork adapter looks at its own canvas: give no picture")

    def complete(
        self, conversations: list[list[Message]], tools: list[list[dict] | None], max_new_tokens: int
    ) -> list[str]:
        import torch

        if self.picture is not None:
            conversations = [_image_part(place_image(messages, "")) for messages in conversations]
        elif self.block:
            conversations = [place(messages, self.block) for messages in conversations]
        texts = [
            self.processor.apply_chat_template(
                messages, tools=tool, tokenize=False, add_generation_prompt=True
            )
            for messages, tool in zip(conversations, tools, strict=True)
        ]
        extra = {"images": [[self.picture]] * len(texts)} if self.picture is not None else {}
        # Left padding puts every completion right behind its prompt; generate insists on it.
        batch = self.processor(text=texts, padding=True, padding_side="left", return_tensors="pt", **extra)
        was_training = self.model.training
        self.model.eval()
        with torch.no_grad():
            out = self.model.generate(
                **batch.to(self.model.device), max_new_tokens=max_new_tokens, do_sample=False
            )
        self.model.train(was_training)
        tokenizer = self.processor.tokenizer
        said = tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=False)
        ends = {tokenizer.eos_token, tokenizer.pad_token, "<|im_end|>", "<|endoftext|>"} - {None}
        return [_until(text, ends) for text in said]


class Remote:
    """An OpenAI-compatible engine; ``picture`` is the data URL of the artwork, placed as in training."""

    def __init__(self, engine: Any, picture: str | None = None, concurrency: int = 16):
        self.engine, self.picture, self.concurrency = engine, picture, concurrency

    def complete(
        self, conversations: list[list[Message]], tools: list[list[dict] | None], max_new_tokens: int
    ) -> list[str]:
        if self.picture:
            conversations = [place_image(messages, self.picture) for messages in conversations]
        requests = [
            {"messages": messages, "tools": tool} for messages, tool in zip(conversations, tools, strict=True)
        ]
        answers = self.engine.complete_many(requests, max_tokens=max_new_tokens, concurrency=self.concurrency)
        return [answer.text for answer in answers]


def _image_part(messages: list[Message]) -> list[Message]:
    """The served conversation with the image part as a template wants it."""
    return [
        {**message, "content": [{"type": "image"} if "image_url" in part else part for part in content]}
        if isinstance(content := message["content"], list)
        else message
        for message in messages
    ]


def _until(text: str, ends: set[str]) -> str:
    return text[: min([text.find(end) for end in ends if end in text], default=len(text))]


def run(arguments: Any) -> int:
    """``pixeltune eval``: score one system, print one line, optionally write the records.

    Raises:
        ValueError: unknown task, bad artwork, unknown model, unreachable engine.
    """
    from rich.progress import Progress

    from pixeltune.artwork import Artwork
    from pixeltune.files import write_atomically
    from pixeltune.tasks import find_task

    task = find_task(arguments.task)
    artwork = Artwork.load(arguments.artwork) if arguments.artwork else None
    instruction = task.INSTRUCTION if arguments.instruction == "best" else arguments.instruction
    rows = task.rows("test", arguments.rows)
    if arguments.engine:
        from pixeltune.engine import Engine

        engine = Engine(arguments.engine, model=arguments.engine_model)
        system = Remote(engine, artwork.data_url() if artwork else None, arguments.concurrency)
    else:
        from pixeltune.base import load_model, load_processor

        model, processor = (
            load_model(arguments.model, arguments.revision),
            load_processor(arguments.model, arguments.revision),
        )
        system = Local(model, processor, artwork.image if artwork else None)
    with Progress(transient=True) as bar:
        line = bar.add_task(f"{task.NAME}", total=len(rows))
        result = evaluate(task, rows, system, instruction, lambda done, n: bar.update(line, completed=done))
    low, high = result.ci95
    print(f"{task.NAME}: {result.accuracy:.1%} of {result.n} rows, 95 % interval {low:.1%} to {high:.1%}")
    if arguments.output:
        write_atomically(arguments.output, "".join(json.dumps(r) + "\n" for r in result.records))
    return 0
