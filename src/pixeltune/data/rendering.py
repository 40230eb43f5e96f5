"""What a chat template makes of rows, looked at before a model loads: it must not leave out what they say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from pixeltune.data.messages import FIELDS, THOUGHT_PARTS, Message, Unused, text_of
from pixeltune.data.origin import origin
from pixeltune.data.tools import tools_of
from pixeltune.errors import UserError

TRIES = 20  # places at which a field is taken away to see whether the template writes it

_OTHER_NAMES = {
    "developer": "system",
    "human": "user",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "function": "tool",
    "observation": "tool",
}


def check_rendered(
    rows: Sequence[dict], processor: Any, columns: Sequence[str] = ("completion",)
) -> list[list[str]]:
    """Refuse rows of which the chat template leaves out a message or a call, or whose answer is empty.

    So are chosen and rejected answers that it writes alike.

    Whether a template writes something is seen by rendering without it. Other fields and tools that it does
    not write are named once each in an `UnusedDataWarning`: engines know ids that no template writes.

    Args:
        rows: with a conversational ``prompt``, and perhaps ``completion``, ``chosen``, ``rejected``.
        processor: or tokenizer, whose `apply_chat_template` renders.
        columns: those behind the prompt that are trained on.

    Returns:
        By row, the text of the prompt with each answer that it has; of the prompt alone where it has none.

    Raises:
        UserError: naming the row.
    """
    looks, out = _Looks(processor), []
    for number, row in enumerate(rows):
        where = origin(row, number)
        tools = tools_of(row)
        answers = [name for name in columns if name != "prompt" and isinstance(row.get(name), list)]
        texts = []
        for name in answers or (None,):
            answer = row[name] if name else []
            texts.append(looks.check([*row["prompt"], *answer], tools, where))
            if name in ("completion", "chosen") and row.get("label", True):
                for turn in range(len(answer)):
                    text = texts[-1] if turn == len(answer) - 1 else None
                    looks.check_said([*row["prompt"], *answer[: turn + 1]], tools, f"{where}: {name}", text)
        if {"chosen", "rejected"} <= set(answers) and len(set(texts)) == 1:
            raise UserError(
                f"{where}: the model's chat template writes chosen and rejected alike, so there is nothing to "
                "prefer: leave the row out"
            )
        out.append(texts)
    looks.unused.warn()
    return out


class _Looks:
    """Renders conversations with and without what is in question, and remembers what has been seen."""

    def __init__(self, processor: Any):
        self.template = processor.apply_chat_template
        self.written: set[str] = set()
        self.tried: dict[str, list[str]] = {}
        """Places at which a field was taken away and nothing changed."""

    @property
    def unused(self) -> Unused:
        """What was nowhere written."""
        out = Unused()
        for name, places in self.tried.items():
            if name not in self.written:
                for where in places:
                    out.add(f"the model's chat template does not write {name}", where)
        return out

    def render(self, messages: list[Message], tools: list[dict] | None, where: str) -> str:
        from jinja2 import TemplateError

        ask = messages[-1]["role"] != "assistant"
        try:
            return self.template(messages, tools=tools, tokenize=False, add_generation_prompt=ask)
        except (TemplateError, TypeError) as error:
            raise UserError(f"{where}: the model's chat template cannot write this row: {error}") from error

    def differs(self, text: str, messages: list[Message], tools: list[dict] | None) -> bool:
        """Whether these messages render to something else; so it is if they cannot be rendered at all."""
        try:
            return self.render(messages, tools, "") != text
        except UserError:
            return True

    def check(self, messages: list[Message], tools: list[dict] | None, where: str) -> str:
        """What the template makes of these messages.

        Raises:
            UserError: it leaves out a message or a call.
        """
        text = self.render(messages, tools, where)
        if tools:
            self.note("tools", where, lambda: self.differs(text, messages, None))
        for number, message in enumerate(messages):
            before, after = messages[:number], messages[number + 1 :]
            said = text_of(message["content"]).strip()
            # Seen in the text it may still be another's, so the first of each kind is blanked in any case.
            alike = f"{message['role']}, {type(message['content']).__name__}, {number == 0}"
            known = said in text and alike in self.written
            blank = [*before, {**message, "content": ""}, *after]
            if said and not known and not self.differs(text, blank, tools):
                raise UserError(f"{where}: {_left_out(message, said)}")
            if said:
                self.written.add(alike)
            if message.get("tool_calls") and "tool_calls" not in self.written:
                without = [*before, _without(message, "tool_calls"), *after]
                if not self.differs(text, without, tools):
                    raise UserError(
                        f"{where}: the model's chat template does not write tool_calls, so the call would be "
                        "lost. Write it into content, as this model writes calls, or give the model a "
                        "template that knows calls"
                    )
                self.written.add("tool_calls")
            for name in (n for n in message if n in FIELDS and n not in ("role", "content", "tool_calls")):
                changed = [*before, _without(message, name), *after]
                self.note(f"the field {name!r}", where, partial(self.differs, text, changed, tools))
            for kind in THOUGHT_PARTS:
                if isinstance(message["content"], list) and any(
                    p.get("type") == kind for p in message["content"]
                ):
                    content = [part for part in message["content"] if part.get("type") != kind]
                    changed = [*before, {**message, "content": content}, *after]
                    self.note(
                        f"content parts of type {kind!r}",
                        where,
                        partial(self.differs, text, changed, tools),
                    )
        return text

    def check_said(
        self, messages: list[Message], tools: list[dict] | None, where: str, text: str | None = None
    ) -> None:
        """Refuse an answer, the last message, of which there is nothing to learn; `text` if it is rendered."""
        *before, last = messages
        if last["role"] != "assistant":
            return
        text = self.render(messages, tools, where) if text is None else text
        said = text_of(last["content"]).strip()
        if (said and said in text) or (last.get("tool_calls") and "tool_calls" in self.written):
            return
        if not self.differs(text, [*before, {"role": "assistant", "content": ""}], tools):
            raise UserError(
                f"{where} renders to nothing but the end of a turn with the model's chat template: the model "
                "would learn to end its answer at once"
            )

    def note(self, name: str, where: str, differs: Callable[[], bool]) -> None:
        """Look whether something makes a difference, unless that is known."""
        places = self.tried.setdefault(name, [])
        if name not in self.written and (len(places) >= TRIES or not differs()):
            places.append(where)
        elif name not in self.written:
            self.written.add(name)


def _left_out(message: Message, said: str) -> str:
    role = message["role"]
    remedy = f'write "{_OTHER_NAMES[role]}"' if role in _OTHER_NAMES else "write user, assistant or tool"
    remedy += " as its role"
    if role not in _OTHER_NAMES and isinstance(message["content"], list):
        remedy = "write its content as one text, not as parts"
    return f"the model's chat template leaves out what {role!r} says, {said[:40]!r}: {remedy}"


def _without(message: Message, name: str) -> Message:
    return {field: value for field, value in message.items() if field != name}
