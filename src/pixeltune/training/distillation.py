"""Distilling into a picture what the same frozen model does when told in words, or what another teacher does."""

from __future__ import annotations

import warnings
from typing import Any

from pixeltune.data.contexts import alone
from pixeltune.data.instruction import tell
from pixeltune.data.messages import Message
from pixeltune.data.placement import place
from pixeltune.data.tools import tools_of
from pixeltune.training.compat.trl_insides import generate_as_teacher, learn_from

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TRL announces that experimental trainers may change
    from trl.experimental.sdft import SDFTConfig, SDFTTrainer


class DistillationTrainer(SDFTTrainer):
    """TRL's self-distillation, generating with the teacher where the teacher is the base model.

    TRL 1.16 disables the adapter for the teacher's logits, but not for completions that are generated from
    the teacher's prompt (`generate_from_teacher`): those would come from the student, told in words. And it
    wants the student's prompt inside the teacher's, which for us holds the artwork.
    """

    def __init__(self, model: Any, args: SDFTConfig, **kwargs: Any) -> None:
        args.teacher_prompt_template = "{privileged_context}"  # the config's own check has passed by now
        super().__init__(model, args, **kwargs)
        generate_as_teacher(self)

    def learn_from(self, teacher: Any) -> None:
        """Let another model be the teacher, in place of the base: of logits, and of completions that are its own.

        Args:
            teacher: a frozen model in evaluation mode with the same vocabulary, which wears no artwork.
        """
        learn_from(self, self.accelerator.prepare_model(teacher, evaluation_mode=True))


def teacher_rows(
    rows: list[dict], instruction: list[Message], block: str, processor: Any, reader: Any = None
) -> list[dict]:
    """What the student reads (`prompt`, with the artwork) and the teacher (`privileged_context`, with words, if any).

    Both are rendered texts, so that each row can have its own `tools`. A context of the row is the student's alone:
    words lose their hold in a conversation, too.

    Args:
        rows: with a conversational `prompt`, perhaps `tools` as a JSON string.
        instruction: from `read_instruction`; may be empty.
        block: the artwork's placeholder text.
        processor: whose chat template is rendered.
        reader: whose template the teacher's texts are rendered with; None: the same.
    """
    out = []
    for row in rows:
        tools, asked = tools_of(row), alone(row)["prompt"]
        student, teacher = (
            one.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=True)
            for one, messages in (
                (processor, place(row["prompt"], block)),
                (reader or processor, tell(asked, instruction) if instruction else asked),
            )
        )
        out.append({"prompt": student, "privileged_context": teacher})
    return out


def prompt_tokens(rows: list[dict], tokenizer: Any) -> dict[str, float]:
    """Mean prompt tokens per request of `teacher_rows`: with the artwork, with words, and what is saved."""
    texts = ([row[name] for row in rows] for name in ("prompt", "privileged_context"))
    student, teacher = (sum(map(len, tokenizer(text)["input_ids"])) / len(rows) for text in texts)
    return {"artwork": round(student, 1), "words": round(teacher, 1), "saved": round(teacher - student, 1)}


__all__ = ["DistillationTrainer", "SDFTConfig", "prompt_tokens", "teacher_rows"]
