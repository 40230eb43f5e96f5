"""Distilling words into a picture: what teacher and student read, and who generates."""

from __future__ import annotations

import json

import pytest
from datasets import Dataset

from pixeltune.adapter import ArtConfig
from pixeltune.arguments import parse
from pixeltune.base import load_model, load_processor
from pixeltune.distillation import (
    DistillationTrainer,
    prompt_tokens,
    read_instruction,
    teacher_rows,
    tell,
)
from pixeltune.evaluate import Local
from pixeltune.sight import Sight
from pixeltune.tasks import calls

TOLD = [{"role": "system", "content": calls.INSTRUCTION}]


@pytest.fixture(scope="module")
def processor(bundled):
    return load_processor("tiny")


def test_the_student_reads_the_artwork_and_the_teacher_the_words(processor):
    block = ArtConfig().block(Sight(processor))
    rows = calls.rows("train", 3)
    placed = teacher_rows(rows, TOLD, block, processor)
    for row, texts in zip(rows, placed, strict=True):
        assert block in texts["prompt"]
        assert calls.INSTRUCTION not in texts["prompt"]
        assert texts["privileged_context"] == processor.apply_chat_template(
            [*TOLD, *row["prompt"]],
            tools=json.loads(row["tools"]),
            tokenize=False,
            add_generation_prompt=True,
        )
    tokens = prompt_tokens(placed, processor.tokenizer)
    words = len(processor.tokenizer(f"{calls.INSTRUCTION}\n\n")["input_ids"])
    assert tokens["saved"] == words - 66  # 64 image tokens and their two brackets


@pytest.mark.parametrize(
    ("instruction", "messages", "roles"),
    [
        (["system"], ["user"], ["system", "user"]),
        (["system"], ["system", "user"], ["system", "user"]),
        (["user", "assistant"], ["user"], ["user", "assistant", "user"]),
        (["user", "assistant"], ["system", "user"], ["system", "user", "assistant", "user"]),
        (["system", "user", "assistant"], ["system", "user"], ["system", "user", "assistant", "user"]),
    ],
)
def test_the_instruction_goes_in_front(instruction, messages, roles):
    told = tell(
        [{"role": role, "content": "b"} for role in messages],
        [{"role": role, "content": "a"} for role in instruction],
    )
    assert [message["role"] for message in told] == roles
    both_are_system = instruction[0] == messages[0] == "system"
    assert told[0]["content"] == ("a\n\nb" if both_are_system else told[0]["content"])


def test_instructions_are_texts_or_messages(tmp_path):
    text, examples = tmp_path / "a.txt", tmp_path / "b.json"
    text.write_text("Be brief.\n")
    assert read_instruction(text) == [{"role": "system", "content": "Be brief."}]
    shots = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    examples.write_text(json.dumps(shots))
    assert read_instruction(examples) == shots


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.txt", None, "no instruction file"),
        ("empty.txt", b"", "must hold a text"),
        ("bad.txt", b"\xff\xfe\xff", "cannot be read"),
        ("bad.json", b"[" * 100_000, "cannot be read"),
        ("bad.json", b'[{"role": "user"}]', "must hold a text"),
        ("large.txt", b"a" * ((1 << 20) + 1), "larger than 1 MiB"),
    ],
)
def test_bad_instructions_are_refused(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_instruction(tmp_path / name)


@pytest.mark.parametrize("trainer_class", [DistillationTrainer, DistillationTrainer.__base__])
def test_completions_come_from_the_base_model_told_in_words(processor, tmp_path, trainer_class):
    """TRL alone generates with the adapter on, which refuses a text without the artwork.

    When that part fails, TRL has mended it and `DistillationTrainer` can go.
    """
    art = ArtConfig()
    rows = calls.rows("train", 4)
    placed = teacher_rows(rows, TOLD, art.block(Sight(processor)), processor)
    flags = "--task calls --instruction best --max_completion_length 64 --num_generations 1 --report_to none"
    _, config = parse("distill", [*flags.split(), "--output_dir", str(tmp_path)])
    config.generation_kwargs = {"do_sample": False}
    config.teacher_prompt_template = "{privileged_context}"
    trainer = trainer_class(
        model=load_model("tiny"),
        args=config,
        train_dataset=Dataset.from_list(placed),
        processing_class=processor.tokenizer,
        peft_config=art,
    )
    asked = trainer._tokenize_prompts([row["privileged_context"] for row in placed])
    if trainer_class is not DistillationTrainer:
        with pytest.raises(ValueError, match="place_dataset"):
            trainer._generate(asked)
        return
    _, said = trainer._generate(asked)
    told = Local(load_model("tiny"), processor).complete(
        [[*TOLD, *row["prompt"]] for row in rows], [json.loads(row["tools"]) for row in rows], 64
    )
    assert [processor.tokenizer.decode(ids).removesuffix("<|im_end|>") for ids in said] == told
